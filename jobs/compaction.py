"""Put the parts of a manifest together: few large ones, with only the rows that count.

New parts are complete before those that they replace are deleted, and only parts that were read
are deleted. So a run that is killed on the way leaves rows twice, which reading sorts out, and
parts that another run adds meanwhile stay. A job with a shard puts only its own parts together, so
that those that share a destination do not do the same work, and a job without one all.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.listing import codes_of
from jobs.manifest import ALL, SCHEMA, Snapshot, load, read_part, write_part
from pipeline.storage import Location

_SMALL_ROWS = 100_000
_PART_ROWS = 250_000


def compact(root: Location, tag: str) -> None:
    """Rewrite what needs it among the parts that runs with ``tag`` wrote, or among all parts.

    Those are parts with rows that do not count, with avatars that turn out to be those of another
    photo, and small parts if there are several.

    Raises:
        UsageError: a part is damaged.
        SourceUnavailable: a part cannot be read now.
    """
    snapshot = load(root, ("id", "outcome", "duplicate_of"))
    twins = _twins(snapshot)
    chosen = _to_rewrite(snapshot, tag, np.array(sorted(twins), np.int64))
    waiting: list[pa.Table] = []
    for table in _rewritten(snapshot, chosen, twins):
        waiting.append(table)
        if sum(map(len, waiting)) >= _PART_ROWS:
            write_part(root, tag, pa.concat_tables(waiting))
            waiting = []
    if sum(map(len, waiting)):
        write_part(root, tag, pa.concat_tables(waiting))
    for number in chosen:
        snapshot.parts[number][0].delete()


def _to_rewrite(snapshot: Snapshot, tag: str, changed: np.ndarray) -> list[int]:
    prefix = "part-" if tag == ALL else f"part-{tag}-"
    dirty, small = [], []
    start = 0
    for number, ((place, _), end) in enumerate(zip(snapshot.parts, snapshot.ends, strict=True)):
        rows, start = int(end) - start, int(end)
        if not place.path.rpartition("/")[2].startswith(prefix):
            continue
        touched = np.searchsorted(changed, [end - rows, end])
        if len(snapshot.current_in(number)) < rows or touched[0] < touched[1]:
            dirty.append(number)
        elif rows < _SMALL_ROWS:
            small.append(number)
    return sorted(dirty + small) if dirty or len(small) > 1 else []


def _rewritten(snapshot: Snapshot, chosen: list[int], twins: dict[int, str]) -> Iterator[pa.Table]:
    for number in chosen:
        table = read_part(*snapshot.parts[number], SCHEMA.names)
        start = int(snapshot.ends[number]) - len(table)
        marks = {row - start: twins[row] for row in twins if start <= row < start + len(table)}
        if marks:
            column = table["duplicate_of"].to_pylist()
            for row, owner in marks.items():
                column[row] = owner
            place = SCHEMA.get_field_index("duplicate_of")
            table = table.set_column(place, SCHEMA.field(place), pa.array(column, pa.string()))
        yield table.take(pa.array(snapshot.current_in(number)))


def _twins(snapshot: Snapshot) -> dict[int, str]:
    """Rows of avatars that another photo had made before, and that photo.

    Within a wave the workers see that two photos are the same; from wave to wave, and run to run,
    only their common id tells.
    """
    rows = snapshot.rows
    own = pc.and_(pc.equal(rows["outcome"], "ok"), pc.is_null(rows["duplicate_of"]))
    numbers = np.flatnonzero(own.to_numpy())
    if not len(numbers):
        return {}
    made = rows.take(pa.array(numbers))
    group = codes_of(made["id"])
    order = np.lexsort((made["finished"].cast(pa.int64()).to_numpy(), group))
    first = np.append(True, np.diff(group[order]) != 0)
    owner = order[first][np.cumsum(first) - 1]
    later = np.flatnonzero(~first)
    sources = made["source"].take(pa.array(owner[later])).to_pylist()
    return dict(zip(snapshot.current[numbers[order[later]]].tolist(), sources, strict=True))
