"""Rasterise on the CPU, differentiably: the kernels as one `torch.autograd.Function`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.rasterizer import binning, projection, projection_gradient, tiles
from pipeline.rasterizer.layout import BLOCK, FIELDS, HIT_FIELDS, TILE_HEIGHT, TILE_WIDTH
from pipeline.rasterizer.threads import run_interleaved, run_ranges

F32 = npt.NDArray[np.float32]
VIEWS_AT_ONCE = 4
"""At 16 views of 65k Gaussians the gradient rows of all views together fall out of the cache:
measured 1.3 times slower than this."""


@dataclass(frozen=True)
class Settings:
    """What stays the same for all Gaussians and cameras of one call.

    Attributes:
        width: of the images, pixels.
        height: of the images, pixels.
        near: nearer Gaussians are dropped, world units.
        far: farther Gaussians are dropped, world units.
        blur: added to the diagonal of every screen-space covariance, square pixels.
        antialiased: dim small Gaussians by what the blur adds to them.
        threads: number of threads; the result does not depend on it.
    """

    width: int
    height: int
    near: float
    far: float
    blur: float
    antialiased: bool
    threads: int


@dataclass(frozen=True)
class _Chunk:
    """A few views after the forward pass: all that their backward pass needs."""

    viewmats: F32
    Ks: F32
    packed: F32
    tiles: npt.NDArray[np.int32]
    tile_starts: npt.NDArray[np.int32]
    view_starts: npt.NDArray[np.int64]
    hit_gaussians: npt.NDArray[np.int32]
    first_hit: npt.NDArray[np.int64]
    hit_slots: npt.NDArray[np.int32]
    images: F32
    alphas: F32


def _render(
    scene: tuple[F32, ...], viewmats: F32, Ks: F32, backgrounds: F32, radii: Any, s: Settings
) -> _Chunk:
    """Project, bin and blend one chunk of views; also fills ``radii`` [C, N, 2]."""
    views, count = len(viewmats), len(scene[0])
    packed = np.empty((views, count, FIELDS), np.float32)
    rectangles = np.empty((views, count, 4), np.int32)
    size = (np.float32(s.width), np.float32(s.height))
    limits = (np.float32(s.near), np.float32(s.far), np.float32(s.blur), s.antialiased)
    out = (packed, radii, rectangles)
    run_ranges(
        projection.project_forward, (*scene, viewmats, Ks, *size, *limits, *out), count, s.threads
    )
    columns, rows = -(-s.width // TILE_WIDTH), -(-s.height // TILE_HEIGHT)
    starts = np.empty((views, columns * rows + 1), np.int32)
    run_ranges(binning.count_hits, (rectangles, columns, starts), views, s.threads)
    ends = np.cumsum(starts[:, -1], dtype=np.int64)
    view_starts = ends - starts[:, -1]
    hit_gaussians = np.empty(ends[-1], np.int32)
    first_hit = np.empty((views, count), np.int64)
    hit_slots = np.empty(ends[-1], np.int32)
    hits = (hit_gaussians, first_hit, hit_slots)
    run_ranges(
        binning.deal_hits,
        (packed, rectangles, columns, starts, view_starts, *hits),
        views,
        s.threads,
    )
    images = np.empty((views, s.height, s.width, 4), np.float32)
    alphas = np.empty((views, s.height, s.width, 1), np.float32)
    lists = (packed, hit_gaussians, starts, view_starts, columns)
    run_interleaved(tiles.blend_forward, (*lists, backgrounds, images, alphas), s.threads)
    return _Chunk(viewmats, Ks, packed, rectangles, starts, view_starts, *hits, images, alphas)


def _backpropagate(
    scene: tuple[F32, ...], chunk: _Chunk, v_images: F32, v_alphas: F32, v: list[F32], s: Settings
) -> F32:
    """Add a chunk's gradients to ``v`` (means, quats, scales, opacities, colors).

    Returns:
        The gradient of the chunk's viewmats, [C, 4, 4] float32.
    """
    columns = -(-s.width // TILE_WIDTH)
    hit_gradients = np.empty((len(chunk.hit_gaussians), HIT_FIELDS), np.float32)
    lists = (chunk.packed, chunk.hit_gaussians, chunk.tile_starts, chunk.view_starts, columns)
    run_interleaved(
        tiles.blend_backward,
        (*lists, chunk.images, chunk.alphas, v_images, v_alphas, hit_gradients),
        s.threads,
    )
    options = (np.float32(s.blur), s.antialiased)
    blocks = -(-len(scene[0]) // BLOCK)
    v_viewmats = np.zeros((blocks, len(chunk.viewmats), 4, 4), np.float32)
    camera = (chunk.viewmats, chunk.Ks, np.float32(s.width), np.float32(s.height))
    hits = (chunk.tiles, chunk.first_hit, chunk.hit_slots, hit_gradients)
    run_ranges(
        projection_gradient.project_backward,
        (*scene[:4], *camera, *options, chunk.packed, *hits, *v, v_viewmats),
        len(scene[0]),
        s.threads,
        BLOCK,
    )
    return np.asarray(v_viewmats.sum(0))


class _Rasterize(torch.autograd.Function):
    """Inputs in the order of `rasterize_cpu`."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[torch.Tensor, ...]:
        *tensors, settings = inputs
        arrays = [np.ascontiguousarray(t.detach().float().numpy()) for t in tensors]
        scene, (viewmats, Ks, backgrounds) = tuple(arrays[:5]), arrays[5:]
        radii = np.zeros((len(viewmats), len(scene[0]), 2), np.int32)
        chunks = []
        for first in range(0, len(viewmats), VIEWS_AT_ONCE):
            part = slice(first, first + VIEWS_AT_ONCE)
            chunks.append(
                _render(scene, viewmats[part], Ks[part], backgrounds[part], radii[part], settings)
            )
        ctx.saved = (scene, chunks, settings) if any(ctx.needs_input_grad) else None
        images = torch.from_numpy(np.concatenate([chunk.images for chunk in chunks]))
        alphas = torch.from_numpy(np.concatenate([chunk.alphas for chunk in chunks]))
        radii_tensor = torch.from_numpy(radii)
        ctx.mark_non_differentiable(radii_tensor)
        return images, alphas, radii_tensor

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scene, chunks, settings = ctx.saved
        v_images, v_alphas = (np.ascontiguousarray(g.float().numpy()) for g in grads[:2])
        v = [np.zeros_like(array) for array in scene]
        v_viewmats = []
        for index, chunk in enumerate(chunks):
            part = slice(index * VIEWS_AT_ONCE, (index + 1) * VIEWS_AT_ONCE)
            v_viewmats.append(
                _backpropagate(scene, chunk, v_images[part], v_alphas[part], v, settings)
            )
        gradients = [*v, np.concatenate(v_viewmats)]
        return (*(torch.from_numpy(g) for g in gradients), None, None, None)


def rasterize_cpu(
    means: torch.Tensor,
    quats: torch.Tensor,
    scales: torch.Tensor,
    opacities: torch.Tensor,
    colors: torch.Tensor,
    viewmats: torch.Tensor,
    Ks: torch.Tensor,
    backgrounds: torch.Tensor,
    settings: Settings,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Render colours and depth together.

    Args:
        means: [N, 3] float32, world units.
        quats: [N, 4] float32 wxyz, any length but zero.
        scales: [N, 3] float32, standard deviations in world units.
        opacities: [N] float32 in [0, 1].
        colors: [N, 3] float32.
        viewmats: [C, 4, 4] float32 world to camera, OpenCV axes.
        Ks: [C, 3, 3] float32, pixels.
        backgrounds: [C, 4] float32, red, green, blue and depth behind everything.
        settings: the call's constants.

    Returns:
        Images [C, H, W, 4] (red, green, blue, depth), alphas [C, H, W, 1] and radii [C, N, 2]
        int32 in pixels, zero where a Gaussian is not seen. Gradients flow from the first two to
        the first six arguments.
    """
    tensors = (means, quats, scales, opacities, colors, viewmats, Ks, backgrounds)
    images, alphas, radii = _Rasterize.apply(*tensors, settings)  # type: ignore[no-untyped-call]
    return images, alphas, radii
