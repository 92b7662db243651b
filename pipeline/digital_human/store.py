"""Where a dataset of digital humans lies, and how it is written.

Layout: ``dataset.json`` (how it was made), ``views/000123.parquet`` (one sequence: one row a view,
one row group) and ``sequences.parquet`` (one row a sequence). Files appear whole or not at all, so
whatever exists is complete and a killed run goes on.
"""

import hashlib
import io
import json
import re
from functools import cache
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy
from pyarrow import fs

from pipeline import __version__
from pipeline.digital_human.assets import TEMPLATE_PATH
from pipeline.digital_human.dataset_options import DatasetOptions
from pipeline.digital_human.ground_truth import ENCODINGS, TRUTH_COLUMNS
from pipeline.digital_human.parts import PART_NAMES
from pipeline.digital_human.sequence import render_sequence
from pipeline.errors import UnreadableSource, UsageError
from pipeline.storage import Location

ENGINE_VERSION = 2
"""Raise it whenever the heads of a seed change: a dataset is only continued by its own engine."""
HELD_OUT_EVERY = 10
FORMAT_VERSION = 2
DESCRIPTION = "dataset.json"
VIEWS = "views"
_SEQUENCE_FILE = re.compile(r"(\d{6,})\.parquet")
_PIXEL_COLUMNS = ("image", *TRUTH_COLUMNS)


def sequence_file(root: Location, sequence_id: int) -> Location:
    """Where a sequence is stored."""
    return root.child(VIEWS, f"{sequence_id:06d}.parquet")


def is_held_out(identity_id: int) -> bool:
    """Whether an identity belongs to the test split: every tenth does."""
    return identity_id % HELD_OUT_EVERY == HELD_OUT_EVERY - 1


def list_sequences(root: Location) -> dict[int, int]:
    """The sequences that are there, by one listing: id -> bytes of its file, ascending.

    Raises:
        UnreadableSource: the folder cannot be listed.
    """
    selector = fs.FileSelector(root.child(VIEWS).path, allow_not_found=True)
    try:
        entries = root.filesystem.get_file_info(selector)
    except OSError as error:
        raise UnreadableSource(f"{root.uri} cannot be listed: {error}") from error
    found = ((_SEQUENCE_FILE.fullmatch(one.base_name), one) for one in entries if one.is_file)
    return dict(sorted((int(match[1]), int(entry.size)) for match, entry in found if match))


def prepare(root: Location, options: DatasetOptions) -> None:
    """Write ``dataset.json``, or check that the dataset there was made in the same way.

    Raises:
        UsageError: the folder holds a dataset of other options or of another engine.
    """
    place = root.child(DESCRIPTION)
    if not place.exists():
        place.write(json.dumps(_description(options), indent=2).encode() + b"\n")
        return
    stored = read_description(root)
    if stored["options"] != options.to_json():
        raise UsageError(
            f"{root.uri} holds a dataset with options {_changed(stored['options'], options)}; "
            "give the same options to go on with it, or another folder"
        )
    for name, now in _engine().items():
        if stored["versions"].get(name) != now:
            raise UsageError(
                f"{root.uri} was made with {name} {stored['versions'].get(name)}, this is {now}; "
                "the heads would not match: go on with that version, or give another folder"
            )


def read_description(root: Location) -> dict[str, Any]:
    """What ``dataset.json`` says.

    Raises:
        UnreadableSource: there is none, or it is not of this format.
    """
    place = root.child(DESCRIPTION)
    if not place.exists():
        raise UnreadableSource(
            f"no {DESCRIPTION} in {root.uri}; render one with 'headsplat heads render'"
        )
    try:
        description: dict[str, Any] = json.loads(place.read())
        version = description.get("format_version")
    except (ValueError, AttributeError) as error:
        raise UnreadableSource(f"{place.uri} is damaged: {error}") from error
    if version != FORMAT_VERSION:
        raise UnreadableSource(
            f"{root.uri} holds a dataset of format {version}, this version reads "
            f"{FORMAT_VERSION}; render it again"
        )
    return description


def write_sequence(root: Location, options: DatasetOptions, sequence_id: int) -> None:
    """Render a sequence into its file."""
    write_table(root, sequence_id, render_sequence(options, sequence_id))


def write_table(root: Location, sequence_id: int, table: pa.Table) -> None:
    """Write the views of a sequence, so that equal tables give equal bytes.

    PNG is compressed already, so the file is not; a dictionary of images would double them.
    """
    plain = [name for name in table.column_names if name not in _PIXEL_COLUMNS]
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        row_group_size=max(1, table.num_rows),
        compression="none",
        use_dictionary=plain,
        write_statistics=plain,
    )
    sequence_file(root, sequence_id).write(buffer.getvalue())


def _description(options: DatasetOptions) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "made_by": "headsplat heads render",
        "licence": "CC0-1.0",
        "options": options.to_json(),
        "versions": {
            **_engine(),
            "headsplat": __version__,
            **{one.__name__: one.__version__ for one in (np, scipy, numba, pa)},
        },
        "split": f"identity_id % {HELD_OUT_EVERY} == {HELD_OUT_EVERY - 1} is held out (test)",
        "order": "views ring by ring in the order of elevations_deg, then the random ones",
        "image": "RGBA PNG, sRGB, straight alpha, rgb 0 where alpha is 0",
        **ENCODINGS,
        "part_names": list(PART_NAMES),
        "world": "right-handed, y up, head centred at the origin facing +z, subject's left = +x",
        "azimuth_deg": "0 in front of the face, positive towards the subject's left",
        "elevation_deg": "positive when the camera is above",
        "cam_to_world": "4x4 row-major, OpenCV camera axes: x right, y down, z forward",
        "intrinsics": "square pixels, centred principal point, vertical field of view fov_y_deg",
        "landmarks": "x, y pixels of image-left eye, image-right eye, nose tip, image-left mouth "
        "corner, image-right mouth corner (image sides as seen from the front)",
    }


def _engine() -> dict[str, int | str]:
    """The versions that decide what a seed looks like."""
    return {"engine": ENGINE_VERSION, "template_sha256": _template_sha256()}


@cache
def _template_sha256() -> str:
    return hashlib.sha256(TEMPLATE_PATH.read_bytes()).hexdigest()


def _changed(stored: dict[str, Any], options: DatasetOptions) -> str:
    """The options that differ, as stored and as given."""
    given = options.to_json()
    return ", ".join(
        f"{name} {stored.get(name)} (not {given.get(name)})"
        for name in sorted({*stored, *given})
        if stored.get(name) != given.get(name)
    )
