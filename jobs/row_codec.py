"""Rows as two Arrow columns, so that they travel between Ray actors without pickling.

``header`` is JSON: the numbers and texts of the row, and where each image or array lies in
``payload``, which holds their bytes end to end. Every row has this schema whatever columns it has,
so rejected rows flow beside good ones. Arrays come back as read-only views of the payload, which
lies in shared memory.
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.stage import Row

SCHEMA = pa.schema([("header", pa.string()), ("payload", pa.large_binary())])
_ALIGN = 16
# numpy reads misaligned float32 correctly but slowly, and torch refuses it


def encode_rows(rows: list[Row]) -> pa.Table:
    """Turn rows into a table with `SCHEMA`.

    Raises:
        TypeError: a value is neither JSON, bytes nor a numeric array.
    """
    encoded = [_encode(row) for row in rows]
    headers = pa.array([header for header, _ in encoded], pa.string())
    payloads = pa.array([payload for _, payload in encoded], pa.large_binary())
    return pa.table([headers, payloads], schema=SCHEMA)


def decode_rows(table: pa.Table) -> list[Row]:
    """Undo `encode_rows`."""
    headers = table.column("header").to_pylist()
    payloads = [scalar.as_buffer() for scalar in table.column("payload")]
    return [_decode(*pair) for pair in zip(headers, payloads, strict=True)]


def _encode(row: Row) -> tuple[str, bytes]:
    plain: dict[str, Any] = {}
    heavy: dict[str, dict[str, Any]] = {}
    parts: list[bytes] = []
    size = 0
    for name, value in row.items():
        if not isinstance(value, bytes | np.ndarray):
            plain[name] = value
            continue
        place: dict[str, Any] = {"start": size}
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise TypeError(f"column {name!r} holds Python objects; use a numeric dtype")
            place |= {"dtype": value.dtype.str, "shape": value.shape}
            value = value.tobytes()
        place["bytes"] = len(value)
        heavy[name] = place
        padding = -len(value) % _ALIGN
        parts += [value, bytes(padding)]
        size += len(value) + padding
    header = json.dumps({"plain": plain, "heavy": heavy}, default=_plain_number)
    return header, b"".join(parts)


def _decode(header: str, payload: pa.Buffer) -> Row:
    content = json.loads(header)
    row: Row = content["plain"]
    for name, place in content["heavy"].items():
        piece = payload.slice(place["start"], place["bytes"])
        if "dtype" in place:
            flat = np.frombuffer(piece, np.dtype(place["dtype"]))
            row[name] = flat.reshape(place["shape"])
        else:
            row[name] = piece.to_pybytes()
    return row


def _plain_number(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be a column; use a number, text or array")
