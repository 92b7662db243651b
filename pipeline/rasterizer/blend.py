"""Blend the hits of every tile into its pixels."""

from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.lanes import load, spread, steps, store
from pipeline.rasterizer.layout import (
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    DIM,
    F32,
    FIRST_ROW,
    GAUSSIAN,
    I32,
    I64,
    PAST_ROW,
    X,
    Y,
)
from pipeline.rasterizer.layout import TILE_HEIGHT as HEIGHT
from pipeline.rasterizer.layout import TILE_WIDTH as WIDTH
from pipeline.rasterizer.pixels import (
    FIRST,
    FOURTH,
    HALF,
    ONE,
    ROW,
    SCRATCH,
    SECOND,
    THIRD,
    T,
    exp_minus_eight,
    look_for_open,
    open_tile,
    pass_hit,
    seen_alpha,
    tile_hits,
)


@compiled
def _blend_tile(
    ellipses: F32, channels: F32, fourth: Any, hits: I32, left: Any, top: Any, scratch: F32
) -> None:
    one = spread(ONE)
    for k in range(hits.shape[0]):
        n, first = hits[k, GAUSSIAN], hits[k, FIRST_ROW]
        g, color = ellipses[n], channels[n]
        c0, c1, c2 = spread(color[0]), spread(color[1]), spread(color[2])
        if fourth is not None:
            c3 = spread(color[3])
        dx = spread(g[X] - left - HALF) - steps()
        dy = spread(g[Y] - top - HALF - np.float32(first))
        along = spread(g[DIM]) + dx * dx * spread(g[CONIC_XX])
        across, down = dx * spread(g[CONIC_XY]), spread(g[CONIC_YY])
        for row in range(first, hits[k, PAST_ROW]):
            at = row * ROW
            u = along + dy * (across + dy * down)
            t = load(scratch, at + T)
            weight, t, _ = pass_hit(t, seen_alpha(u, exp_minus_eight(u)))
            store(scratch, at + T, t)
            store(scratch, at + FIRST, load(scratch, at + FIRST) + weight * c0)
            store(scratch, at + SECOND, load(scratch, at + SECOND) + weight * c1)
            store(scratch, at + THIRD, load(scratch, at + THIRD) + weight * c2)
            if fourth is not None:
                store(scratch, at + FOURTH, load(scratch, at + FOURTH) + weight * c3)
            dy = dy - one
        if not look_for_open(scratch, k + 1):
            break


@compiled
def _close_tile(
    scratch: F32, column: int, row: int, background: F32, image: F32, alpha: F32
) -> None:
    """Write a tile's pixels to ``image`` [H, W, channels] and ``alpha`` [H, W, 1]."""
    height, width, channels = image.shape
    for y in range(min(HEIGHT, height - row * HEIGHT)):
        for x in range(min(WIDTH, width - column * WIDTH)):
            i = y * ROW + x
            t = abs(scratch[i + T])
            pixel = image[row * HEIGHT + y, column * WIDTH + x]
            for k in range(channels):
                pixel[k] = scratch[i + FIRST + k * WIDTH] + t * background[k]
            alpha[row * HEIGHT + y, column * WIDTH + x, 0] = ONE - t


@compiled
def blend_forward(
    ellipses: F32,
    channels: F32,
    fourth: bool | None,
    hits: I32,
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
        channels: [C, N, D], D three or four.
        fourth: None where D is three: numba drops a branch on None.
        hits: [M, HIT_FIELDS].
        tile_starts: [C, tiles + 1] relative to the view's first hit.
        view_starts: [C].
        columns: tiles in a row of the image.
        backgrounds: [C, D] behind everything.
        images: [C, H, W, D] out.
        alphas: [C, H, W, 1] out.
        thread: which share, 0..threads - 1.
        threads: number of shares.
    """
    height, width = images.shape[1], images.shape[2]
    scratch = np.empty(SCRATCH, np.float32)
    for job in range(thread, images.shape[0] * (tile_starts.shape[1] - 1), threads):
        c, tile, first, last = tile_hits(tile_starts, view_starts, job)
        column, row = tile % columns, tile // columns
        left, top = np.float32(column * WIDTH), np.float32(row * HEIGHT)
        open_tile(scratch, column, row, width, height)
        _blend_tile(ellipses[c], channels[c], fourth, hits[first:last], left, top, scratch)
        _close_tile(scratch, column, row, backgrounds[c], images[c], alphas[c])
