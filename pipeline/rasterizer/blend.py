"""Blend the hits of every tile into its pixels."""

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.layout import CHANNELS, F32, I32, I64
from pipeline.rasterizer.layout import TILE_HEIGHT as HEIGHT
from pipeline.rasterizer.layout import TILE_WIDTH as WIDTH
from pipeline.rasterizer.pixels import (
    FIRST,
    FOURTH,
    MAX_ALPHA,
    ONE,
    PIXELS,
    PX,
    PY,
    SCRATCH,
    SECOND,
    THIRD,
    T,
    exp_minus_eight,
    look_for_open,
    open_tile,
    pass_hit,
    rows_reached,
    tile_hits,
)


@compiled
def _blend_tile(ellipses: F32, channels: F32, hits: I32, row: int, scratch: F32) -> None:
    for k in range(hits.shape[0]):
        g, color = ellipses[hits[k]], channels[hits[k]]
        x, y, xx, xy, yy, opacity, cut = g[0], g[1], g[2], g[3], g[4], g[5], g[6]
        c0, c1, c2, c3 = color[0], color[1], color[2], color[3]
        first, last = rows_reached(y, g[7], row)
        s = scratch[first * WIDTH :]
        for i in range((last - first) * WIDTH):
            dx, dy = x - s[i + PX], y - s[i + PY]
            u = (xx * dx + xy * dy) * dx + yy * (dy * dy)
            alpha = min(MAX_ALPHA, opacity * exp_minus_eight(u))
            weight, s[i + T] = pass_hit(s[i + T], alpha, u, cut)
            s[i + FIRST] += weight * c0
            s[i + SECOND] += weight * c1
            s[i + THIRD] += weight * c2
            s[i + FOURTH] += weight * c3
        if not look_for_open(scratch, k + 1):
            break


@compiled
def _close_tile(
    scratch: F32, column: int, row: int, background: F32, image: F32, alpha: F32
) -> None:
    """Write a tile's pixels to ``image`` [H, W, CHANNELS] and ``alpha`` [H, W, 1]."""
    height, width = image.shape[0], image.shape[1]
    for y in range(min(HEIGHT, height - row * HEIGHT)):
        for x in range(min(WIDTH, width - column * WIDTH)):
            i = y * WIDTH + x
            t = abs(scratch[i + T])
            pixel = image[row * HEIGHT + y, column * WIDTH + x]
            for k in range(CHANNELS):
                pixel[k] = scratch[i + FIRST + k * PIXELS] + t * background[k]
            alpha[row * HEIGHT + y, column * WIDTH + x, 0] = ONE - t


@compiled
def blend_forward(
    ellipses: F32,
    channels: F32,
    hit_gaussians: I32,
    tile_starts: I32,
    view_starts: I64,
    columns: int,
    backgrounds: F32,
    images: F32,
    alphas: F32,
    thread: int,
    threads: int,
) -> None:
    """Render this thread's share of the tiles.

    Args:
        ellipses: [C, N, ELLIPSE_FIELDS] from the projection.
        channels: [C, N, CHANNELS].
        hit_gaussians: [M] front to back per tile.
        tile_starts: [C, tiles + 1] relative to the view's first hit.
        view_starts: [C].
        columns: tiles in a row of the image.
        backgrounds: [C, CHANNELS] behind everything.
        images: [C, H, W, CHANNELS] out.
        alphas: [C, H, W, 1] out.
        thread: which share, 0..threads - 1.
        threads: number of shares.
    """
    height, width = images.shape[1], images.shape[2]
    scratch = np.empty(SCRATCH, np.float32)
    for job in range(thread, images.shape[0] * (tile_starts.shape[1] - 1), threads):
        c, tile, first, last = tile_hits(tile_starts, view_starts, job)
        column, row = tile % columns, tile // columns
        open_tile(scratch, column, row, width, height)
        _blend_tile(ellipses[c], channels[c], hit_gaussians[first:last], row, scratch)
        _close_tile(scratch, column, row, backgrounds[c], images[c], alphas[c])
