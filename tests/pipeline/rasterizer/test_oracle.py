"""Images and gradients of the CPU kernels against the dense float64 oracle."""

from typing import Any

import pytest
import torch
from dense_oracle import rasterize_dense
from scenes import HEIGHT, NAMES, WIDTH, assert_close, noise, render, scene_and_cameras

from pipeline.rasterizer import rasterize


def _compare(inputs: list[torch.Tensor], backgrounds: torch.Tensor, ours: Any, oracle: Any) -> None:
    """Images with depth, alphas, and the gradients of a random weighting of both."""
    views, channels = len(inputs[5]), backgrounds.shape[-1] + 2
    weights = noise(views, HEIGHT, WIDTH, channels, seed=2)
    exact = [t.double().requires_grad_(i < 6) for i, t in enumerate(inputs)]
    behind = [backgrounds.requires_grad_(), backgrounds.detach().double().requires_grad_()]
    image, alpha = rasterize_dense(*exact, WIDTH, HEIGHT, behind[1], **oracle)
    (torch.cat([image, alpha], -1) * weights).sum().backward()
    mine = [t.requires_grad_(i < 6) for i, t in enumerate(inputs)]
    our_image, our_alpha = render(mine, backgrounds=behind[0], render_mode="RGB+D", **ours)
    (torch.cat([our_image, our_alpha], -1) * weights).sum().backward()

    assert (our_image - image).abs().max() < 2e-5
    assert (our_alpha - alpha).abs().max() < 2e-5
    for name, a, b in zip(NAMES[:6], mine, exact, strict=False):
        assert_close(name, a.grad, b.grad)
    assert_close("backgrounds", behind[0].grad, behind[1].grad)


@pytest.mark.parametrize("antialiased", [False, True])
def test_colour_and_depth_match_the_dense_oracle(antialiased: bool) -> None:
    mode = "antialiased" if antialiased else "classic"
    _compare(
        scene_and_cameras(),
        noise(6, 3, seed=1),
        {"rasterize_mode": mode},
        {"antialiased": antialiased},
    )


@pytest.mark.parametrize("shape", [(200, 1), (2, 200, 3), (200, 4), (2, 200, 9)])
def test_any_number_of_channels_matches(shape: tuple[int, ...]) -> None:
    inputs = scene_and_cameras(200, views=2)
    inputs[4] = noise(*shape)
    _compare(inputs, noise(2, shape[-1], seed=1), {}, {})


@pytest.mark.parametrize(("degree", "shape"), [
    (0, (150, 1, 3)), (1, (150, 4, 3)), (2, (150, 16, 3)), (3, (150, 16, 3)), (3, (2, 150, 16, 3)),
])  # fmt: skip
def test_spherical_harmonics_match(degree: int, shape: tuple[int, ...]) -> None:
    inputs = scene_and_cameras(150, views=2)
    inputs[4] = 0.5 * noise(*shape)
    options = {"sh_degree": degree}
    _compare(inputs, noise(2, 3, seed=1), options, options)


def test_gradients_of_positions_on_the_screen_match() -> None:
    inputs = scene_and_cameras(60, views=2)
    weights = noise(2, HEIGHT, WIDTH, 3)
    nudges = torch.zeros(2, HEIGHT * WIDTH, 60, 2, dtype=torch.float64, requires_grad=True)
    exact = [t.double() for t in inputs]
    behind = torch.zeros(2, 3, dtype=torch.float64)
    image, _ = rasterize_dense(*exact, WIDTH, HEIGHT, behind, nudges=nudges)
    (image[..., :3] * weights).sum().backward()
    inputs[0].requires_grad_()
    images, _, meta = rasterize(*inputs, WIDTH, HEIGHT, absgrad=True)
    meta["means2d"].retain_grad()
    (images * weights).sum().backward()

    assert nudges.grad is not None
    assert_close("means2d", meta["means2d"].grad, nudges.grad.sum(1))
    assert_close("absgrad", meta["means2d"].absgrad, nudges.grad.abs().sum(1))


def test_a_loss_on_positions_reaches_means_and_cameras() -> None:
    inputs = scene_and_cameras(60, views=2)
    mine = [t.requires_grad_(i in (0, 5)) for i, t in enumerate(inputs)]
    _, _, meta = rasterize(*mine, WIDTH, HEIGHT)
    seen = meta["radii"].amin(-1) > 0
    weights = noise(2, 60, 2) * seen[..., None]
    (meta["means2d"] * weights).sum().backward()
    exact = [t.detach().double().requires_grad_(i in (0, 5)) for i, t in enumerate(inputs)]
    points = exact[0] @ exact[5][:, :3, :3].mT + exact[5][:, None, :3, 3]
    pixels = points @ exact[6].mT
    ((pixels[..., :2] / pixels[..., 2:]) * weights).sum().backward()

    assert seen.any()
    assert_close("means", mine[0].grad, exact[0].grad)
    assert_close("viewmats", mine[5].grad, exact[5].grad)
