"""Small scenes and cameras for the rasteriser's tests."""

from typing import Any

import torch
from dense_oracle import random_scene

from pipeline.cameras import Cameras, look_at_origin
from pipeline.rasterizer import rasterize

NAMES = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks")
WIDTH, HEIGHT = 44, 37


def lenses(cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Viewmats and Ks."""
    return torch.from_numpy(cameras.world_to_cam), torch.from_numpy(cameras.intrinsics(WIDTH))


def scene_and_cameras(count: int = 400, views: int = 6) -> list[torch.Tensor]:
    """A scene and up to six cameras, more than one chunk; the last is inside the ball's edge."""
    cameras = look_at_origin(
        [10.0, 80.0, 170.0, 250.0, 300.0, 0.0], [5.0, -20.0, 40.0, 0.0, 10.0, 0.0],
        [2.0, 1.8, 1.5, 2.2, 2.0, 0.45],
    )  # fmt: skip
    return [*random_scene(count), *lenses(cameras[:views])]


def render(inputs: list[torch.Tensor], **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and alpha."""
    images, alphas, _ = rasterize(*inputs, WIDTH, HEIGHT, **options)
    return images, alphas


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normally distributed numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(name: str, ours: torch.Tensor | None, exact: torch.Tensor | None) -> None:
    """Two gradients, by the length of their difference."""
    assert ours is not None
    assert exact is not None
    error = (ours - exact).norm() / exact.norm()
    assert error < 5e-5, f"{name}: relative error {error:.1e}"
