"""Views and portraits as tensors to compare renders with: colour on white, then alpha."""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from pipeline.portrait.alpha import on_white
from pipeline.reconstruction.masks import alpha_from_white


def view_tensor(views: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Views [V, H, W, 3] on white as colour and estimated alpha, [V, 4, H, W] in [0, 1]."""
    alphas = torch.from_numpy(alpha_from_white(views))[:, None]
    colors = torch.from_numpy(views).permute(0, 3, 1, 2).float() / 255
    return torch.cat([colors, alphas], 1)


def rgba_tensor(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Straight-alpha images [V, H, W, 4] as colour on white and alpha, [V, 4, H, W] in [0, 1]."""
    stacked = np.concatenate([on_white(images), images[..., 3:]], -1)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255


def resized(images: torch.Tensor, size_px: int) -> torch.Tensor:
    """Square images [V, C, H, W] in [0, 1] at another size, antialiased."""
    if images.shape[-1] == size_px:
        return images
    return functional.interpolate(
        images, size=(size_px, size_px), mode="bilinear", antialias=True, align_corners=False
    ).clamp(0, 1)
