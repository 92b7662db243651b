"""A small head of known shape: a skin ball with a red left ear, a blue nose and dark hair."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.cameras import Cameras, orbit
from pipeline.gaussians import Gaussians
from pipeline.rendering import render, render_u8

SIZE_PX = 96


@dataclass(frozen=True)
class Ball:
    """Gaussians, and 8 orbit views of them on white."""

    gaussians: Gaussians
    cameras: Cameras
    views: npt.NDArray[np.uint8]

    def rgba(self, cameras: Cameras) -> npt.NDArray[np.uint8]:
        """Straight-alpha pictures [V, H, W, 4] from other cameras."""
        with torch.no_grad():
            color, alpha = render(self.gaussians, cameras, SIZE_PX, background=0)
        color = color / alpha[..., None].clamp(min=1e-3)
        image = torch.cat([color, alpha[..., None]], -1).clamp(0, 1)
        return (image * 255).round().to(torch.uint8).numpy()


def _shell(center: list[float], radius: float, count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(count, 3, generator=generator)
    return torch.tensor(center) + radius * torch.nn.functional.normalize(directions, dim=-1)


def paint_ball() -> Ball:
    """Make the ball and its views."""
    parts = [
        (_shell([0, 0, 0], 0.35, 4000, 0), [0.8, 0.6, 0.5]),
        (_shell([0.36, 0, 0], 0.08, 300, 1), [0.8, 0.1, 0.1]),
        (_shell([0, -0.05, 0.36], 0.07, 300, 2), [0.1, 0.1, 0.8]),
    ]
    means = torch.cat([points for points, _ in parts])
    colors = torch.cat([torch.tensor(color).expand(len(points), 3) for points, color in parts])
    hair = (means[:, 1] > 0.12) | ((means[:, 2] < -0.1) & (means[:, 1] > -0.1))
    gaussians = Gaussians(
        means=means,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(len(means), 1),
        scales=torch.full((len(means), 3), 0.013),
        opacities=torch.full((len(means),), 0.95),
        colors=torch.where(hair[:, None], torch.tensor([0.15, 0.1, 0.1]), colors),
    )
    cameras = orbit(8)
    return Ball(gaussians, cameras, render_u8(gaussians, cameras, SIZE_PX))
