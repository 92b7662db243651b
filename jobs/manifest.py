"""``manifest/*.parquet``: one row for every outcome, appended to while a run goes on.

A run writes its outcomes in parts, under names of its own, each complete when it appears. The
newest row of a source and face counts; older ones are dropped when parts are put together, see
`jobs.compaction`.
"""

import io
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.listing import codes_of, taken
from pipeline.errors import ProcessingError, UnreadableSource, UsageError
from pipeline.photo_files import RangeFile
from pipeline.stage import Row
from pipeline.storage import Location

FOLDER = "manifest"
SCHEMA = pa.schema(
    [
        ("source", pa.large_string()),
        ("id", pa.string()),
        ("outcome", pa.string()),
        ("error_code", pa.string()),
        ("error_message", pa.string()),
        ("error_stage", pa.string()),
        ("error_trace", pa.string()),
        ("face_index", pa.int32()),
        ("face_count", pa.int32()),
        ("resumed", pa.bool_()),
        ("duplicate_of", pa.string()),
        ("image_sha256", pa.string()),
        ("model_hash", pa.string()),
        ("seed", pa.int64()),
        ("yaw_deg", pa.float64()),
        ("elevation_deg", pa.float64()),
        ("gaussian_count", pa.int64()),
        ("seconds", pa.float64()),
        ("timings_s", pa.map_(pa.string(), pa.float64())),
        ("scores", pa.map_(pa.string(), pa.float64())),
        ("face_found", pa.bool_()),
        ("below_threshold", pa.bool_()),
        ("tries", pa.int32()),
        ("source_bytes", pa.int64()),
        ("source_mtime_ns", pa.int64()),
        ("recipe", pa.string()),
        ("run", pa.string()),
        ("finished", pa.timestamp("us", "UTC")),
    ]
)
"""One row an outcome; ``seconds`` is the sum of ``timings_s``, which is by stage; ``recipe`` is a
hash of everything but the photo that decides the avatar's files; ``source_bytes`` and
``source_mtime_ns`` are those of the file that the photo is or lies in."""
ALL = "all"
_KEYS = ("source", "face_index", "face_count", "finished")
_FLUSH_ROWS, _FLUSH_S = 10_000, 10.0
_GROUP_ROWS = 10_000
_MOST_UNWRITTEN = 100_000
_READERS = 8
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What all rows of a run have in common.

    Attributes:
        run: the run's own name, made by `new_run`.
        recipe: see `SCHEMA`.
        model_hash: of the model folder.
        tag: begins the names of the run's parts: its shard, or `ALL`.
    """

    run: str
    recipe: str
    model_hash: str
    tag: str = ALL


def new_run() -> str:
    """A name that no other run has, and that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}"


@dataclass
class Snapshot:
    """The manifest at one moment.

    Attributes:
        parts: its files and their sizes in bytes.
        ends: how many rows there are up to the end of each part.
        table: some columns of all rows, `_KEYS` among them.
        current: the numbers of the rows that count, ascending.
    """

    parts: list[tuple[Location, int]]
    ends: np.ndarray
    table: pa.Table
    current: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.current = _current(self.table)

    @property
    def rows(self) -> pa.Table:
        """The columns of the rows that count."""
        return taken(self.table, self.current)

    def newest_us(self) -> int:
        """When the newest row was finished, microseconds since 1970; 0 if there is none."""
        newest = pc.max(self.table["finished"].cast(pa.int64())).as_py()
        return int(newest or 0)

    def current_in(self, part: int) -> np.ndarray:
        """The rows of one part that count, by their numbers in `table`."""
        start = self.ends[part - 1] if part else 0
        first, last = np.searchsorted(self.current, [start, self.ends[part]])
        return self.current[first:last]

    def stream(
        self, columns: Sequence[str], parts: Iterable[int] | None = None
    ) -> Iterator[tuple[np.ndarray, pa.Table]]:
        """The rows that count, some thousand at a time, with their numbers in `table`."""
        for part in range(len(self.parts)) if parts is None else parts:
            start = int(self.ends[part - 1]) if part else 0
            current = self.current_in(part)
            with _open_part(*self.parts[part]) as file:
                for group in range(file.num_row_groups):
                    rows = _in_schema(file.read_row_group(group, list(columns)), columns)
                    first, last = np.searchsorted(current, [start, start + len(rows)])
                    numbers = current[first:last]
                    yield numbers, taken(rows, numbers - start)
                    start += len(rows)


def load(root: Location, columns: Iterable[str] = ()) -> Snapshot:
    """Read ``columns`` of the manifest under ``root``; no rows if there is none yet.

    Raises:
        UsageError: a part of it is damaged.
        SourceUnavailable: it is there but cannot be read now.
    """
    wanted = list(dict.fromkeys((*_KEYS, *columns)))
    for attempt in range(_ATTEMPTS):
        parts = list_parts(root)
        try:
            with ThreadPoolExecutor(_READERS) as pool:
                tables = list(pool.map(lambda part: _read_part(part[0], part[1], wanted), parts))
        except UnreadableSource:  # another run has just put parts together
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        break
    empty = pa.schema([SCHEMA.field(name) for name in wanted]).empty_table()
    ends = np.cumsum([table.num_rows for table in tables], dtype=np.int64)
    return Snapshot(parts, ends, pa.concat_tables([empty, *tables]))


def list_parts(root: Location) -> list[tuple[Location, int]]:
    """The parts of the manifest and their sizes in bytes, by name."""
    from pyarrow import fs

    folder = root.child(FOLDER)
    infos = folder.filesystem.get_file_info(fs.FileSelector(folder.path, allow_not_found=True))
    files = sorted((info.base_name, info.size) for info in infos if info.is_file)
    return [
        (folder.child(name), size)
        for name, size in files
        if name.endswith(".parquet") and not name.startswith(".")
    ]


def write_part(root: Location, tag: str, tables: Iterable[pa.Table]) -> None:
    """Add a part to the manifest; it appears whole."""
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, SCHEMA, compression="zstd") as file:
        for table in _gathered(tables):
            file.write_table(table, row_group_size=_GROUP_ROWS)
    root.child(FOLDER, f"part-{tag}-{new_run()}.parquet").write(stream.getvalue())


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Small tables put together, so that a part of many has few row groups."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= _GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


class Writer:
    """Appends the outcomes of a run; use it as a context manager.

    Rows are written when there are many, or when the last were written seconds ago: those are all
    that a driver that is killed loses, and their avatars are found finished by the next run.

    Args:
        root: the destination.
        stamp: what all rows get.
        after_us: rows are newer than this, microseconds since 1970, whatever the clock says.
        flush_s: least time between two parts.
    """

    def __init__(
        self, root: Location, stamp: Stamp, after_us: int = 0, flush_s: float = _FLUSH_S
    ) -> None:
        self._root, self._stamp = root, stamp
        self._last_us, self._flush_s = after_us, flush_s
        self._rows: list[Row] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()

    def add(self, row: Row) -> None:
        """Take a row with its outcome.

        Raises:
            ProcessingError: rows could not be written for so long that too many wait.
        """
        self._last_us = max(time.time_ns() // 1000, self._last_us + 1)
        self._rows.append(_manifest_row(row, self._stamp, self._last_us))
        waited = time.monotonic() - self._flushed
        if len(self._rows) % _FLUSH_ROWS == 0 or waited >= self._flush_s:
            self._flushed = time.monotonic()
            try:
                self.flush()
            except ProcessingError:  # the store may be back before too many wait
                if len(self._rows) >= _MOST_UNWRITTEN:
                    raise

    def flush(self) -> None:
        """Write the rows that wait.

        Raises:
            ProcessingError: they cannot be written; they go on waiting.
        """
        if not self._rows:
            return
        try:
            write_part(
                self._root, self._stamp.tag, [pa.Table.from_pylist(self._rows, schema=SCHEMA)]
            )
        except OSError as error:
            raise ProcessingError(
                f"{len(self._rows):,} outcomes cannot be written to {self._root.uri}: {error}; "
                "run again, finished avatars are kept"
            ) from error
        self._rows = []


def _manifest_row(row: Row, stamp: Stamp, finished_us: int) -> Row:
    timings = row.get("timings_s") or {}
    return {
        **{name: row.get(name) for name in SCHEMA.names},
        "model_hash": stamp.model_hash,
        "recipe": stamp.recipe,
        "run": stamp.run,
        "finished": finished_us,
        "resumed": bool(row.get("resumed")),
        "timings_s": timings,
        "seconds": round(sum(timings.values()), 3),
        "scores": {k: v for k, v in (row.get("scores") or {}).items() if v is not None},
    }


def _read_part(place: Location, size: int, columns: Sequence[str]) -> pa.Table:
    with _open_part(place, size) as file:
        return _in_schema(file.read(list(columns), use_threads=False), columns)


@contextmanager
def _open_part(place: Location, size: int) -> Iterator[pq.ParquetFile]:
    """Raises UsageError if it is damaged, UnreadableSource if it is gone."""
    try:
        with pq.ParquetFile(RangeFile(place, size)) as file:
            yield file
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise UsageError(
            f"{place.uri} is damaged ({error}); move it away and run again: the avatars stay, and "
            "their rows come back"
        ) from error


def _in_schema(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    return table.select(columns).cast(pa.schema([SCHEMA.field(name) for name in columns]))


def _current(table: pa.Table) -> np.ndarray:
    """The newest row of each source and face; of a source only the faces that it has now."""
    if not len(table):
        return np.zeros(0, np.int64)
    source = codes_of(table["source"])
    face = pc.fill_null(table["face_index"], 0).to_numpy()
    finished = table["finished"].cast(pa.int64()).to_numpy()
    faces = pc.fill_null(table["face_count"], 1).to_numpy()
    newest = _last_of(source, finished)
    faces_now = np.zeros(len(newest), faces.dtype)
    faces_now[source[newest]] = faces[newest]
    kept = _last_of(source.astype(np.int64) * (int(face.max()) + 1) + face, finished)
    return np.sort(kept[face[kept] < faces_now[source[kept]]])


def _last_of(group: np.ndarray, when: np.ndarray) -> np.ndarray:
    """The number of the last element of each group; the later one of two of the same time."""
    order = np.lexsort((when, group))
    ends = np.append(np.flatnonzero(np.diff(group[order])), len(order) - 1)
    return order[ends]  # type: ignore[no-any-return]
