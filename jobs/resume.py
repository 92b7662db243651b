"""Which photos a run has left to do, told from the manifest before any byte is read."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.listing import Listing, codes_of
from jobs.manifest import Snapshot
from pipeline.recipe import Recipe
from pipeline.storage import Location

COLUMNS = ("id", "outcome", "recipe", "source_bytes", "source_mtime_ns", "below_threshold", "tries")
"""Of the manifest, besides its keys."""


def recipe_key(recipe: Recipe, formats: Sequence[str]) -> str:
    """A hash of everything but the photo that decides an avatar's files."""
    made_of = json.dumps([asdict(recipe), sorted(formats)], sort_keys=True)
    return hashlib.sha256(made_of.encode()).hexdigest()[:16]


def unfinished(
    listing: Listing, snapshot: Snapshot, recipe: str, tries: int, root: Location
) -> np.ndarray:
    """The numbers of the photos that have to be worked on.

    Left out are those that were made, or rejected, in the same way, of whose file the listing says
    what it said then, and whose avatars are still there: the destination is listed once for that.
    Photos of which the listing tells no size and time are never left out.

    Args:
        listing: the photos.
        snapshot: with `COLUMNS`.
        recipe: `recipe_key` of this run.
        tries: most tries that an avatar gets.
        root: the destination.
    """
    rows = snapshot.rows
    if not len(rows) or not len(listing):
        return np.arange(len(listing))
    done, size, time_ns = _finished(rows, recipe, tries, root)
    known = rows["source"].combine_chunks().dictionary_encode().dictionary
    found = pc.fill_null(pc.index_in(listing.table["source"], value_set=known), -1).to_numpy()
    same = (size[found] == _numbers(listing.table["source_bytes"])) & (
        time_ns[found] == _numbers(listing.table["source_mtime_ns"])
    )
    return np.flatnonzero(~((found >= 0) & done[found] & same))


def _finished(
    rows: pa.Table, recipe: str, tries: int, root: Location
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each source, by its code: whether all its faces are finished, its size and its time."""
    source = codes_of(rows["source"])
    count = int(source.max()) + 1
    lacking = np.zeros(count, np.int64)
    np.maximum.at(lacking, source, pc.fill_null(rows["face_count"], 1).to_numpy())
    np.subtract.at(lacking, source, _row_finished(rows, recipe, tries, root).astype(np.int64))
    done = lacking == 0
    facts = []
    for name in ("source_bytes", "source_mtime_ns"):
        values = _numbers(rows[name])
        least = np.full(count, np.iinfo(np.int64).max)
        most = np.full(count, -1)
        np.minimum.at(least, source, values)
        np.maximum.at(most, source, values)
        done &= (least == most) & (least >= 0)  # else its faces are of different files
        facts.append(most)
    return done, facts[0], facts[1]


def _row_finished(rows: pa.Table, recipe: str, tries: int, root: Location) -> np.ndarray:
    made = pc.equal(rows["outcome"], "ok")
    again = pc.and_(pc.fill_null(rows["below_threshold"], False), pc.less(rows["tries"], tries))
    settled = pc.or_(made, pc.equal(rows["outcome"], "rejected"))
    alike = pc.and_(pc.equal(rows["recipe"], recipe), settled)
    wanted = pc.and_(alike, pc.invert(pc.fill_null(again, False)))
    if not pc.any(pc.and_(wanted, made)).as_py():
        return wanted.to_numpy()  # type: ignore[no-any-return]
    there = pc.is_in(rows["id"], value_set=pa.array(_folders(root), pa.string()))
    return pc.and_(wanted, pc.or_(pc.invert(made), there)).to_numpy()  # type: ignore[no-any-return]


def _folders(root: Location) -> list[str]:
    """The names of the folders under ``root``: one LIST for a thousand in an object store."""
    from pyarrow import fs

    if root.is_local:  # tens of millions of entries would be as many objects of pyarrow's
        with os.scandir(root.path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    selector = fs.FileSelector(root.path, allow_not_found=True)
    found = root.filesystem.get_file_info(selector)
    return [info.base_name for info in found if not info.is_file]


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(column, -1).to_numpy()  # type: ignore[no-any-return]
