"""``sequences.parquet``: who is in a dataset, one row a sequence, without opening the images."""

import io
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.digital_human.sequence import LABEL_FIELDS
from pipeline.digital_human.store import is_held_out, list_sequences, sequence_file
from pipeline.errors import UnreadableSource
from pipeline.storage import Location

INDEX = "sequences.parquet"
SCHEMA = pa.schema(
    [
        ("sequence_id", pa.int32()),
        ("identity_id", pa.int32()),
        ("split", pa.string()),
        ("views", pa.int32()),
        ("bytes", pa.int64()),
        *LABEL_FIELDS,
        ("identity", pa.string()),
        ("appearance", pa.string()),
    ]
)
"""Columns; ``identity`` and ``appearance`` are JSON texts of all parameters."""
_READERS = 16


def write_index(root: Location) -> pa.Table:
    """Bring ``sequences.parquet`` up to date with the sequences that are there; return it."""
    table = read_index(root)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    root.child(INDEX).write(buffer.getvalue())
    return table


def read_index(root: Location) -> pa.Table:
    """One row for each sequence that is there, in the order of their ids.

    Rows come from ``sequences.parquet`` where it has them and else from the footers of the
    sequences' files: a run that was killed left no row behind.

    Raises:
        UnreadableSource: a file cannot be read.
    """
    listed = list_sequences(root)
    known = {row["sequence_id"]: row for row in _stored_rows(root)}
    rows = {number: known[number] for number in listed if _is_current(known.get(number), listed)}
    missing = [number for number in listed if number not in rows]
    rows |= {row["sequence_id"]: row for row in _footer_rows(root, missing, listed)}
    return pa.Table.from_pylist([rows[number] for number in listed], schema=SCHEMA)


def _stored_rows(root: Location) -> list[dict[str, Any]]:
    place = root.child(INDEX)
    if not place.exists():
        return []
    try:
        table = pq.read_table(pa.BufferReader(place.read()))
    except pa.ArrowException:  # damaged; it holds nothing that the footers do not
        return []
    rows: list[dict[str, Any]] = table.to_pylist() if table.schema.equals(SCHEMA) else []
    return rows


def _is_current(row: dict[str, Any] | None, listed: dict[int, int]) -> bool:
    return row is not None and row["bytes"] == listed[row["sequence_id"]]


def _footer_rows(
    root: Location, numbers: list[int], listed: dict[int, int]
) -> Iterable[dict[str, Any]]:
    """Rows made of footers; in an object store each is a request, so several go side by side."""
    with ThreadPoolExecutor(1 if root.is_local else _READERS) as pool:
        yield from pool.map(lambda number: _footer_row(root, number, listed[number]), numbers)


def _footer_row(root: Location, number: int, size: int) -> dict[str, Any]:
    place = sequence_file(root, number)
    try:
        with place.filesystem.open_input_file(place.path) as file:
            footer = pq.read_metadata(file)
        texts = {name.decode(): value.decode() for name, value in footer.metadata.items()}
        labels = json.loads(texts["labels"])
        parameters = {name: texts[name] for name in ("identity", "appearance")}
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise damaged(place, error) from error
    split = "test" if is_held_out(labels["identity_id"]) else "train"
    return {**labels, "split": split, "views": footer.num_rows, "bytes": size, **parameters}


def damaged(place: Location, error: Exception) -> UnreadableSource:
    """The error for a sequence file that is there but cannot be read."""
    return UnreadableSource(
        f"{place.uri} cannot be read ({error}); if it is damaged, delete it and run 'headsplat "
        "heads render' again"
    )
