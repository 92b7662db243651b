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
    facts = ("id", "scores", "timings_s", "yaw_deg", "elevation_deg", "face_index", "face_count",
             "gaussian_count")  # fmt: skip
    known = {name: record[name] for name in facts if name in record}
    return {**row, **known, "outcome": "ok", "resumed": True}
