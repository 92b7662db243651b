"""Gaussians to start from when there is no network: the visual hull of the views, coloured.

A point belongs to the hull if almost no view shows white where the point would be. Its surface,
found by marching cubes, carries one flat Gaussian a vertex, coloured from the views that look at
it most directly.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from skimage.measure import marching_cubes

from pipeline.cameras import Cameras
from pipeline.errors import ProcessingError
from pipeline.gaussians import Gaussians
from pipeline.reconstruction.hull import GRID, HALF_EXTENT, hull_field
from pipeline.reconstruction.masks import alpha_from_white

F32 = npt.NDArray[np.float32]

_FACING_POWER = 6
_START_OPACITY = 0.8
_THICKNESS = 0.3
"""Of a start Gaussian against its width."""


def gaussians_from_views(
    views: npt.NDArray[np.uint8],
    cameras: Cameras,
    *,
    count: int = 16384,
    alphas: F32 | None = None,
    seed: int = 0,
) -> Gaussians:
    """Carve a head out of its views.

    Args:
        views: [V, H, W, 3] on white.
        cameras: their V cameras.
        count: most Gaussians to return.
        alphas: [V, H, W] in [0, 1] where they are known; else estimated from the white.
        seed: of the choice among surface points, where there are more than ``count``.

    Returns:
        Up to ``count`` Gaussians on the surface of the hull.

    Raises:
        ProcessingError: the views have nothing in common but white.
    """
    masks = alpha_from_white(views) if alphas is None else alphas
    field = hull_field(masks, cameras)
    if field.max() <= 0.5 or field.min() >= 0.5:
        raise ProcessingError(
            f"The {len(views)} views show no common shape: the largest agreement is "
            f"{field.max():.2f}, and more than 0.5 is needed. Their backgrounds must be white."
        )
    points, normals, width = _surface(field)
    if len(points) > count:
        width *= math.sqrt(len(points) / count)
        chosen = np.sort(np.random.default_rng(seed).permutation(len(points))[:count])
        points, normals = points[chosen], normals[chosen]
    colors = _colors(points, normals, views, masks, cameras)
    scales = np.tile(np.array([width, width, _THICKNESS * width], np.float32), (len(points), 1))
    return Gaussians(
        means=torch.from_numpy(points),
        quats=torch.from_numpy(_facing(normals)),
        scales=torch.from_numpy(scales),
        opacities=torch.full((len(points),), _START_OPACITY),
        colors=torch.from_numpy(colors),
    )


def _look_up(image: F32, points: F32, camera: Cameras) -> F32:
    """Pixels [N, C] of one view [H, W, C] at world points [N, 3]; NaN outside the image."""
    size_px = image.shape[0]
    columns, rows = np.floor(camera.project(points, size_px)[0]).astype(np.int32).T
    outside = (columns < 0) | (columns >= size_px) | (rows < 0) | (rows >= size_px)
    values: F32 = image[rows.clip(0, size_px - 1), columns.clip(0, size_px - 1)].astype(np.float32)
    values[outside] = np.nan
    return values


def _surface(field: F32) -> tuple[F32, F32, float]:
    """Points [N, 3], outward normals [N, 3], and a Gaussian's width, all in world units."""
    padded = np.pad(field, 1)
    vertices, _, normals, _ = marching_cubes(padded, 0.5, gradient_direction="descent")
    step = 2 * HALF_EXTENT / (GRID - 1)
    points = (vertices - 1) * step - HALF_EXTENT
    inside = np.abs(points).max(-1) < HALF_EXTENT
    return points[inside].astype(np.float32), normals[inside].astype(np.float32), 0.6 * step


def _colors(
    points: F32, normals: F32, views: npt.NDArray[np.uint8], alphas: F32, cameras: Cameras
) -> F32:
    """Mean colour [N, 3] over the views, weighted by how directly each looks at the surface.

    Pixels at the head's edge, mixed with the white behind it, count little: the crown and the cut
    through the bust are seen by nothing else, and would turn white.
    """
    total = np.full((len(points), 3), 0.5e-9)
    weights = np.full((len(points), 1), 1e-9)
    for view in range(len(cameras)):
        image = np.concatenate([views[view].astype(np.float32) / 255, alphas[view, ..., None]], -1)
        pixels = np.nan_to_num(_look_up(image, points, cameras[[view]]))
        towards = cameras.cam_to_world[view, :3, 3] - points
        towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
        facing = (normals * towards).sum(-1, keepdims=True).clip(0.02, 1) ** _FACING_POWER
        weight = facing * pixels[:, 3:] ** 8
        total += weight * pixels[:, :3]
        weights += weight
    return np.asarray(total / weights, np.float32)


def _facing(normals: F32) -> F32:
    """Quaternions [N, 4] that turn z onto the normals."""
    half = normals + np.array([0, 0, 1], np.float32)
    quats = np.stack([half[:, 2], -half[:, 1], half[:, 0], np.zeros(len(half))], -1)
    quats[half[:, 2] < 1e-4] = [0, 1, 0, 0]
    return np.asarray(quats / np.linalg.norm(quats, axis=-1, keepdims=True), np.float32)
