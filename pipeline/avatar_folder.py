"""The files of an avatar's folder, and how a finished one is recognised and read back."""

import json
from typing import Any

from pipeline.errors import UnreadableSource
from pipeline.storage import Location

GAUSSIANS = "avatar.ply"
RECORD = "avatar.json"
"""Written last: a folder that has it is complete."""
PORTRAIT = "portrait.png"
VIEWS = "views.webp"
TURNTABLE = "turntable.webp"
VERDICT = ("scores", "face_found", "below_threshold", "tries")
"""The columns in which the avatar is judged; they are in its record too."""
FILES = (GAUSSIANS, RECORD, PORTRAIT, VIEWS, TURNTABLE)


def read_record(root: Location, avatar_id: str) -> dict[str, Any] | None:
    """The ``avatar.json`` of a finished avatar under ``root``, or None if it is not finished."""
    try:
        record = json.loads(root.child(avatar_id, RECORD).read())
    except (UnreadableSource, ValueError):
        return None
    return record if isinstance(record, dict) else None


def finished_row(row: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """``row`` with the outcome and the facts that an earlier run recorded."""
    return {**row, **recorded_facts(record), "outcome": "ok", "resumed": True}


def recorded_facts(record: dict[str, Any]) -> dict[str, Any]:
    """The columns of an avatar's row that its record holds; older records lack some."""
    facts = ("id", "seed", "timings_s", "yaw_deg", "elevation_deg", "face_index",
             "face_count", "gaussian_count", *VERDICT)  # fmt: skip
    return {name: record[name] for name in facts if name in record}
