"""What `make` and `generate` share: list, run, settle every outcome, write, sum up."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from jobs import gallery, manifest
from jobs.outcomes import CRASHED, NOT_REACHED, exit_code, settle, totals
from jobs.passes import Execute, run_passes
from jobs.sources import list_sources
from pipeline.errors import ProcessingError
from pipeline.graph import GraphOptions, build_graph, build_recipe, describe
from pipeline.recipe import Recipe
from pipeline.stage import Row, Stage
from pipeline.storage import Location, check_writable, locate, remove_stale

_VERSIONED = ("headsplat", "torch", "diffusers", "ray", "numpy", "pillow", "onnxruntime", "numba")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A run that is about to start.

    Attributes:
        addresses: what the user named as input.
        destination: folder or URI for the avatars.
        options: how the avatars are made.
        as_json: print one JSON object on stdout instead of a summary.
    """

    addresses: Sequence[str]
    destination: str
    options: GraphOptions
    as_json: bool = False


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
    sources = list_sources(batch.addresses, exclude=batch.destination)
    root = locate(batch.destination)
    recipe = build_recipe(batch.options)
    stages = build_graph(batch.options, root.uri, recipe)
    check_writable(root)
    manifest.read_manifest(root)  # a damaged one is better known now than after the work
    remove_stale(root)
    rows, stopped = _run(stages, sources, execute, recipe.options.get("tries", 1))
    remove_stale(root)
    seconds = time.monotonic() - started
    _write(root, rows, _record(batch, recipe, stages, rows, seconds), recipe.model_hash)
    _print_summary(root, rows, seconds, batch.as_json)
    if stopped is not None:
        raise stopped
    return exit_code(rows)


def _run(
    stages: Sequence[Stage], sources: list[str], execute: Execute, tries: int
) -> tuple[list[Row], ProcessingError | KeyboardInterrupt | None]:
    """Settled rows, and what stopped the run before all were reached."""
    finished: list[Row] = []
    stopped = None
    try:
        for row in run_passes(stages, sources, execute, tries):
            finished.append(row)
    except (ProcessingError, KeyboardInterrupt) as error:
        stopped = error
    return settle(finished, sources, NOT_REACHED if stopped else CRASHED), stopped


def _write(root: Location, rows: list[Row], record: dict[str, Any], model_hash: str) -> None:
    earlier = manifest.read_manifest(root)
    merged = manifest.merged(manifest.manifest_rows(rows, model_hash), earlier)
    manifest.write_failed(root, manifest.merged(rows, earlier))
    manifest.write_run(root, record)
    gallery.write_gallery(root, merged)
    manifest.write_manifest(root, merged)


def _record(
    batch: Batch, recipe: Recipe, stages: Sequence[Stage], rows: list[Row], seconds: float
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
        "totals": totals(rows),
        "seconds": round(seconds, 1),
        "versions": {name: _version(name) for name in _VERSIONED},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _print_summary(root: Location, rows: list[Row], seconds: float, as_json: bool) -> None:
    count = totals(rows)
    if as_json:
        outcomes = [
            {name: row.get(name) for name in ("source", "id", "outcome", "error_code")}
            for row in rows
        ]
        summary = {"destination": root.uri, "seconds": round(seconds, 1), "totals": count}
        print(json.dumps({**summary, "outcomes": outcomes}))
        return
    made = count["ok"] - count["resumed"] - count["duplicates"]
    lines = [("made", made, "")]
    lines += [("made before", count["resumed"], "")] if count["resumed"] else []
    lines += [("duplicates", count["duplicates"], "")] if count["duplicates"] else []
    if count["retried"] or count["below_threshold"]:
        lines += [("retried", count["retried"], f"{count['below_threshold']} below the threshold")]
    lines += [(name, count[name], _reasons(rows, name)) for name in ("rejected", "failed")]
    print("\n".join(f"  {name:<12}{number:>8}  {why}".rstrip() for name, number, why in lines))
    print(f"  {'time':<12}{seconds:>7.1f}s")
    print(f"  {root.child(gallery.INDEX).uri}", flush=True)
    if count["failed"]:
        print(f"  what went wrong: {root.child(manifest.FAILED).uri}", file=sys.stderr)


def _reasons(rows: list[Row], outcome: str) -> str:
    codes = [str(row["error_code"]) for row in rows if row["outcome"] == outcome]
    return ", ".join(f"{codes.count(code)} {code}" for code in sorted(set(codes)))
