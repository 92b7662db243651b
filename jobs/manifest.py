"""What a run leaves beside its avatars: ``manifest.parquet``, ``failed.jsonl``, ``run.json``."""

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.outcomes import NOT_REACHED
from pipeline.errors import UsageError
from pipeline.stage import Row
from pipeline.storage import Location

MANIFEST = "manifest.parquet"
FAILED = "failed.jsonl"
RUN = "run.json"
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("id", pa.string()),
        ("outcome", pa.string()),
        ("error_code", pa.string()),
        ("error_message", pa.string()),
        ("error_stage", pa.string()),
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
    ]
)
"""One row an outcome; ``seconds`` is the sum of ``timings_s``, which is by stage."""


def manifest_rows(rows: Sequence[Row], model_hash: str) -> list[Row]:
    """Reduce settled rows to the columns of `SCHEMA`."""
    return [_manifest_row(row, model_hash) for row in rows]


def merged(rows: list[Row], earlier: list[Row]) -> list[Row]:
    """Put ``rows`` over an earlier manifest: inputs that this run did not reach keep their rows."""
    before = {row["source"] for row in earlier}
    news = [r for r in rows if r.get("error_code") != NOT_REACHED or r["source"] not in before]
    present = {row["source"] for row in news}
    return [row for row in earlier if row["source"] not in present] + news


def read_manifest(root: Location) -> list[Row]:
    """The rows of the manifest under ``root``; none if there is no manifest yet.

    Raises:
        UnreadableSource: it is there but cannot be read now.
        UsageError: it is damaged.
    """
    place = root.child(MANIFEST)
    if not place.exists():
        return []
    try:
        table = pq.read_table(pa.BufferReader(place.read()))
        rows: list[Row] = table.to_pylist(maps_as_pydicts="strict")
    except (pa.ArrowException, ValueError) as error:
        raise UsageError(
            f"{place.uri} is damaged ({error}); move it away and run again: the avatars stay, and "
            "their rows come back"
        ) from error
    return rows


def write_manifest(root: Location, rows: list[Row]) -> None:
    """Write ``manifest.parquet`` under ``root``, in one piece."""
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), stream)
    root.child(MANIFEST).write(stream.getvalue())


def write_failed(root: Location, rows: Sequence[Row]) -> None:
    """Write the rows that are not ok to ``failed.jsonl``, with the trace of each bug."""
    wanted = ("source", "id", "outcome", "error_code", "error_message", "error_stage")
    lines = [
        json.dumps({name: row.get(name) for name in (*wanted, "error_trace")}, ensure_ascii=False)
        for row in rows
        if row["outcome"] != "ok"
    ]
    root.child(FAILED).write("".join(line + "\n" for line in lines).encode())


def write_run(root: Location, record: dict[str, Any]) -> None:
    """Write ``run.json``: the options, versions and totals of the run."""
    root.child(RUN).write((json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def _manifest_row(row: Row, model_hash: str) -> Row:
    kept = {name: row.get(name) for name in SCHEMA.names}
    timings = row.get("timings_s") or {}
    return {
        **kept,
        "model_hash": model_hash,
        "resumed": bool(row.get("resumed")),
        "timings_s": timings,
        "seconds": round(sum(timings.values()), 3),
        "scores": {k: v for k, v in (row.get("scores") or {}).items() if v is not None},
    }
