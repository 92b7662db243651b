"""What holds for every scene, whatever is in it."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import lenses

from pipeline.cameras import orbit
from pipeline.rasterizer import rasterize

Rendered = tuple[torch.Tensor, torch.Tensor]
scenes = st.tuples(st.integers(0, 80), st.integers(0, 2**31), st.integers(1, 3))
sizes = st.tuples(st.integers(1, 50), st.integers(1, 50))
few = settings(max_examples=25, deadline=None)


def _draw(count: int, seed: int, views: int) -> list[torch.Tensor]:
    """Gaussians of all sizes, some flat, some opaque, some hardly there, all over the view."""
    g = torch.Generator().manual_seed(seed)
    means = 0.5 * torch.randn(count, 3, generator=g)
    quats = torch.randn(count, 4, generator=g)
    scales = torch.exp(torch.randn(count, 3, generator=g) * 2 - 4)
    opacities = torch.rand(count, generator=g) ** 2
    colors = torch.rand(count, 3, generator=g)
    return [means, quats, scales, opacities, colors, *lenses(orbit(views))]


def _render(inputs: list[torch.Tensor], size: tuple[int, int], grey: float = 0.0) -> Rendered:
    behind = torch.full((len(inputs[5]), 3), grey)
    images, alphas, _ = rasterize(*inputs, *size, backgrounds=behind)
    return images, alphas


@few
@given(scenes, sizes)
def test_alphas_are_shares_and_images_are_mixtures(
    scene: tuple[int, int, int], size: tuple[int, int]
) -> None:
    inputs = _draw(*scene)
    image, alpha = _render(inputs, size, 0.5)
    assert image.shape == (scene[2], size[1], size[0], 3)
    assert ((alpha >= -1e-6) & (alpha <= 1 + 1e-6)).all()
    assert ((image >= -1e-5) & (image <= 1 + 1e-5)).all()


@few
@given(scenes, sizes, st.floats(0, 1))
def test_a_background_shines_through_what_alpha_leaves(
    scene: tuple[int, int, int], size: tuple[int, int], grey: float
) -> None:
    inputs = _draw(*scene)
    black, alpha = _render(inputs, size)
    image, _ = _render(inputs, size, grey)
    assert torch.allclose(image, black + (1 - alpha) * grey, atol=1e-6)


@few
@given(scenes, sizes)
def test_one_colour_everywhere_is_that_colour(
    scene: tuple[int, int, int], size: tuple[int, int]
) -> None:
    inputs = _draw(*scene)
    inputs[4] = torch.full_like(inputs[4], 0.75)
    image, _ = _render(inputs, size, 0.75)
    assert torch.allclose(image, torch.tensor(0.75), atol=1e-5)


@few
@given(scenes, sizes, st.integers(2, 5))
def test_threads_and_order_do_not_change_a_byte(
    scene: tuple[int, int, int], size: tuple[int, int], threads: int
) -> None:
    inputs = _draw(*scene)
    order = torch.randperm(scene[0], generator=torch.Generator().manual_seed(1))
    shuffled = [t[order] for t in inputs[:5]] + inputs[5:]
    image, alpha, meta = rasterize(*inputs, *size, threads=1)
    other_image, other_alpha, other = rasterize(*shuffled, *size, threads=threads)
    assert torch.equal(image, other_image)
    assert torch.equal(alpha, other_alpha)
    assert torch.equal(meta["radii"][:, order], other["radii"])


@few
@given(scenes, sizes)
def test_what_cannot_be_seen_changes_nothing(
    scene: tuple[int, int, int], size: tuple[int, int]
) -> None:
    inputs = _draw(*scene)
    faint = _draw(20, scene[1] + 1, scene[2])
    faint[3] = torch.full((20,), 0.0039)
    both = [torch.cat([a, b]) for a, b in zip(inputs[:5], faint, strict=False)] + inputs[5:]
    assert all(map(torch.equal, _render(inputs, size), _render(both, size)))


@few
@given(scenes, st.integers(1, 20))
def test_tiles_leave_no_seams(scene: tuple[int, int, int], shift_px: int) -> None:
    """A wider image shows the same at other places in the tiles.

    Beside the image the projection is linearised at its margin, which moves with the size: so
    all centres are inside.
    """
    inputs = _draw(*scene)
    inputs[0] = inputs[0].clamp(-0.3, 0.3)
    image, _ = _render(inputs, (44, 44))
    inputs[6] = inputs[6] + torch.tensor([[0.0, 0, shift_px], [0, 0, shift_px], [0, 0, 0]])
    wider, _ = _render(inputs, (44 + 2 * shift_px, 44 + 2 * shift_px))
    difference = (image - wider[:, shift_px:-shift_px, shift_px:-shift_px]).abs()
    assert difference.mean() < 1e-5
    assert difference.max() < 8e-3, "more than one hit at the threshold of 1/255"
