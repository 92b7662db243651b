"""The photos of a run as columns: what a run over ten million of them keeps in memory.

A photo costs its name and 44 bytes. Rows, which are dicts, are made of a slice when it is its turn.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.photo_files import INPUT
from pipeline.stage import Row

SCHEMA = pa.schema(
    [
        ("source", pa.large_string()),
        ("source_bytes", pa.int64()),
        ("source_mtime_ns", pa.int64()),
        ("origin", pa.int32()),
        ("start", pa.int64()),
        ("bytes", pa.int64()),
    ]
)
"""``source_bytes`` and ``source_mtime_ns`` are what the listing says of the file that the photo is,
or lies in; null if it says nothing. ``start`` is an offset in bytes in a tar, a row of a Parquet
file."""
FACTS = ("source", "source_bytes", "source_mtime_ns")
_PIECE = 16_384


@dataclass(frozen=True)
class Origin:
    """What photos of one listing or container have in common.

    Attributes:
        where: the constant keys of `pipeline.photo_files`; ``query`` instead of ``address`` for
            files of their own, whose address is the source and these options.
    """

    where: dict[str, Any]

    def input_of(self, source: str, start: int | None, count: int | None) -> dict[str, Any] | None:
        """The ``input`` column of one photo; None if the source says it all."""
        if "query" in self.where:
            query = self.where["query"]
            return {"address": f"{source}?{query}"} if query else None
        if "column" in self.where:
            return {**self.where, "row": start}
        if "problem" in self.where:
            return self.where
        return {**self.where, "start": start, "bytes": count}


@dataclass
class Listing:
    """Photos, each once.

    Attributes:
        table: with `SCHEMA`.
        origins: what column ``origin`` counts.
    """

    table: pa.Table
    origins: list[Origin] = field(default_factory=list)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def rows(self, indices: np.ndarray) -> list[Row]:
        """The rows to give to the first stage, for photos by their numbers."""
        return [self._row(values) for values in self.table.take(pa.array(indices)).to_pylist()]

    def kept(self, indices: np.ndarray) -> "Listing":
        """Only these photos, numbers ascending."""
        return Listing(taken(self.table, indices), self.origins)

    def _row(self, values: Row) -> Row:
        row = {name: values[name] for name in FACTS}
        origin = self.origins[values["origin"]]
        where = origin.input_of(row["source"], values["start"], values["bytes"])
        return row if where is None else {**row, INPUT: where}


class ListingBuilder:
    """Collects photos; its lists of Python values never grow beyond a piece."""

    def __init__(self) -> None:
        self._origins: list[Origin] = []
        self._pieces: list[pa.Table] = []
        self._columns: list[list[Any]] = [[] for _ in SCHEMA]

    def add_origin(self, where: dict[str, Any]) -> int:
        """The number of an origin with these constant keys."""
        self._origins.append(Origin(where))
        return len(self._origins) - 1

    def add(
        self,
        source: str,
        facts: tuple[int | None, int | None],
        origin: int,
        start: int | None = None,
        count: int | None = None,
    ) -> None:
        """Add a photo; ``facts`` are the size and the time of its file."""
        for column, value in zip(
            self._columns, (source, *facts, origin, start, count), strict=True
        ):
            column.append(value)
        if len(self._columns[0]) == _PIECE:
            self._close_piece()

    def finish(self) -> Listing:
        """All photos; of those added twice the first."""
        self._close_piece()
        table = pa.concat_tables(self._pieces) if self._pieces else SCHEMA.empty_table()
        return Listing(_distinct(table), self._origins)

    def _close_piece(self) -> None:
        arrays = [pa.array(c, f.type) for c, f in zip(self._columns, SCHEMA, strict=True)]
        self._pieces.append(pa.Table.from_arrays(arrays, schema=SCHEMA))
        self._columns = [[] for _ in SCHEMA]


def codes_of(texts: pa.ChunkedArray) -> np.ndarray:
    """A number for each distinct text, int32 from 0 in order of appearance."""
    encoded = texts.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):  # more than 2 GiB of short strings
        raise ValueError("texts must be large strings")
    return encoded.indices.to_numpy()  # type: ignore[no-any-return]


def taken(table: pa.Table, numbers: np.ndarray) -> pa.Table:
    """Some rows of a table by their numbers, ascending; the table itself if those are all."""
    return table if len(numbers) == len(table) else table.take(pa.array(numbers))


def _distinct(table: pa.Table) -> pa.Table:
    _, first = np.unique(codes_of(table["source"]), return_index=True)
    return taken(table, np.sort(first))
