"""Rendering one sequence of a dataset: a person in one appearance, seen by many cameras."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.cameras import RADIUS, Cameras, look_at_origin
from pipeline.digital_human.dataset_options import DatasetOptions
from pipeline.digital_human.expression import Appearance, sample_appearance
from pipeline.digital_human.ground_truth import encode_depth, encode_normals, encode_png
from pipeline.digital_human.identity import Identity, sample_identity
from pipeline.digital_human.looks import stylise
from pipeline.digital_human.parts import CLOTH, SKIN
from pipeline.digital_human.scene import NOTHING, Frame, HeadScene, build_head

MAX_AZIMUTH_DEG = 65.0
ELEVATION_RANGE_DEG = (-15.0, 35.0)
RADIUS_JITTER = (0.9, 1.1)
MAX_ROLL_DEG = 8.0
MAX_TRIES = 5
ANCESTRIES = ("african", "asian", "caucasian")
"""Names of MakeHuman's base shapes, in the order of `Identity.ancestry`."""
LABEL_FIELDS = (
    ("expression", pa.string()),
    ("accessory", pa.string()),
    ("sex", pa.string()),
    ("age", pa.float32()),
    ("age_group", pa.string()),
    ("ancestry", pa.string()),
    ("hair_style", pa.string()),
    ("hair_color", pa.string()),
    ("beard", pa.string()),
    ("eye_color", pa.string()),
    ("melanin", pa.float32()),
    ("garment", pa.string()),
)
LABELS = tuple(name for name, _ in LABEL_FIELDS)
SCHEMA = pa.schema(
    [
        ("identity_id", pa.int32()),
        ("sequence_id", pa.int32()),
        ("view", pa.int16()),
        ("kind", pa.string()),
        ("azimuth_deg", pa.float32()),
        ("elevation_deg", pa.float32()),
        ("radius", pa.float32()),
        ("roll_deg", pa.float32()),
        ("image", pa.binary()),
        ("depth", pa.binary()),
        ("normals", pa.binary()),
        ("parts", pa.binary()),
        ("cam_to_world", pa.list_(pa.float32(), 16)),
        ("fov_y_deg", pa.float32()),
        ("landmarks", pa.list_(pa.float32(), 10)),
        ("landmark_visible", pa.list_(pa.bool_(), 5)),
        ("head_cut", pa.bool_()),
        *LABEL_FIELDS,
    ]
)
"""Columns of a sequence file; ``image`` holds PNG bytes, straight-alpha RGBA."""


@dataclass(frozen=True)
class _View:
    kind: str
    azimuth_deg: float
    elevation_deg: float
    radius: float
    roll_deg: float
    cameras: Cameras
    frame: Frame


def render_sequence(options: DatasetOptions, sequence_id: int) -> pa.Table:
    """Render all views of one sequence.

    Args:
        options: of the dataset.
        sequence_id: identity times appearances plus appearance.

    Returns:
        One row per view, in the order that `DatasetOptions` states; ids and labels, identity,
        appearance and options as JSON in the metadata.
    """
    identity_id = options.identity_of(sequence_id)
    identity = sample_identity(options.identity_seed(identity_id))
    appearance = sample_appearance(identity, options.appearance_of(sequence_id))
    scene = build_head(identity, appearance, hair_quality=hair_quality(options.size_px))
    ids = {"identity_id": identity_id, "sequence_id": sequence_id}
    labels = _labels(identity, appearance)
    # one frame at a time: all 96 of a large sequence would take gigabytes
    views = chain(_grid(scene, options), _random(scene, options, sequence_id))
    rows = [
        {**ids, "view": number, **_view_columns(view, options), **labels}
        for number, view in enumerate(views)
    ]
    metadata = sequence_metadata(
        {**ids, **labels}, identity.to_dict(), appearance.to_dict(), options
    )
    return pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata))


def sequence_metadata(
    labels: dict[str, Any],
    identity: dict[str, Any],
    appearance: dict[str, Any],
    options: DatasetOptions,
) -> dict[str, str]:
    """What the footer of a sequence file says, as JSON texts by name.

    Args:
        labels: both ids and `LABELS`.
        identity: all parameters of the person.
        appearance: all parameters of the appearance.
        options: of the dataset.
    """
    parts = {
        "labels": labels,
        "identity": identity,
        "appearance": appearance,
        "options": options.to_json(),
    }
    return {name: json.dumps(values) for name, values in parts.items()}


def hair_quality(size_px: int) -> float:
    """Share of the full strand count that views of a size need."""
    return 0.55 if size_px <= 128 else 0.7 if size_px <= 256 else 1.6


def _grid(scene: HeadScene, options: DatasetOptions) -> Iterator[_View]:
    for elevation in options.elevations_deg:
        cameras = look_at_origin(options.azimuths_deg, elevation)
        for view, azimuth in enumerate(options.azimuths_deg):
            frame = scene.frame(cameras, view, options.size_px, options.samples)
            yield _View("grid", float(azimuth), elevation, RADIUS, 0.0, cameras[[view]], frame)


def _random(scene: HeadScene, options: DatasetOptions, sequence_id: int) -> Iterator[_View]:
    """Views as of photos; a camera that cuts off hair or a hat steps back."""
    rng = np.random.default_rng((options.seed, sequence_id, 5))
    for _ in range(options.random_views):
        azimuth = float(rng.uniform(-MAX_AZIMUTH_DEG, MAX_AZIMUTH_DEG))
        elevation = float(rng.uniform(*ELEVATION_RANGE_DEG))
        radius = RADIUS * float(rng.uniform(*RADIUS_JITTER))
        roll = float(rng.uniform(-MAX_ROLL_DEG, MAX_ROLL_DEG))
        for attempt in range(MAX_TRIES):
            cameras = look_at_origin(azimuth, elevation, radius, roll)
            frame = scene.frame(cameras, 0, options.size_px, options.samples)
            if attempt == MAX_TRIES - 1 or not cuts_head(frame):
                break
            radius *= 1.05
        yield _View("random", azimuth, elevation, radius, roll, cameras, frame)


def cuts_head(frame: Frame) -> bool:
    """Whether anything but skin and clothes of the bust touches the top or side borders."""
    parts = frame.parts
    sides = np.concatenate([parts[:, 0], parts[:, -1]])
    above = bool((parts[0] != NOTHING).any())
    return above or bool((~np.isin(sides, (SKIN, CLOTH, NOTHING))).any())


def _labels(identity: Identity, appearance: Appearance) -> dict[str, Any]:
    return {
        "expression": appearance.expression,
        "accessory": appearance.accessory or "none",
        "sex": identity.sex,
        "age": identity.age,
        "age_group": identity.age_group,
        "ancestry": ANCESTRIES[int(np.argmax(identity.ancestry))],
        "hair_style": identity.hair_style,
        "hair_color": identity.hair_color,
        "beard": identity.beard,
        "eye_color": identity.eye_color,
        "melanin": identity.melanin,
        "garment": identity.garment,
    }


def _view_columns(view: _View, options: DatasetOptions) -> dict[str, Any]:
    frame = view.frame
    return {
        "kind": view.kind,
        "azimuth_deg": view.azimuth_deg,
        "elevation_deg": view.elevation_deg,
        "radius": view.radius,
        "roll_deg": view.roll_deg,
        "image": encode_png(stylise(frame, options.look)),
        "cam_to_world": view.cameras.cam_to_world[0].ravel().tolist(),
        "fov_y_deg": view.cameras.fov_y_deg,
        "landmarks": frame.landmarks.ravel().tolist(),
        "landmark_visible": frame.landmark_visible.tolist(),
        "head_cut": cuts_head(frame),
        **(_truth_columns(frame) if options.ground_truth else {}),
    }


def _truth_columns(frame: Frame) -> dict[str, bytes]:
    return {
        "depth": encode_depth(frame.depth),
        "normals": encode_normals(frame.normals),
        "parts": encode_png(frame.parts),
    }
