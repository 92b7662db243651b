"""Where the bytes of a photo are: a file of its own, or a place in a tar or Parquet file.

A row says it in its ``input`` column, a dict with one of these sets of keys; a row without it has
its photo at ``source``.

- ``address``: a file of its own, with connection options.
- ``address``, ``start``, ``bytes``: a range of a tar.
- ``address``, ``size``, ``row``, ``column``: a cell of a Parquet file of ``size`` bytes.
- ``problem``: there is no photo; why. With ``unavailable``, there may be one another time.
"""

import io
from typing import Any

from pipeline.connections import READ_TIMEOUT_S
from pipeline.errors import ImageTooLarge, SourceUnavailable, UnreadableImage, UnreadableSource
from pipeline.storage import Location, locate

INPUT = "input"


class RangeFile(io.RawIOBase):
    """A file of known size, read by ranges; for libraries that want a seekable stream.

    Args:
        place: the file.
        size: its size in bytes.
        timeout_s: for each range.
    """

    def __init__(self, place: Location, size: int, timeout_s: float = READ_TIMEOUT_S) -> None:
        self._place, self._size, self._timeout_s = place, size, timeout_s
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position in bytes from the start."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; nothing is read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` from the position on, with one request."""
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        data = self._place.read_range(self._at, stop, timeout_s=self._timeout_s)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class PhotoReader:
    """Reads the photos of rows, each with one request; of a Parquet file it keeps one row group.

    Args:
        max_bytes: largest photo.
        timeout_s: for each request to a remote store.
    """

    def __init__(self, max_bytes: int, timeout_s: float = READ_TIMEOUT_S) -> None:
        self._max_bytes, self._timeout_s = max_bytes, timeout_s
        self._parquet: _RowGroup | None = None

    def read(self, row: dict[str, Any]) -> bytes:
        """The bytes of the photo that ``row`` names.

        Raises:
            ImageTooLarge: it is over the limit; a range is not even read then.
            UnreadableSource: it is missing, or the container is damaged.
            UnreadableImage: the cell of the Parquet file is empty.
            SourceUnavailable: it cannot be read now, or not in time.
        """
        where = row.get(INPUT) or {"address": row["source"]}
        if "problem" in where:
            kind = SourceUnavailable if where.get("unavailable") else UnreadableSource
            raise kind(where["problem"])
        self._check_size(row["source"], where.get("bytes", row.get("source_bytes") or 0), where)
        if "row" in where:
            return self._cell(row["source"], where)
        place = locate(where["address"])
        if "start" not in where:
            return place.read(self._max_bytes, timeout_s=self._timeout_s)
        start, count = where["start"], where["bytes"]
        data = place.read_range(start, start + count, timeout_s=self._timeout_s)
        if len(data) < count:
            raise UnreadableSource(
                f"{row['source']} has {len(data):,} of its {count:,} bytes; the tar was cut off "
                "after it was listed"
            )
        return data

    def _check_size(self, source: str, size: int, where: dict[str, Any]) -> None:
        if size > self._max_bytes and "row" not in where:
            raise ImageTooLarge(
                f"{source} has {size:,} bytes, more than {self._max_bytes:,}, the limit for one "
                "image; save it smaller"
            )

    def _cell(self, source: str, where: dict[str, Any]) -> bytes:
        if self._parquet is None or not self._parquet.holds(where):
            self._parquet = None  # so that two row groups are never held
            self._parquet = _RowGroup(where, self._timeout_s)
        data = self._parquet.cell(where["row"])
        if data is None:
            raise UnreadableImage(f"{source} has no bytes in column {where['column']!r}")
        if len(data) > self._max_bytes:
            self._check_size(source, len(data), {})
        return data


class _RowGroup:
    """The image column of the row group around one row."""

    def __init__(self, where: dict[str, Any], timeout_s: float) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._file = (where["address"], where["size"])
        stream = RangeFile(locate(where["address"]), where["size"], timeout_s)
        try:
            with pq.ParquetFile(stream, page_checksum_verification=True) as file:
                group, self._first = _group_of(file.metadata, where["row"])
                table = file.read_row_group(group, columns=[where["column"]], use_threads=False)
        except (pa.ArrowException, IndexError, ValueError, OSError) as error:
            raise UnreadableSource(
                f"{where['address']} is damaged or has changed: {error}"
            ) from error
        column = table.column(0)
        self._cells = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)

    def holds(self, where: dict[str, Any]) -> bool:
        """Whether the row that ``where`` names is in it."""
        inside = 0 <= where["row"] - self._first < len(self._cells)
        return inside and self._file == (where["address"], where["size"])

    def cell(self, row: int) -> bytes | None:
        """The bytes in one row; of a struct, its field ``bytes``."""
        value = self._cells[row - self._first].as_py()
        value = value.get("bytes") if isinstance(value, dict) else value
        return value or None


def _group_of(metadata: Any, row: int) -> tuple[int, int]:
    """The row group that holds a row of the file, and the number of its own first row."""
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if row < first + rows:
            return group, first
        first += rows
    raise IndexError(f"it has {first:,} rows and none with number {row}")
