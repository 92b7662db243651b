"""Rows as two Arrow columns, so that they travel between Ray actors without pickling.

``header`` is JSON: the numbers and texts of the row, and where each image or array lies in
``payload``, which holds their bytes end to end. Every row has this schema whatever columns it has,
so rejected rows flow beside good ones. Arrays come back as read-only views of the payload, which
lies in shared memory.
"""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
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
    headers, pieces, sizes = [], [], []
    for row in rows:
        header, heavy, size = _encode(row)
        headers.append(header)
        pieces.append(heavy)
        sizes.append(size)
    offsets = np.cumsum([0, *sizes], dtype=np.int64)
    payload = pa.allocate_buffer(int(offsets[-1]))
    flat = np.frombuffer(payload, np.uint8)
    for start, heavy in zip(offsets, pieces, strict=False):
        for place, value in heavy:  # the one copy: of images it takes longer than all the rest
            end = start + place + len(value)
            flat[start + place : end] = value
            flat[end : end + -len(value) % _ALIGN] = 0
    buffers = [None, pa.py_buffer(offsets), payload]
    payloads = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(rows), buffers)
    return pa.table([pa.array(headers, pa.string()), payloads], schema=SCHEMA)


def decode_rows(table: pa.Table) -> list[Row]:
    """Undo `encode_rows`."""
    headers = table.column("header").to_pylist()
    payloads = [scalar.as_buffer() for scalar in table.column("payload")]
    return [_decode(*pair) for pair in zip(headers, payloads, strict=True)]


def _encode(row: Row) -> tuple[str, list[tuple[int, npt.NDArray[np.uint8]]], int]:
    """The header, the places and bytes of images and arrays, and how many bytes that are."""
    plain: dict[str, Any] = {}
    heavy: dict[str, dict[str, Any]] = {}
    pieces: list[tuple[int, npt.NDArray[np.uint8]]] = []
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
            raw = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        else:
            raw = np.frombuffer(value, np.uint8)
        place["bytes"] = len(raw)
        heavy[name] = place
        pieces.append((size, raw))
        size += len(raw) + -len(raw) % _ALIGN
    header = json.dumps({"plain": plain, "heavy": heavy}, default=_plain_number)
    return header, pieces, size


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
