"""Binning and blending as a `torch.autograd.Function`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.rasterizer.binning import deal_hits, list_spans
from pipeline.rasterizer.blend import blend_forward
from pipeline.rasterizer.hit_sums import sum_hits
from pipeline.rasterizer.layout import (
    CHANNELS,
    F32,
    HIT_FIELDS,
    I32,
    I64,
    MOMENTS,
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

    hits: I32
    tile_starts: I32
    slots: I32
    view_starts: I64

    @property
    def by_tile(self) -> tuple[I32, I32, I64]:
        return self.hits, self.tile_starts, self.view_starts

    @property
    def by_gaussian(self) -> tuple[I32, I64]:
        return self.slots, self.view_starts


def _bin(depths: F32, ellipses: F32, tiles: I32, options: Options) -> _HitLists:
    (views, count), threads = depths.shape, options.threads
    columns, rows = _columns(options), _rows(options)
    tile_starts = np.empty((views, columns * rows + 1), np.int32)
    slots = np.empty((views, count + 1), np.int32)
    most = (tiles[..., 1] - tiles[..., 0]).sum(1, dtype=np.int64)
    spans, span_counts = np.empty((most.sum(), 4), np.int32), np.empty(views, np.int64)
    listed = (_starts(most), spans, span_counts)
    splats = (depths, ellipses, tiles, options.height, columns)
    run_ranges(list_spans, (*splats, *listed, tile_starts, slots), views, threads)
    hits = np.empty((tile_starts[:, -1].sum(dtype=np.int64), HIT_FIELDS), np.int32)
    lists = _HitLists(hits, tile_starts, slots, _starts(tile_starts[:, -1]))
    args = (*listed, columns, tile_starts, slots, lists.view_starts, hits)
    run_ranges(deal_hits, args, views, threads)
    return lists


def _starts(counts: I32 | I64) -> I64:
    """Where each of several lists begins when they stand one after the other."""
    ends = np.cumsum(counts, dtype=np.int64)
    return np.asarray(ends - counts)


def _columns(options: Options) -> int:
    return -(-options.width // TILE_WIDTH)


def _rows(options: Options) -> int:
    return -(-options.height // TILE_HEIGHT)


class _Blend(torch.autograd.Function):
    """Inputs: means2d, ellipses, depths, tiles, channels, backgrounds, absgrad, options."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[torch.Tensor, ...]:
        _, *tensors, absgrad, o = inputs
        ellipses, depths, channels, behind = (as_array(tensors[i]) for i in (0, 1, 3, 4))
        tiles = tensors[2].numpy()
        views, depth = len(depths), channels.shape[-1]
        height, width = _rows(o) * TILE_HEIGHT, _columns(o) * TILE_WIDTH
        images = np.empty((views, height, width * depth), np.float32)
        alphas = np.empty((views, height, width), np.float32)
        lists = []
        for part in _parts(views):
            hits = _bin(depths[part], ellipses[part], tiles[part], o)
            out = (behind[part], images[part], alphas[part])
            splats = _splats(ellipses[part], channels[part])
            run_interleaved(blend_forward, (*splats, *hits.by_tile, _columns(o), *out), o.threads)
            lists.append(hits)
        ctx.saved = (ellipses, channels, images, alphas, lists, absgrad, o)
        if not any(ctx.needs_input_grad):
            ctx.saved = None
        return _shown(images, depth, o), _shown(alphas, 1, o)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        ellipses, channels, images, alphas, lists, absgrad, options = ctx.saved
        v_images, v_alphas = (_filled_up(g, options) for g in grads)
        v_positions = np.zeros((*ellipses.shape[:2], 2), np.float32)
        v = (v_positions, np.zeros_like(ellipses), np.zeros_like(channels))
        absolute = None if absgrad is None else absgrad.numpy()
        for part, hits in zip(_parts(len(ellipses)), lists, strict=True):
            shown = (images[part], alphas[part], v_images[part], v_alphas[part])
            out = (*(g[part] for g in v), None if absolute is None else absolute[part])
            _back(_splats(ellipses[part], channels[part]), hits, shown, out, options)
        v_means2d, v_ellipses, v_channels = (torch.from_numpy(g) for g in v)
        v_behind = None
        if ctx.needs_input_grad[5]:
            by_pixel = v_images.reshape(*alphas.shape, -1) * (1 - alphas[..., None])
            v_behind = torch.from_numpy(by_pixel.sum((1, 2)))
        return v_means2d, v_ellipses, None, None, v_channels, v_behind, None, None


def _shown(pixels: F32, depth: int, options: Options) -> torch.Tensor:
    """Of whole tiles what the image shows, [C, H, W, depth]."""
    whole = pixels.reshape(*pixels.shape[:2], -1, depth)
    return torch.from_numpy(np.ascontiguousarray(whole[:, : options.height, : options.width]))


def _filled_up(gradient: torch.Tensor, options: Options) -> F32:
    """A gradient [C, H, W, D] as [C, H, W * D] with zeros to whole tiles."""
    right = _columns(options) * TILE_WIDTH - options.width
    below = _rows(options) * TILE_HEIGHT - options.height
    if right or below:
        gradient = torch.nn.functional.pad(gradient, (0, 0, 0, right, 0, below))
    return as_array(gradient).reshape(*gradient.shape[:2], -1)


def _parts(views: int) -> list[slice]:
    return [slice(first, first + VIEWS_AT_ONCE) for first in range(0, views, VIEWS_AT_ONCE)]


def _splats(ellipses: F32, channels: F32) -> tuple[F32, F32, bool | None]:
    """What the kernels blend, and whether a fourth channel comes with it."""
    return ellipses, channels, True if channels.shape[-1] == CHANNELS else None


def _back(
    splats: tuple[F32, F32, bool | None],
    lists: _HitLists,
    shown: tuple[F32, ...],
    out: tuple[F32 | None, ...],
    options: Options,
) -> None:
    """Fill ``out`` (means2d, ellipses, channels, absgrad) for a few views."""
    count = len(lists.hits)
    gradients = np.empty((count, MOMENTS + splats[1].shape[-1]), np.float32)
    absolute = None if out[3] is None else np.empty((count, 2), np.float32)
    args = (*splats, *lists.by_tile, _columns(options), *shown, gradients, absolute)
    run_interleaved(blend_backward, args, options.threads)
    sums = (splats[0], *lists.by_gaussian, gradients, absolute, *out)
    run_ranges(sum_hits, sums, splats[0].shape[1], options.threads)
