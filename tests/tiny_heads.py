"""A dataset of spheres with faces, in the real dataset's format and made in no time."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cameras import RADIUS, Cameras, look_at_origin, orbit_azimuths_deg
from pipeline.digital_human.dataset import LABELS, prepare_folder, sequence_path
from pipeline.digital_human.sequence import SCHEMA, DatasetOptions, encode_png

BALL_RADIUS = 0.45
# On the unit sphere, in ArcFace's order: the subject's right eye (-x) is on the image's left.
FACE = np.array(
    [[-0.4, 0.3, 0.87], [0.4, 0.3, 0.87], [0, 0, 1], [-0.3, -0.4, 0.87], [0.3, -0.4, 0.87]]
)


def write_heads(folder: Path, identities: tuple[int, ...], size_px: int) -> Path:
    """Write one sequence (16 orbit views, one photo) of each identity; return ``folder``."""
    prepare_folder(folder, DatasetOptions(size_px=size_px, samples=1, photo_views=1))
    for identity in identities:
        rows = [_row(identity, "orbit", a, 0.0, 0.0, size_px) for a in orbit_azimuths_deg()]
        rows.append(_row(identity, "photo", 20.0, 10.0, 5.0, size_px))
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        pq.write_table(table, sequence_path(folder, identity))
    return folder


def _row(
    identity: int,
    kind: str,
    azimuth_deg: float,
    elevation_deg: float,
    roll_deg: float,
    size_px: int,
) -> dict[str, object]:
    cameras = look_at_origin(azimuth_deg, elevation_deg, RADIUS, roll_deg)
    points = FACE / np.linalg.norm(FACE, axis=1, keepdims=True)
    labels = {name: 0.0 if pa.types.is_floating(SCHEMA.field(name).type) else "" for name in LABELS}
    return labels | {
        "identity_id": identity,
        "sequence_id": identity,
        "view": 0,
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
