"""Blend the hits of every tile into its pixels."""

from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.lane_memory import load, store, store_pixels
from pipeline.rasterizer.lanes import minus_magnitude, spread
from pipeline.rasterizer.layout import (
    F32,
    FIRST_ROW,
    GAUSSIAN,
    I32,
    I64,
    PAST_ROW,
)
from pipeline.rasterizer.layout import TILE_HEIGHT as HEIGHT
from pipeline.rasterizer.layout import TILE_WIDTH as WIDTH
from pipeline.rasterizer.pixels import (
    ALPHA,
    FIRST,
    FOURTH,
    ONE,
    ROW,
    SCRATCH,
    SECOND,
    THIRD,
    ZERO,
    T,
    cover_rows,
    look_for_open,
    open_tile,
    pass_hit,
    tile_hits,
)


@compiled
def _blend_tile(
    ellipses: F32, channels: F32, fourth: Any, hits: I32, left: Any, top: Any, scratch: F32
) -> None:
    for k in range(hits.shape[0]):
        n, first, past = hits[k, GAUSSIAN], hits[k, FIRST_ROW], hits[k, PAST_ROW]
        cover_rows(ellipses[n], left, top, first, past, scratch, None)
        color = channels[n]
        c0, c1, c2 = spread(color[0]), spread(color[1]), spread(color[2])
        if fourth is not None:
            c3 = spread(color[3])
        for row in range(first, past):
            at = row * ROW
            weight, t, _ = pass_hit(load(scratch, at + T), load(scratch, at + ALPHA))
            store(scratch, at + T, t)
            store(scratch, at + FIRST, load(scratch, at + FIRST) + weight * c0)
            store(scratch, at + SECOND, load(scratch, at + SECOND) + weight * c1)
            store(scratch, at + THIRD, load(scratch, at + THIRD) + weight * c2)
            if fourth is not None:
                store(scratch, at + FOURTH, load(scratch, at + FOURTH) + weight * c3)
        if not look_for_open(scratch, k + 1):
            break


@compiled
def _close_tile(
    scratch: F32, fourth: Any, left: int, top: int, background: F32, image: F32, alpha: F32
) -> None:
    """Write a tile's pixels to ``image`` [H, W * channels] and ``alpha`` [H, W]."""
    b0, b1, b2 = spread(background[0]), spread(background[1]), spread(background[2])
    for y in range(HEIGHT):
        at = y * ROW
        t = spread(ZERO) - minus_magnitude(load(scratch, at + T))
        c0 = load(scratch, at + FIRST) + t * b0
        c1 = load(scratch, at + SECOND) + t * b1
        c2 = load(scratch, at + THIRD) + t * b2
        if fourth is None:
            store_pixels(image[top + y], left * 3, (c0, c1, c2))
        else:
            c3 = load(scratch, at + FOURTH) + t * spread(background[3])
            store_pixels(image[top + y], left * 4, (c0, c1, c2, c3))
        store(alpha[top + y], left, spread(ONE) - t)


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
        images: [C, H, W * D] out, H and W filled up to whole tiles.
        alphas: [C, H, W] out.
        thread: which share, 0..threads - 1.
        threads: number of shares.
    """
    scratch = np.empty(SCRATCH, np.float32)
    for job in range(thread, images.shape[0] * (tile_starts.shape[1] - 1), threads):
        c, tile, first, past = tile_hits(tile_starts, view_starts, job)
        left, top = tile % columns * WIDTH, tile // columns * HEIGHT
        corner = np.float32(left), np.float32(top)
        open_tile(scratch)
        _blend_tile(ellipses[c], channels[c], fourth, hits[first:past], *corner, scratch)
        _close_tile(scratch, fourth, left, top, backgrounds[c], images[c], alphas[c])
