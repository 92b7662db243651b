"""One sequence of a dataset: a person in one appearance, seen from an orbit and as photos."""

import io
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pipeline.cameras import ORBIT_VIEWS, RADIUS, Cameras, look_at_origin, orbit_azimuths_deg
from pipeline.digital_human.expression import sample_appearance
from pipeline.digital_human.identity import Identity, sample_identity
from pipeline.digital_human.parts import CLOTH, SKIN
from pipeline.digital_human.scene import NOTHING, Frame, HeadScene, build_head
from pipeline.errors import UsageError

MAX_AZIMUTH_DEG = 65.0
ELEVATION_RANGE_DEG = (-15.0, 35.0)
RADIUS_JITTER = (0.9, 1.1)
MAX_ROLL_DEG = 8.0
MAX_TRIES = 5


@dataclass(frozen=True)
class DatasetOptions:
    """What every sequence of a dataset has in common.

    Attributes:
        size_px: side of the square images, 16 to 1024.
        samples: supersampling per side.
        appearances: sequences per identity.
        orbit_views: equally spaced views at elevation 0, the first in front.
        photo_views: views at random photo-like cameras.
        seed: shifts all identities; different seeds never share a person.
    """

    size_px: int = 256
    samples: int = 2
    appearances: int = 1
    orbit_views: int = ORBIT_VIEWS
    photo_views: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 16 <= self.size_px <= 1024:
            raise UsageError(f"size {self.size_px} px is outside 16 to 1024; choose one within")
        for name in ("samples", "appearances", "orbit_views"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.photo_views < 0:
            raise UsageError(f"photo_views is {self.photo_views}; it must be at least 0")

    def identity_of(self, sequence_id: int) -> int:
        """The identity that a sequence shows."""
        return sequence_id // self.appearances

    def appearance_of(self, sequence_id: int) -> int:
        """The appearance number within the identity."""
        return sequence_id % self.appearances


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
        One row per view, orbit views first; identity and appearance as JSON in the metadata.
    """
    identity_id = options.identity_of(sequence_id)
    identity = sample_identity(options.seed * 1_000_000 + identity_id)
    appearance = sample_appearance(identity, options.appearance_of(sequence_id))
    scene = build_head(identity, appearance, hair_quality=_hair_quality(options.size_px))
    views = [*_orbit(scene, options), *_photos(scene, options, sequence_id)]
    labels = {**_labels(identity), "expression": appearance.expression,
              "accessory": appearance.accessory or "none"}  # fmt: skip
    rows = [
        {"identity_id": identity_id, "sequence_id": sequence_id, "view": index, **labels}
        | _view_columns(view)
        for index, view in enumerate(views)
    ]
    metadata = {
        "identity": json.dumps(identity.to_dict()),
        "appearance": json.dumps(appearance.to_dict()),
        "options": json.dumps(asdict(options)),
    }
    return pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata))


def _hair_quality(size_px: int) -> float:
    return 0.55 if size_px <= 128 else 0.7 if size_px <= 256 else 1.0


def _orbit(scene: HeadScene, options: DatasetOptions) -> list[_View]:
    azimuths = orbit_azimuths_deg(options.orbit_views)
    cameras = look_at_origin(azimuths, 0.0)
    return [
        _View(
            "orbit",
            float(azimuth),
            0.0,
            RADIUS,
            0.0,
            cameras[[view]],
            scene.frame(cameras, view, options.size_px, options.samples),
        )
        for view, azimuth in enumerate(azimuths)
    ]


def _photos(scene: HeadScene, options: DatasetOptions, sequence_id: int) -> list[_View]:
    """Photo-like views; a camera that cuts off hair or a hat steps back."""
    rng = np.random.default_rng((options.seed, sequence_id, 5))
    views = []
    for _ in range(options.photo_views):
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
        views.append(_View("photo", azimuth, elevation, radius, roll, cameras, frame))
    return views


def cuts_head(frame: Frame) -> bool:
    """Whether anything but skin and clothes of the bust touches the top or side borders."""
    parts = frame.parts
    sides = np.concatenate([parts[:, 0], parts[:, -1]])
    above = bool((parts[0] != NOTHING).any())
    return above or bool((~np.isin(sides, (SKIN, CLOTH, NOTHING))).any())


def _labels(identity: Identity) -> dict[str, Any]:
    return {
        "sex": identity.sex,
        "age": identity.age,
        "age_group": identity.age_group,
        "hair_style": identity.hair_style,
        "hair_color": identity.hair_color,
        "beard": identity.beard,
        "eye_color": identity.eye_color,
        "melanin": identity.melanin,
        "garment": identity.garment,
    }


def _view_columns(view: _View) -> dict[str, Any]:
    return {
        "kind": view.kind,
        "azimuth_deg": view.azimuth_deg,
        "elevation_deg": view.elevation_deg,
        "radius": view.radius,
        "roll_deg": view.roll_deg,
        "image": encode_png(view.frame.rgba),
        "cam_to_world": view.cameras.cam_to_world[0].ravel().tolist(),
        "fov_y_deg": view.cameras.fov_y_deg,
        "landmarks": view.frame.landmarks.ravel().tolist(),
        "landmark_visible": view.frame.landmark_visible.tolist(),
    }


def encode_png(rgba: npt.NDArray[np.uint8]) -> bytes:
    """Lossless bytes of an [H, W, 4] uint8 image."""
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


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
        ("cam_to_world", pa.list_(pa.float32(), 16)),
        ("fov_y_deg", pa.float32()),
        ("landmarks", pa.list_(pa.float32(), 10)),
        ("landmark_visible", pa.list_(pa.bool_(), 5)),
        ("expression", pa.string()),
        ("accessory", pa.string()),
        ("sex", pa.string()),
        ("age", pa.float32()),
        ("age_group", pa.string()),
        ("hair_style", pa.string()),
        ("hair_color", pa.string()),
        ("beard", pa.string()),
        ("eye_color", pa.string()),
        ("melanin", pa.float32()),
        ("garment", pa.string()),
    ]
)
"""Columns of a sequence file; ``image`` holds PNG bytes, straight-alpha RGBA."""
