"""Image distances for the optimisation and the network's training."""

import torch
from torch.nn import functional

WINDOW_PX, STRIDE_PX = 7, 3
_C1, _C2 = 0.01**2, 0.03**2


def dssim(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Structural dissimilarity (1 - SSIM) / 2 of the channels' means over square windows.

    Windows of 7 px every 3 px, flat instead of Gaussian, on grey images: a small part of the cost
    of the usual 11 px window at every pixel and channel, which counts when it is paid at every
    step.

    Args:
        image: [B, C, H, W] in [0, 1].
        target: the same shape.

    Returns:
        [B], 0 where the images are equal, at most 1.
    """
    image, target = image.mean(1, keepdim=True), target.mean(1, keepdim=True)
    stacked = torch.cat([image, target, image * image, target * target, image * target])
    means = functional.avg_pool2d(stacked, WINDOW_PX, STRIDE_PX)
    x, y, xx, yy, xy = means.chunk(5)
    covariance = xy - x * y
    numerator = (2 * x * y + _C1) * (2 * covariance + _C2)
    denominator = (x * x + y * y + _C1) * (xx - x * x + yy - y * y + _C2)
    ssim: torch.Tensor = (numerator / denominator).flatten(1).mean(1)
    return (1 - ssim) / 2


def psnr(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Peak signal to noise ratio per image, decibels; [B, ...] in [0, 1] to [B]."""
    error = (image - target).square().flatten(1).mean(1).clamp(min=1e-10)
    return -10 * torch.log10(error)
