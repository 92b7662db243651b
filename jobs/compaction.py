"""Put the parts of a manifest together: few large ones, with only the rows that count.

New parts are complete before those that they replace are deleted, and only parts that were read
are deleted. So a run that is killed on the way leaves rows twice, which reading sorts out, and
parts that another run adds meanwhile stay. A job with a shard puts only its own parts together, so
that those that share a destination do not do the same work, and a job without one all.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.listing import codes_of, taken
from jobs.manifest import ALL, SCHEMA, Snapshot, load, write_part
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
    groups = _rewritten(snapshot, chosen, twins)
    for head in groups:  # each round takes as many as a part may hold
        write_part(root, tag, chain([head], _up_to(groups, _PART_ROWS - len(head))))
    for number in chosen:
        with suppress(FileNotFoundError):  # another run may have put it together too
            snapshot.parts[number][0].delete()


def _up_to(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    while rows > 0 and (table := next(tables, None)) is not None:
        rows -= len(table)
        yield table


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
    place = SCHEMA.get_field_index("duplicate_of")
    for numbers, table in snapshot.stream(SCHEMA.names, chosen):
        if not len(table):
            continue
        owners = [twins.get(number) for number in numbers.tolist()]
        marks = pa.array(owners, pa.string())
        marked = pc.coalesce(marks, table["duplicate_of"])
        yield table.set_column(place, SCHEMA.field(place), marked)


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
    made = taken(rows, numbers)
    group = codes_of(made["id"])
    order = np.lexsort((made["finished"].cast(pa.int64()).to_numpy(), group))
    first = np.append(True, np.diff(group[order]) != 0)
    owner = order[first][np.cumsum(first) - 1]
    later = np.flatnonzero(~first)
    sources = made["source"].take(pa.array(owner[later])).to_pylist()
    return dict(zip(snapshot.current[numbers[order[later]]].tolist(), sources, strict=True))
