"""A dataset of spheres with faces, in the real dataset's format and made in no time."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.cameras import RADIUS, Cameras, look_at_origin
from pipeline.digital_human.dataset_options import DatasetOptions
from pipeline.digital_human.ground_truth import encode_png
from pipeline.digital_human.sequence import LABELS, SCHEMA, sequence_metadata
from pipeline.digital_human.store import prepare, write_table
from pipeline.storage import locate

BALL_RADIUS = 0.45
# On the unit sphere, in ArcFace's order: the subject's right eye (-x) is on the image's left.
FACE = np.array(
    [[-0.4, 0.3, 0.87], [0.4, 0.3, 0.87], [0, 0, 1], [-0.3, -0.4, 0.87], [0.3, -0.4, 0.87]]
)


def write_heads(
    folder: Path | str, identities: tuple[int, ...], size_px: int, **options: Any
) -> Path | str:
    """Write the sequences of each identity; return ``folder``.

    By default an identity has one, with 16 views of an orbit and a random one.
    """
    defaults = {"samples": 1, "appearances": 1, "elevations_deg": (0.0,), "random_views": 1}
    made = DatasetOptions(size_px=size_px, **{**defaults, **options})
    root = locate(str(folder))
    prepare(root, made)
    for identity in identities:
        for appearance in range(made.appearances):
            number = identity * made.appearances + appearance
            write_table(root, number, ball_sequence(made, number))
    return folder


def ball_sequence(options: DatasetOptions, number: int) -> pa.Table:
    """One sequence, as `render_sequence` makes it."""
    ids = {"identity_id": options.identity_of(number), "sequence_id": number}
    labels = {name: 0.0 if pa.types.is_floating(SCHEMA.field(name).type) else "" for name in LABELS}
    views = [
        ("grid", float(azimuth), elevation, 0.0)
        for elevation in options.elevations_deg
        for azimuth in options.azimuths_deg
    ]
    views += [("random", 20.0 - view, 10.0, 5.0) for view in range(options.random_views)]
    rows = [
        {**ids, **labels, "view": place, **_view(ids["identity_id"], options.size_px, *view)}
        for place, view in enumerate(views)
    ]
    metadata = sequence_metadata({**ids, **labels}, {}, {}, options)
    return pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata))


def _view(
    identity: int,
    size_px: int,
    kind: str,
    azimuth_deg: float,
    elevation_deg: float,
    roll_deg: float,
) -> dict[str, object]:
    cameras = look_at_origin(azimuth_deg, elevation_deg, RADIUS, roll_deg)
    points = FACE / np.linalg.norm(FACE, axis=1, keepdims=True)
    return {
        "kind": kind,
        "azimuth_deg": azimuth_deg,
        "elevation_deg": elevation_deg,
        "radius": RADIUS,
        "roll_deg": roll_deg,
        "image": encode_png(_ball(cameras, identity, size_px)),
        "cam_to_world": cameras.cam_to_world[0].ravel().tolist(),
        "fov_y_deg": cameras.fov_y_deg,
        "landmarks": cameras.project(BALL_RADIUS * points, size_px)[0].ravel().tolist(),
        "landmark_visible": (points @ -cameras.cam_to_world[0, :3, 2] > 0.3).tolist(),
        "head_cut": False,
    }


def _ball(cameras: Cameras, identity: int, size_px: int) -> np.ndarray:
    """[size_px, size_px, 4] uint8: the identity's skin in front, its hair elsewhere."""
    skin, hair = np.random.default_rng(identity).integers(30, 220, (2, 3))
    pixels = (np.arange(size_px) + 0.5 - size_px / 2) / cameras.intrinsics(size_px)[0, 0, 0]
    x, y = np.meshgrid(pixels * RADIUS / BALL_RADIUS, pixels * RADIUS / BALL_RADIUS)
    inside = x**2 + y**2 < 1
    toward = -np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))
    world = np.stack([x, y, toward], -1) @ cameras.cam_to_world[0, :3, :3].T
    face = (world @ [0, -0.2, 0.98] > 0.6)[..., None]
    shade = 0.6 + 0.4 * np.clip(world @ [0.5, 0.7, 0.5], 0, 1)[..., None]
    rgb = np.where(face, skin, hair) * shade * inside[..., None]
    return np.concatenate([rgb, 255 * inside[..., None]], -1).astype(np.uint8)
