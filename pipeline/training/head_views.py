"""Rendered heads in memory, for the networks that learn from single views."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.digital_human.dataset import HeadDataset
from pipeline.errors import UsageError
from pipeline.portrait.framing import render_to_portrait

FACE_CENTRE = np.array([0.0, -0.05, 0.17])
"""Centre of the ellipsoid whose outline a detector's box encloses, canonical frame."""
FACE_RADII = np.array([0.185, 0.225, 0.17])
"""Half axes of that ellipsoid, world units: hairline to chin, cheek to cheek."""
FACING_DEG = 72.0
"""Largest angle between camera and face at which a view counts as showing a face."""
MAX_VIEWS = 24
"""Views of a sequence that are kept: a grid's 96 would leave room for few people."""
TURNED_AWAY_DEG = 105.0
"""Beyond this angle a view is a negative; between the two it is left out of losses."""


@dataclass(frozen=True)
class HeadSequence:
    """The views of one digital human in one appearance.

    Attributes:
        rgba: [V, S, S, 4] uint8 straight alpha.
        landmarks: [V, 5, 2] pixels in ArcFace's order.
        cam_to_world: [V, 4, 4] OpenCV camera axes.
        fov_y_deg: vertical field of view.
        identity: number of the person.
        expression: name of the expression.
    """

    rgba: npt.NDArray[np.uint8]
    landmarks: npt.NDArray[np.float32]
    cam_to_world: npt.NDArray[np.float32]
    fov_y_deg: float
    identity: int
    expression: str


def load_sequences(address: str, split: str, limit: int | None = None) -> list[HeadSequence]:
    """Read sequences of a dataset into memory.

    Args:
        address: of the dataset.
        split: ``train`` or ``test``.
        limit: at most this many sequences, spread over the dataset.

    Raises:
        UsageError: the split is empty.
    """
    dataset = HeadDataset(address, split)
    if not len(dataset):
        raise UsageError(
            f"the {split} split of {address} holds no sequence; render more identities"
        )
    count = min(limit or len(dataset), len(dataset))
    chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    loaded = []
    for index in chosen:
        number = dataset.sequences[index]
        sequence = dataset.load(number, _spread(number, dataset.options.views))
        loaded.append(
            HeadSequence(
                sequence.views,
                sequence.landmarks,
                sequence.cameras.cam_to_world,
                sequence.cameras.fov_y_deg,
                sequence.identity_id,
                str(sequence.labels["expression"]),
            )
        )
    return loaded


def _spread(sequence_id: int, views: int) -> list[int]:
    """Up to `MAX_VIEWS` of a sequence's views, other ones for each sequence."""
    rng = np.random.default_rng((sequence_id, views))
    return sorted(rng.permutation(views)[:MAX_VIEWS].tolist())


@dataclass(frozen=True)
class HeadView:
    """One view.

    Attributes:
        rgba: [S, S, 4] uint8 straight alpha.
        landmarks: [5, 2] float64 pixels in ArcFace's order.
        face_box: [4] left, top, right, bottom of the projected face ellipsoid, pixels.
        facing_deg: angle between the face's forward direction and the camera, 0 to 180.
        identity: number of the person.
        expression: number of the person's expression, over all people.
        azimuth_deg: of the camera.
        elevation_deg: of the camera.
        to_portrait: [2, 3] from the view's pixels to a portrait of size 1 x 1.
    """

    rgba: npt.NDArray[np.uint8]
    landmarks: npt.NDArray[np.float64]
    face_box: npt.NDArray[np.float64]
    facing_deg: float
    identity: int
    expression: int
    azimuth_deg: float
    elevation_deg: float
    to_portrait: npt.NDArray[np.float64]

    @property
    def shows_face(self) -> bool:
        """Whether the view counts as a face."""
        return self.facing_deg <= FACING_DEG

    @property
    def is_turned_away(self) -> bool:
        """Whether the view counts as showing no face."""
        return self.facing_deg >= TURNED_AWAY_DEG


class HeadViews:
    """All views of some sequences, drawn by random generators.

    Args:
        sequences: at least one.
    """

    def __init__(self, sequences: Sequence[HeadSequence]) -> None:
        self.sequences = list(sequences)
        self.identities = sorted({sequence.identity for sequence in self.sequences})
        self.expressions = sorted({(one.identity, one.expression) for one in self.sequences})
        self._facing = [_facing_deg(sequence.cam_to_world) for sequence in self.sequences]
        self._with_face = [np.flatnonzero(angles <= FACING_DEG) for angles in self._facing]

    def draw(self, rng: np.random.Generator, with_face: bool = True) -> HeadView:
        """A random view; with a face in it unless ``with_face`` is false."""
        which = int(rng.integers(len(self.sequences)))
        if with_face:
            return self.view(which, int(rng.choice(self._with_face[which])))
        return self.view(which, int(rng.integers(len(self.sequences[which].rgba))))

    def frontal(self, sequence: int) -> HeadView:
        """The view of a sequence that shows the face best."""
        return self.view(sequence, int(self._facing[sequence].argmin()))

    def view(self, sequence: int, view: int) -> HeadView:
        """One view of the sequence at this place in ``sequences``."""
        source = self.sequences[sequence]
        position = source.cam_to_world[view, :3, 3]
        outward = position / np.linalg.norm(position)
        return HeadView(
            rgba=source.rgba[view],
            landmarks=source.landmarks[view].astype(np.float64),
            face_box=project_face_box(
                source.cam_to_world[view], source.fov_y_deg, source.rgba.shape[1]
            ),
            facing_deg=float(self._facing[sequence][view]),
            identity=self.identities.index(source.identity),
            expression=self.expressions.index((source.identity, source.expression)),
            azimuth_deg=float(np.degrees(np.arctan2(outward[0], outward[2]))),
            elevation_deg=float(np.degrees(np.arcsin(outward[1]))),
            to_portrait=render_to_portrait(source.cam_to_world[view], source.rgba.shape[1]),
        )


def project_face_box(
    cam_to_world: npt.NDArray[np.float32], fov_y_deg: float, size_px: int
) -> npt.NDArray[np.float64]:
    """The box round the face ellipsoid as a camera sees it: left, top, right, bottom in pixels."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    heights = np.linspace(-0.95, 0.95, 9)
    rim = np.sqrt(1 - heights**2)[:, None]
    sphere = np.stack(
        [rim * np.cos(angles), np.tile(heights[:, None], 24), rim * np.sin(angles)], -1
    ).reshape(-1, 3)
    surface = FACE_CENTRE + sphere * FACE_RADII
    in_cam = (surface - cam_to_world[:3, 3]) @ cam_to_world[:3, :3]
    focal_px = 0.5 * size_px / np.tan(np.radians(fov_y_deg) / 2)
    pixels = focal_px * in_cam[:, :2] / in_cam[:, 2:] + size_px / 2
    return np.concatenate([pixels.min(0), pixels.max(0)])


def _facing_deg(cam_to_world: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    outward = cam_to_world[:, :3, 3] / np.linalg.norm(cam_to_world[:, :3, 3], axis=1)[:, None]
    return np.asarray(np.degrees(np.arccos(outward[:, 2].clip(-1, 1))), np.float64)
