"""What LGM does to its input views in training, so that it forgives generated ones."""

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.transform import Rotation
from torch.nn import functional

Floats = npt.NDArray[np.float32]

MAX_KNOTS, MIN_KNOTS = 16, 8
KNOT_SHIFT = 0.25
"""Of a cell, either way."""
TURN_DEG, LIFT_DEG = 18.0, 9.0
"""Largest turn of an input camera about the head, either way."""


def distort(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Warp each image along its rows and its columns by shifting random knots.

    Args:
        images: [V, C, H, W].
        rng: where the warps come from.

    Returns:
        The warped images; corners stay where they are.
    """
    size = images.shape[-1]
    grids = []
    for _ in range(len(images)):
        x, y = (_warped_axis(size, rng) for _ in range(2))
        grids.append(np.stack(np.meshgrid(x, y), -1))
    grid = torch.from_numpy(np.stack(grids)).to(images)
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=True
    )


def _warped_axis(size: int, rng: np.random.Generator) -> Floats:
    """Where each of ``size`` pixels is taken from, in [-1, 1]."""
    knots = np.linspace(-1, 1, int(rng.integers(MIN_KNOTS, MAX_KNOTS + 1)))
    shift = rng.uniform(-KNOT_SHIFT, KNOT_SHIFT, len(knots)) * (knots[1] - knots[0])
    shift[[0, -1]] = 0
    return np.asarray(np.interp(np.linspace(-1, 1, size), knots, knots + shift), np.float32)


def jitter_cameras(cam_to_world: Floats, rng: np.random.Generator, share: float) -> Floats:
    """Turn each camera about the head's centre, sideways and up or down.

    Args:
        cam_to_world: [V, 4, 4].
        rng: where the turns come from.
        share: of the largest turns.

    Returns:
        The turned cameras, [V, 4, 4].
    """
    turned = []
    for pose in cam_to_world:
        lift, turn = rng.uniform(-share, share, 2) * (LIFT_DEG, TURN_DEG)
        axes = pose[:3, :3].astype(np.float64)
        about_head = np.eye(4)
        local = Rotation.from_euler("xy", [lift, turn], degrees=True).as_matrix()
        about_head[:3, :3] = axes @ local @ axes.T
        turned.append(about_head @ pose)
    return np.asarray(np.stack(turned), np.float32)
