"""Binning and blending as a `torch.autograd.Function`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.rasterizer.binning import count_hits, deal_hits
from pipeline.rasterizer.blend import blend_forward
from pipeline.rasterizer.hit_sums import sum_hits
from pipeline.rasterizer.layout import (
    CHANNELS,
    F32,
    HIT_FIELDS,
    I32,
    I64,
    TILE_HEIGHT,
    TILE_WIDTH,
    VIEWS_AT_ONCE,
    as_array,
)
from pipeline.rasterizer.project_function import Projected
from pipeline.rasterizer.request import Options
from pipeline.rasterizer.threads import run_interleaved, run_ranges
from pipeline.rasterizer.unblend import blend_backward


def blend(
    projected: Projected,
    channels: torch.Tensor,
    backgrounds: torch.Tensor,
    absgrad: torch.Tensor | None,
    options: Options,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend four channels of one scene.

    Args:
        projected: C views of N Gaussians.
        channels: [C, N, CHANNELS] float32.
        backgrounds: [C, CHANNELS] float32 behind everything.
        absgrad: [C, N, 2] float32, which the backward pass fills with the sums over pixels of
            |d loss / d means2d|, or None.
        options: the call's constants.

    Returns:
        Images [C, H, W, CHANNELS] and alphas [C, H, W, 1], float32, with gradients to
        ``means2d``, ``ellipses``, ``channels`` and ``backgrounds``.
    """
    means2d, ellipses, depths, _, tiles = projected
    geometry = (means2d, ellipses, depths.detach(), tiles)
    image, alpha = _Blend.apply(  # type: ignore[no-untyped-call]
        *geometry, channels, backgrounds, absgrad, options
    )
    return image, alpha


@dataclass(frozen=True)
class _HitLists:
    """Who touches which tile, for a few views; see `deal_hits`."""

    tile_starts: I32
    view_starts: I64
    hit_gaussians: I32
    first_hit: I64
    hit_slots: I32

    @property
    def by_tile(self) -> tuple[I32, I32, I64]:
        return self.hit_gaussians, self.tile_starts, self.view_starts

    @property
    def by_gaussian(self) -> tuple[I64, I32]:
        return self.first_hit, self.hit_slots


def _bin(depths: F32, tiles: I32, options: Options) -> _HitLists:
    views, count = depths.shape
    columns, rows = _columns(options), -(-options.height // TILE_HEIGHT)
    starts = np.empty((views, columns * rows + 1), np.int32)
    run_ranges(count_hits, (tiles, columns, starts), views, options.threads)
    ends = np.cumsum(starts[:, -1], dtype=np.int64)
    view_starts = ends - starts[:, -1]
    hit_gaussians, hit_slots = np.empty(ends[-1], np.int32), np.empty(ends[-1], np.int32)
    first_hit = np.empty((views, count), np.int64)
    args = (depths, tiles, columns, starts, view_starts, hit_gaussians, first_hit, hit_slots)
    run_ranges(deal_hits, args, views, options.threads)
    return _HitLists(starts, view_starts, hit_gaussians, first_hit, hit_slots)


def _columns(options: Options) -> int:
    return -(-options.width // TILE_WIDTH)


class _Blend(torch.autograd.Function):
    """Inputs: means2d, ellipses, depths, tiles, channels, backgrounds, absgrad, options."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[torch.Tensor, ...]:
        _, *tensors, absgrad, o = inputs
        ellipses, depths, channels, behind = (as_array(tensors[i]) for i in (0, 1, 3, 4))
        tiles = tensors[2].numpy()
        images = np.empty((len(depths), o.height, o.width, CHANNELS), np.float32)
        alphas = np.empty((len(depths), o.height, o.width, 1), np.float32)
        lists = []
        for part in _parts(len(depths)):
            hits = _bin(depths[part], tiles[part], o)
            out = (behind[part], images[part], alphas[part])
            args = (ellipses[part], channels[part], *hits.by_tile, _columns(o), *out)
            run_interleaved(blend_forward, args, o.threads)
            lists.append(hits)
        ctx.saved = (ellipses, channels, tiles, images, alphas, lists, absgrad, o)
        if not any(ctx.needs_input_grad):
            ctx.saved = None
        return torch.from_numpy(images), torch.from_numpy(alphas)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        ellipses, channels, tiles, images, alphas, lists, absgrad, options = ctx.saved
        v_images, v_alphas = (as_array(g) for g in grads)
        v_positions = np.zeros((*ellipses.shape[:2], 2), np.float32)
        v = (v_positions, np.zeros_like(ellipses), np.zeros_like(channels))
        absolute = None if absgrad is None else absgrad.numpy()
        for part, hits in zip(_parts(len(ellipses)), lists, strict=True):
            shown = (images[part], alphas[part], v_images[part], v_alphas[part])
            out = (*(g[part] for g in v), None if absolute is None else absolute[part])
            _back((ellipses[part], channels[part]), tiles[part], hits, shown, out, options)
        v_means2d, v_ellipses, v_channels = (torch.from_numpy(g) for g in v)
        v_behind = torch.from_numpy((v_images * (1 - alphas)).sum((1, 2)))
        return v_means2d, v_ellipses, None, None, v_channels, v_behind, None, None


def _parts(views: int) -> list[slice]:
    return [slice(first, first + VIEWS_AT_ONCE) for first in range(0, views, VIEWS_AT_ONCE)]


def _back(
    splats: tuple[F32, F32],
    tiles: I32,
    hits: _HitLists,
    shown: tuple[F32, ...],
    out: tuple[F32 | None, ...],
    options: Options,
) -> None:
    """Fill ``out`` (means2d, ellipses, channels, absgrad) for a few views."""
    count = len(hits.hit_gaussians)
    gradients = np.empty((count, HIT_FIELDS), np.float32)
    absolute = None if out[3] is None else np.empty((count, 2), np.float32)
    args = (*splats, *hits.by_tile, _columns(options), *shown, gradients, absolute)
    run_interleaved(blend_backward, args, options.threads)
    sums = (splats[0], tiles, *hits.by_gaussian, gradients, absolute, *out)
    run_ranges(sum_hits, sums, tiles.shape[1], options.threads)
