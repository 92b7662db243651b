"""What `make` and `generate` share: list, run, record every outcome as it comes, sum up."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs import gallery, manifest, resume, summary
from jobs.compaction import compact
from jobs.listing import Listing
from jobs.outcomes import NOT_REACHED, REASONS
from jobs.passes import WAVE_ROWS, Execute, run_passes
from jobs.sources import Shard, list_sources
from pipeline.avatar_folder import parse_formats
from pipeline.errors import DestinationUnavailable, ProcessingError
from pipeline.graph import GraphOptions, build_graph, build_recipe, describe
from pipeline.recipe import Recipe
from pipeline.stage import Row, Stage
from pipeline.storage import Location, check_writable, locate, remove_stale

FAILED = "failed.jsonl"
_FAILED_COLUMNS = (
    "source",
    "id",
    "outcome",
    "error_code",
    "error_message",
    "error_stage",
    "error_trace",
)
_MOST_IN_VAIN = 20
"""Avatars that may be made one after the other without one that could be stored."""
_VERSIONED = ("headsplat", "torch", "diffusers", "ray", "numpy", "pillow", "onnxruntime", "numba")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A run that is about to start.

    Attributes:
        addresses: what the user named as input.
        destination: folder or URI for the avatars.
        options: how the avatars are made.
        as_json: print one JSON object on stdout instead of a summary.
        shard: do only this part of the photos.
        wave_rows: see `jobs.passes.WAVE_ROWS`.
    """

    addresses: Sequence[str]
    destination: str
    options: GraphOptions
    as_json: bool = False
    shard: Shard | None = None
    wave_rows: int = WAVE_ROWS


def run_batch(batch: Batch, execute: Execute) -> int:
    """Make the avatars and write what goes beside them, also when the run is stopped half way.

    Returns:
        The exit code: 0 if every input is ok, 1 otherwise.

    Raises:
        UsageError: the options or addresses cannot be met.
        ProcessingError: the run was given up; what was finished is written.
        KeyboardInterrupt: the user stopped it; what was finished is written.
    """
    started = time.monotonic()
    root = locate(batch.destination)
    recipe = build_recipe(batch.options)
    stages = build_graph(batch.options, root.address, recipe)
    listing = list_sources(batch.addresses, exclude=batch.destination, shard=batch.shard)
    check_writable(root)
    stamp = _stamp(batch, recipe)
    stopped = _run(batch, stages, listing, stamp, recipe, execute)
    seconds = time.monotonic() - started
    told = _finish(root, listing, stamp, seconds)
    _write_run(root, batch, _record(batch, recipe, stages, told))
    names = {"gallery": gallery.INDEX, "manifest": manifest.FOLDER, "failed": FAILED}
    places = {name: root.child(file).uri for name, file in names.items()}
    summary.print_summary(told, {"destination": root.uri, **places}, as_json=batch.as_json)
    if stopped is not None:
        raise stopped
    return told.exit_code


def _stamp(batch: Batch, recipe: Recipe) -> manifest.Stamp:
    shard = batch.shard
    return manifest.Stamp(
        run=manifest.new_run(),
        recipe=resume.recipe_key(recipe, parse_formats(batch.options.formats)),
        model_hash=recipe.model_hash,
        tag=manifest.ALL if shard is None else f"{shard.number}of{shard.count}",
    )


def _run(
    batch: Batch,
    stages: Sequence[Stage],
    listing: Listing,
    stamp: manifest.Stamp,
    recipe: Recipe,
    execute: Execute,
) -> ProcessingError | KeyboardInterrupt | None:
    """Work on what is unfinished; return what stopped the run before all was reached."""
    root = locate(batch.destination)
    tries = recipe.options.get("tries", 1)
    before = manifest.load(root, resume.COLUMNS)
    todo = resume.unfinished(listing, before, stamp.recipe, tries, root)
    newest_us = before.newest_us()
    del before  # of ten million outcomes it holds gigabytes
    remove_stale(root)
    stopped = None
    with manifest.Writer(root, stamp, newest_us) as writer:
        try:
            with closing(
                run_passes(stages, listing, todo, execute, tries, batch.wave_rows)
            ) as rows:
                for row in _while_stored(rows, root):
                    writer.add(row)
        except (ProcessingError, KeyboardInterrupt) as error:
            stopped = error
    remove_stale(root)
    if stopped is not None:
        _write_not_reached(root, listing.kept(todo), stamp)
    return stopped


def _while_stored(rows: Iterator[Row], root: Location) -> Iterator[Row]:
    """The rows, as long as some of the avatars can be stored: the others are hours of GPUs.

    Raises:
        ProcessingError: the last ones could not, one after the other.
    """
    in_vain = 0
    for row in rows:
        yield row
        if row["outcome"] == "ok" and not row.get("resumed"):
            in_vain = 0
        in_vain += row.get("error_code") == DestinationUnavailable.code
        if in_vain >= _MOST_IN_VAIN:
            raise ProcessingError(
                f"{in_vain} avatars in a row cannot be stored under {root.uri}, the last because: "
                f"{row['error_message']}; make room there and run again, finished avatars are kept"
            )


def _write_not_reached(root: Location, listing: Listing, stamp: manifest.Stamp) -> None:
    """Give the photos that have no outcome, not even an earlier one, that of a stopped run."""
    known = manifest.load(root).table["source"].combine_chunks()
    missing = pc.invert(pc.is_in(listing.table["source"], value_set=known))
    facts = listing.table.filter(missing)
    if not len(facts):
        return
    constant = {
        "outcome": "failed",
        "error_code": NOT_REACHED,
        "error_message": REASONS[NOT_REACHED],
        "model_hash": stamp.model_hash,
        "recipe": stamp.recipe,
        "run": stamp.run,
        "resumed": False,
        "finished": time.time_ns() // 1000,
    }
    columns = {name: pa.repeat(value, len(facts)) for name, value in constant.items()}
    columns |= {name: facts[name] for name in ("source", "source_bytes", "source_mtime_ns")}
    arrays = [
        columns[field.name].cast(field.type)
        if field.name in columns
        else pa.nulls(len(facts), field.type)
        for field in manifest.SCHEMA
    ]
    table = pa.Table.from_arrays(arrays, schema=manifest.SCHEMA)
    manifest.write_part(root, stamp.tag, [table])


def _finish(
    root: Location, listing: Listing, stamp: manifest.Stamp, seconds: float
) -> summary.Summary:
    """Tidy the manifest, and write what is made from it: the gallery and the failures."""
    compact(root, stamp.tag)
    snapshot = manifest.load(root, (*summary.COLUMNS, *gallery.COLUMNS))
    news = pc.any(pc.equal(snapshot.table["run"], stamp.run)).as_py()
    # without news too: an earlier run may have been killed before it wrote these
    if news or not gallery.is_current(root, snapshot):
        _write_failed(root, snapshot)
        gallery.write_gallery(root, snapshot)
    rows = snapshot.rows
    mine = pc.is_in(rows["source"], value_set=listing.table["source"].combine_chunks())
    return summary.summarise(rows.select(summary.COLUMNS).filter(mine), stamp.run, seconds)


def _write_failed(root: Location, snapshot: manifest.Snapshot) -> None:
    """Write the rows that are not ok to ``failed.jsonl``, with the trace of each bug."""
    lines = [
        json.dumps(row, ensure_ascii=False)
        for _, table in snapshot.stream(_FAILED_COLUMNS)
        for row in table.filter(pc.not_equal(table["outcome"], "ok")).to_pylist()
    ]
    root.child(FAILED).write("".join(line + "\n" for line in lines).encode())


def _write_run(root: Location, batch: Batch, record: dict[str, Any]) -> None:
    shard = batch.shard
    name = "run.json" if shard is None else f"run-{shard.number}-of-{shard.count}.json"
    root.child(name).write((json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def _record(
    batch: Batch, recipe: Recipe, stages: Sequence[Stage], told: summary.Summary
) -> dict[str, Any]:
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "addresses": list(batch.addresses),
        "model_hash": recipe.model_hash,
        "seed": recipe.seed,
        "faces": recipe.faces,
        "options": dict(recipe.options),
        "formats": batch.options.formats,
        "stages": describe(stages).splitlines(),
        "totals": told.totals,
        "reasons": told.reasons,
        "seconds": told.seconds,
        "versions": {name: _version(name) for name in _VERSIONED},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
