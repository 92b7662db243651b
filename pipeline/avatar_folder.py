"""The files of an avatar's folder, and how a finished one is recognised and read back."""

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from pipeline.errors import ProcessingError, UnreadableSource
from pipeline.formats.registry import find_format, read_gaussians, write_gaussians
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


def finished_record(
    root: Location, avatar_id: str, formats: Sequence[str]
) -> dict[str, Any] | None:
    """What `read_record` says, with the files of ``formats`` made if the avatar lacks them.

    Raises:
        ProcessingError: its avatar.ply is missing or damaged.
    """
    record = read_record(root, avatar_id)
    if record is not None:
        add_formats(root.child(avatar_id), formats)
    return record


def add_formats(folder: Location, formats: Sequence[str]) -> None:
    """Write the files of Gaussians that a finished avatar's folder lacks, from its ``avatar.ply``.

    Args:
        folder: of the avatar.
        formats: endings such as ``.spz``.

    Raises:
        ProcessingError: avatar.ply is missing or damaged.
    """
    files = {ending: folder.child(PurePath(GAUSSIANS).stem + ending) for ending in formats}
    missing = {ending: file for ending, file in files.items() if not file.exists()}
    if not missing:
        return
    source = folder.child(GAUSSIANS)
    try:
        gaussians = read_gaussians(source.read(), PurePath(GAUSSIANS).suffix)
    except UnreadableSource as error:
        raise ProcessingError(
            f"{source.uri} cannot be turned into other formats: {error} Delete {folder.uri} to "
            "have it made anew."
        ) from error
    for ending, file in missing.items():
        file.write(write_gaussians(gaussians, ending))


def parse_formats(names: str) -> tuple[str, ...]:
    """The endings of formats besides that of `GAUSSIANS`, from names such as ``ply,spz``.

    Raises:
        UsageError: a format is unknown.
    """
    endings = [f".{name.strip().lower()}" for name in names.split(",")]
    for ending in endings:
        find_format(ending)
    return tuple(ending for ending in dict.fromkeys(endings) if not GAUSSIANS.endswith(ending))


def finished_row(row: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """``row`` with the outcome and the facts that an earlier run recorded."""
    return {**row, **recorded_facts(record), "outcome": "ok", "resumed": True}


def recorded_facts(record: dict[str, Any]) -> dict[str, Any]:
    """The columns of an avatar's row that its record holds; older records lack some."""
    facts = ("id", "seed", "timings_s", "yaw_deg", "elevation_deg", "face_index",
             "face_count", "gaussian_count", *VERDICT)  # fmt: skip
    return {name: record[name] for name in facts if name in record}
