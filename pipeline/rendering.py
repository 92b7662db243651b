"""Pictures of Gaussians from `Cameras`: the rasteriser in the project's own terms."""

import numpy as np
import numpy.typing as npt
import torch

from pipeline.cameras import Cameras
from pipeline.gaussians import Gaussians
from pipeline.rasterizer import rasterize

WHITE = 1.0


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    size_px: int,
    *,
    background: float = WHITE,
    threads: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Render square images, with gradients to the Gaussians.

    Args:
        gaussians: on any device.
        cameras: V cameras.
        size_px: side of the images.
        background: grey level behind the head, 0 black to 1 white.
        threads: CPU threads, see `pipeline.rasterizer.rasterize`.

    Returns:
        Images [V, H, W, 3] float32, about [0, 1], and alphas [V, H, W] float32 in [0, 1].
    """
    device = gaussians.means.device
    images, alphas, _ = rasterize(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.colors,
        torch.from_numpy(cameras.world_to_cam).to(device),
        torch.from_numpy(cameras.intrinsics(size_px)).to(device),
        size_px,
        size_px,
        backgrounds=torch.full((len(cameras), 3), background, device=device),
        threads=threads,
    )
    return images, alphas[..., 0]


def render_u8(
    gaussians: Gaussians, cameras: Cameras, size_px: int, *, threads: int | None = None
) -> npt.NDArray[np.uint8]:
    """Render on white to [V, H, W, 3] uint8, without gradients, a few views at a time."""
    views = []
    with torch.no_grad():
        for first in range(0, len(cameras), 4):
            part = cameras[slice(first, first + 4)]
            images, _ = render(gaussians, part, size_px, threads=threads)
            views.append((images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
    return np.concatenate(views)
