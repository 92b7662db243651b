"""Carry the pixels' gradients back to the hits.

The pass replays the blending front to back. With Q = what later hits still add to the loss, a
hit's d loss / d alpha is T (c . v) - Q / (1 - alpha), so neither a list of last hits nor a
division that recovers T is needed.
"""

from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.lanes import (
    lane,
    load,
    minus_magnitude,
    quotient,
    spread,
    steps,
    store,
    sums,
    where,
)
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
    MOMENTS,
    PAST_ROW,
    SLOT,
    X,
    Y,
)
from pipeline.rasterizer.layout import TILE_HEIGHT as HEIGHT
from pipeline.rasterizer.layout import TILE_WIDTH as WIDTH
from pipeline.rasterizer.pixels import (
    FIRST,
    FOURTH,
    HALF,
    MAX_ALPHA,
    ONE,
    ROW,
    SCRATCH,
    SECOND,
    THIRD,
    ZERO,
    Q,
    T,
    exp_minus_eight,
    look_for_open,
    open_tile,
    pass_hit,
    seen_alpha,
    tile_hits,
)

TWO = np.float32(2)
EIGHT = np.float32(8)


@compiled
def _unblend_tile(
    ellipses: F32,
    channels: F32,
    fourth: Any,
    hits: I32,
    left: Any,
    top: Any,
    scratch: F32,
    gradients: F32,
    absolute: F32 | None,
) -> None:
    """Fill the rows of ``gradients``, and of ``absolute``, that belong to one tile's hits.

    One long loop: its sums stay in registers. Numba drops the branches on what is None.
    """
    one, none = spread(ONE), spread(ZERO)
    done = 0
    for k in range(hits.shape[0]):
        n, first = hits[k, GAUSSIAN], hits[k, FIRST_ROW]
        g, color = ellipses[n], channels[n]
        c0, c1, c2 = spread(color[0]), spread(color[1]), spread(color[2])
        v_c0, v_c1, v_c2, v_c3 = none, none, none, none
        if fourth is not None:
            c3 = spread(color[3])
        dx = spread(g[X] - left - HALF) - steps()
        dy = spread(g[Y] - top - HALF - np.float32(first))
        along = spread(g[DIM]) + dx * dx * spread(g[CONIC_XX])
        across, down = dx * spread(g[CONIC_XY]), spread(g[CONIC_YY])
        m, m_y, m_yy, minus_x, minus_y = none, none, none, none, none
        for row in range(first, hits[k, PAST_ROW]):
            at = row * ROW
            u = along + dy * (across + dy * down)
            free = exp_minus_eight(u)
            alpha = seen_alpha(u, free)
            t = load(scratch, at + T)
            weight, after, stays = pass_hit(t, alpha)
            store(scratch, at + T, after)
            v0, v1, v2 = (
                load(scratch, at + FIRST),
                load(scratch, at + SECOND),
                load(scratch, at + THIRD),
            )
            shown = c0 * v0 + c1 * v1 + c2 * v2
            if fourth is not None:
                v3 = load(scratch, at + FOURTH)
                shown = shown + c3 * v3
                v_c3 = v_c3 + weight * v3
            rest = load(scratch, at + Q) - weight * shown
            store(scratch, at + Q, rest)
            v_alpha = t * shown - quotient(rest, one - alpha)
            v_sigma = where(stays & (free <= spread(MAX_ALPHA)), none - alpha * v_alpha, none)
            v_c0 = v_c0 + weight * v0
            v_c1 = v_c1 + weight * v1
            v_c2 = v_c2 + weight * v2
            m = m + v_sigma
            v_y = v_sigma * dy
            m_y = m_y + v_y
            m_yy = m_yy + v_y * dy
            if absolute is not None:
                slope_x = spread(TWO * g[CONIC_XX]) * dx + spread(g[CONIC_XY]) * dy
                slope_y = across + spread(TWO * g[CONIC_YY]) * dy
                minus_x = minus_x + minus_magnitude(v_sigma * slope_x)
                minus_y = minus_y + minus_magnitude(v_sigma * slope_y)
            dy = dy - one
        out = gradients[hits[k, SLOT]]
        m_x = m * dx
        store(out, 0, sums(m, m_x, m_y, m_x * dx, m_y * dx, m_yy, v_c0, v_c1))
        tail = sums(v_c2, v_c3, minus_x, minus_y, none, none, none, none)
        out[MOMENTS + 2] = lane(tail, 0)
        if fourth is not None:
            out[MOMENTS + 3] = lane(tail, 1)
        if absolute is not None:
            absolute[hits[k, SLOT], 0] = -EIGHT * lane(tail, 2)
            absolute[hits[k, SLOT], 1] = -EIGHT * lane(tail, 3)
        done = k + 1
        if not look_for_open(scratch, done):
            break
    for k in range(done, hits.shape[0]):
        gradients[hits[k, SLOT]] = ZERO
        if absolute is not None:
            absolute[hits[k, SLOT]] = ZERO


@compiled
def _load_gradients(
    scratch: F32, column: int, row: int, image: F32, alpha: F32, v_image: F32, v_alpha: F32
) -> None:
    """Put the gradients of a tile's pixels, and Q before the first hit, into ``scratch``."""
    height, width, channels = image.shape
    for y in range(min(HEIGHT, height - row * HEIGHT)):
        for x in range(min(WIDTH, width - column * WIDTH)):
            i = y * ROW + x
            at = (row * HEIGHT + y, column * WIDTH + x)
            pixel, v_pixel = image[at], v_image[at]
            rest = -(ONE - alpha[at][0]) * v_alpha[at][0]
            for k in range(channels):
                scratch[i + FIRST + k * WIDTH] = v_pixel[k]
                rest += v_pixel[k] * pixel[k]
            scratch[i + Q] = rest


@compiled
def blend_backward(
    ellipses: F32,
    channels: F32,
    fourth: bool | None,
    hits: I32,
    tile_starts: I32,
    view_starts: I64,
    columns: int,
    images: F32,
    alphas: F32,
    v_images: F32,
    v_alphas: F32,
    hit_gradients: F32,
    hit_absolute: F32 | None,
    thread: int,
    threads: int,
) -> None:
    """Fill the gradients of the hits in this thread's share of the tiles.

    Args:
        ellipses: as in `blend_forward`, and so up to ``columns``.
        channels: [C, N, D].
        fourth: None where D is three.
        hits: [M, HIT_FIELDS].
        tile_starts: [C, tiles + 1].
        view_starts: [C].
        columns: tiles in a row of the image.
        images: [C, H, W, D] the forward result, background included.
        alphas: [C, H, W, 1] the forward result.
        v_images: [C, H, W, D] d loss / d images.
        v_alphas: [C, H, W, 1] d loss / d alphas.
        hit_gradients: [M, MOMENTS + D] out.
        hit_absolute: [M, 2] out, the sums over pixels of |d loss / d position|, or None.
        thread: which share, 0..threads - 1.
        threads: number of shares.
    """
    height, width = images.shape[1], images.shape[2]
    scratch = np.empty(SCRATCH, np.float32)
    for job in range(thread, images.shape[0] * (tile_starts.shape[1] - 1), threads):
        c, tile, first, last = tile_hits(tile_starts, view_starts, job)
        column, row = tile % columns, tile // columns
        splats = (ellipses[c], channels[c], fourth, hits[first:last])
        corner = (np.float32(column * WIDTH), np.float32(row * HEIGHT))
        open_tile(scratch, column, row, width, height)
        _load_gradients(scratch, column, row, images[c], alphas[c], v_images[c], v_alphas[c])
        _unblend_tile(*splats, *corner, scratch, hit_gradients, hit_absolute)
