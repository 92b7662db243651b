"""Pictures of Gaussians from `Cameras`: the rasteriser in the project's own terms."""

from collections.abc import Iterator

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
    gaussians: Gaussians,
    cameras: Cameras,
    size_px: int,
    *,
    background: float | None = WHITE,
    threads: int | None = None,
) -> npt.NDArray[np.uint8]:
    """All that `render_each` gives, [V, H, W, 3 or 4]."""
    views = render_each(gaussians, cameras, size_px, background=background, threads=threads)
    return np.stack(list(views))


def render_each(
    gaussians: Gaussians,
    cameras: Cameras,
    size_px: int,
    *,
    background: float | None = WHITE,
    threads: int | None = None,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Render one view after the other without gradients, so that few are in memory at a time.

    Args:
        gaussians: on any device.
        cameras: V cameras.
        size_px: side of the images.
        background: grey level behind the head, or None for transparency.
        threads: CPU threads, see `pipeline.rasterizer.rasterize`.

    Yields:
        [H, W, 3] uint8, or [H, W, 4] with straight alpha where the background is transparent.
    """
    for first in range(0, len(cameras), 4):
        part = cameras[slice(first, first + 4)]
        with torch.no_grad():
            images, alphas = render(
                gaussians, part, size_px, background=background or 0.0, threads=threads
            )
        if background is None:
            straight = images / alphas.clamp(min=1e-6)[..., None]
            images = torch.cat([straight, alphas[..., None]], -1)
        yield from (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
