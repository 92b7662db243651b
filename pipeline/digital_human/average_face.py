"""The face that digital humans have on average, measured on the depth of their front views."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pipeline.cameras import look_at_origin
from pipeline.digital_human.dataset import HeadDataset
from pipeline.digital_human.parts import EYE, MOUTH, SKIN, TEETH
from pipeline.errors import UsageError
from pipeline.portrait.mean_face import MeanFace
from pipeline.portrait.pose import MEAN_LANDMARKS

STEP_PX = 2
"""Between points, of a view of `VIEW_PX`: what a portrait of that size can show."""
VIEW_PX = 256
_REACH = 1.1
"""Of the distance from eyes to mouth, from the point midway between them: how far a face goes."""
_LEAST_COSINE = 0.3
"""Steeper parts, at the nostrils, are taken for this steep."""

Floats = npt.NDArray[np.float64]


def average_face(dataset: HeadDataset) -> MeanFace:
    """The mean of all faces of a dataset, and of their mirror images.

    Args:
        dataset: rendered with its ground truth and a ring of views at elevation 0.

    Raises:
        UsageError: it holds nobody, or its views are not of `VIEW_PX`.
        UnreadableSource: it has no ground truth, or no such ring.
    """
    if not dataset.sequences or dataset.options.size_px != VIEW_PX:
        raise UsageError(
            f"{dataset.root.uri} holds {len(dataset)} people in views of "
            f"{dataset.options.size_px} px; it must hold some, of {VIEW_PX} px"
        )
    depth = _mean_depth(_front_depths(dataset))
    points, normals = _surface(depth)
    chosen = np.zeros(depth.shape, bool)
    chosen[::STEP_PX, ::STEP_PX] = True
    chosen &= np.isfinite(normals).all(-1) & _in_face(points)
    facing = -np.sum(normals * points / np.linalg.norm(points, axis=-1, keepdims=True), -1)
    steep = np.sqrt(facing[chosen].clip(_LEAST_COSINE))
    pose = look_at_origin(0, 0).cam_to_world[0].astype(np.float64)
    return MeanFace(
        points=(points[chosen] @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32),
        normals=(normals[chosen] @ pose[:3, :3].T).astype(np.float32),
        spacings=(points[chosen][:, 2] * STEP_PX / _focal_px() / steep).astype(np.float32),
    )


def _front_depths(dataset: HeadDataset) -> Iterable[Floats]:
    """Depth of the face in each front view and its mirror image, [H, W], NaN beside the face."""
    front = dataset.options.ring()[:1]
    for number in dataset.sequences:
        truth = dataset.load(number, front, truth=True).truth
        assert truth is not None
        face = np.isin(truth.parts[0], (SKIN, EYE, TEETH, MOUTH))
        depth = np.where(face, truth.depth[0].astype(np.float64), np.nan)
        yield depth
        yield depth[:, ::-1]


def _mean_depth(depths: Iterable[Floats]) -> Floats:
    """Where most people have a face; NaN elsewhere."""
    total, count, people = np.zeros((VIEW_PX, VIEW_PX)), np.zeros((VIEW_PX, VIEW_PX)), 0
    for depth in depths:
        total += np.nan_to_num(depth)
        count += np.isfinite(depth)
        people += 1
    return np.where(2 * count > people, total / count.clip(1), np.nan)


def _surface(depth: Floats) -> tuple[Floats, Floats]:
    """Points and unit normals towards the camera, [H, W, 3] in its frame."""
    slope = (np.arange(VIEW_PX) + 0.5 - VIEW_PX / 2) / _focal_px()
    x, y = np.meshgrid(slope, slope)
    points = np.stack([x * depth, y * depth, depth], -1)
    down, right = np.gradient(points, axis=(0, 1))
    normals = np.cross(down, right)
    return points, normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def _in_face(points: Floats) -> npt.NDArray[np.bool_]:
    """Which points of the front camera's frame belong to the face, [H, W]."""
    eyes, mouth = MEAN_LANDMARKS[:2].mean(0), MEAN_LANDMARKS[3:].mean(0)
    across, down = points[..., 0], -points[..., 1] - (eyes[1] + mouth[1]) / 2
    with np.errstate(invalid="ignore"):
        inside: npt.NDArray[np.bool_] = np.hypot(across, down) < _REACH * (eyes[1] - mouth[1])
    return inside


def _focal_px() -> float:
    return float(look_at_origin(0, 0).intrinsics(VIEW_PX)[0, 0, 0])
