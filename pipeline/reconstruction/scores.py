"""How well an avatar agrees with the views it was made from."""

import numpy as np
import numpy.typing as npt
import torch

from pipeline.cameras import Cameras
from pipeline.gaussians import Gaussians
from pipeline.reconstruction.hull import GRID, HALF_EXTENT, hull_field
from pipeline.reconstruction.losses import psnr
from pipeline.reconstruction.masks import alpha_from_white
from pipeline.rendering import render

OPAQUE = 0.3
"""Opacity from which a Gaussian away from the head is seen as a speck."""
OUTSIDE = 0.05
"""Agreement of the views under which a place is surely not head."""


def avatar_scores(
    gaussians: Gaussians, views: npt.NDArray[np.uint8], cameras: Cameras
) -> dict[str, float]:
    """Compare an avatar with its views.

    Args:
        gaussians: the avatar.
        views: [V, H, W, 3] on white.
        cameras: their V cameras.

    Returns:
        ``cross_view_psnr``, decibels between renders and views, mean over the views: low where
        the views contradict each other, since one head cannot show them all. ``mask_iou``,
        intersection over union of the silhouettes, mean over the views. ``floaters``, the share
        of opaque Gaussians that the views show to be outside the head.
    """
    masks = alpha_from_white(views)
    ratios, overlaps = [], []
    for view, mask in enumerate(masks):
        with torch.no_grad():
            image, alpha = render(gaussians, cameras[[view]], views.shape[1])
        target = torch.from_numpy(views[view]).float()[None] / 255
        ratios.append(float(psnr(image.clamp(0, 1).cpu(), target)))
        overlaps.append(_iou(alpha[0].cpu().numpy() > 0.5, mask > 0.5))
    return {
        "cross_view_psnr": round(float(np.mean(ratios)), 3),
        "mask_iou": round(float(np.mean(overlaps)), 4),
        "floaters": round(floaters(gaussians, masks, cameras), 5),
    }


def floaters(gaussians: Gaussians, alphas: npt.NDArray[np.float32], cameras: Cameras) -> float:
    """The share of opaque Gaussians whose centres the views show to be background.

    Args:
        gaussians: the avatar.
        alphas: [V, H, W] masks of the views.
        cameras: their V cameras.

    Returns:
        0 to 1; 0 where nothing is opaque.
    """
    opaque = gaussians[gaussians.opacities > OPAQUE]
    if not len(opaque):
        return 0.0
    means = opaque.means.detach().cpu().numpy()
    cells = np.rint((means + HALF_EXTENT) / (2 * HALF_EXTENT) * (GRID - 1)).astype(int)
    inside_grid = ((cells >= 0) & (cells < GRID)).all(1)
    x, y, z = cells.clip(0, GRID - 1).T
    agreed = hull_field(alphas, cameras)[x, y, z] > OUTSIDE
    return 1 - float((agreed & inside_grid).mean())


def _iou(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0
