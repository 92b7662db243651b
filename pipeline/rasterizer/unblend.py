"""Carry the pixels' gradients back to the hits.

The pass replays the blending front to back. With Q = what later hits still add to the loss, a
hit's d loss / d alpha is T (c . v) - Q / (1 - alpha), so neither a list of last hits nor a
division that recovers T is needed.
"""

from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.lane_memory import load, load_pixels, store
from pipeline.rasterizer.lanes import lane, minus_magnitude, spread, steps, sums, where
from pipeline.rasterizer.layout import (
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
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
    ALPHA,
    FIRST,
    FOURTH,
    HALF,
    MAX_ALPHA,
    ODDS,
    ONE,
    ROW,
    SCRATCH,
    SECOND,
    THIRD,
    ZERO,
    Q,
    T,
    cover_rows,
    look_for_open,
    open_tile,
    pass_hit,
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
    none = spread(ZERO)
    done = 0
    for k in range(hits.shape[0]):
        n, first, past = hits[k, GAUSSIAN], hits[k, FIRST_ROW], hits[k, PAST_ROW]
        g, color = ellipses[n], channels[n]
        cover_rows(g, left, top, first, past, scratch, True)
        c0, c1, c2 = spread(color[0]), spread(color[1]), spread(color[2])
        v_c0, v_c1, v_c2, v_c3 = none, none, none, none
        if fourth is not None:
            c3 = spread(color[3])
        dx = spread(g[X] - left - HALF) - steps()
        dy = spread(g[Y] - top - HALF - np.float32(first))
        m, m_y, m_yy, minus_x, minus_y = none, none, none, none, none
        for row in range(first, past):
            at = row * ROW
            alpha = load(scratch, at + ALPHA)
            weight, t, stays = pass_hit(load(scratch, at + T), alpha)
            store(scratch, at + T, t)
            v = load(scratch, at + FIRST)
            shown = c0 * v
            v_c0 = v_c0 + weight * v
            v = load(scratch, at + SECOND)
            shown = shown + c1 * v
            v_c1 = v_c1 + weight * v
            v = load(scratch, at + THIRD)
            shown = shown + c2 * v
            v_c2 = v_c2 + weight * v
            if fourth is not None:
                v = load(scratch, at + FOURTH)
                shown = shown + c3 * v
                v_c3 = v_c3 + weight * v
            shown = weight * shown
            rest = load(scratch, at + Q) - shown
            store(scratch, at + Q, rest)
            free = stays & (spread(MAX_ALPHA) > alpha)
            v_sigma = where(free, rest * load(scratch, at + ODDS) - shown, none)
            v_y = v_sigma * dy
            m = m + v_sigma
            m_y = m_y + v_y
            m_yy = m_yy + v_y * dy
            if absolute is not None:
                slope_x = spread(TWO * g[CONIC_XX]) * dx + spread(g[CONIC_XY]) * dy
                slope_y = spread(g[CONIC_XY]) * dx + spread(TWO * g[CONIC_YY]) * dy
                minus_x = minus_x + minus_magnitude(v_sigma * slope_x)
                minus_y = minus_y + minus_magnitude(v_sigma * slope_y)
            dy = dy - spread(ONE)
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
    scratch: F32,
    fourth: Any,
    left: int,
    top: int,
    image: F32,
    alpha: F32,
    v_image: F32,
    v_alpha: F32,
) -> None:
    """Put the gradients of a tile's pixels, and Q before the first hit, into ``scratch``."""
    depth = 3 if fourth is None else 4
    for y in range(HEIGHT):
        at = y * ROW
        pixels = load_pixels(image[top + y], left * depth, fourth)
        v = load_pixels(v_image[top + y], left * depth, fourth)
        t = spread(ONE) - load(alpha[top + y], left)
        rest = v[0] * pixels[0] + v[1] * pixels[1] + v[2] * pixels[2]
        if fourth is not None:
            store(scratch, at + FOURTH, v[3])
            rest = rest + v[3] * pixels[3]
        store(scratch, at + FIRST, v[0])
        store(scratch, at + SECOND, v[1])
        store(scratch, at + THIRD, v[2])
        store(scratch, at + Q, rest - t * load(v_alpha[top + y], left))


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
        images: [C, H, W * D] the forward result, background included.
        alphas: [C, H, W] the forward result.
        v_images: [C, H, W * D] d loss / d images, zero where tiles reach beyond them.
        v_alphas: [C, H, W] d loss / d alphas, likewise.
        hit_gradients: [M, MOMENTS + D] out.
        hit_absolute: [M, 2] out, the sums over pixels of |d loss / d position|, or None.
        thread: which share, 0..threads - 1.
        threads: number of shares.
    """
    scratch = np.empty(SCRATCH, np.float32)
    for job in range(thread, images.shape[0] * (tile_starts.shape[1] - 1), threads):
        c, tile, first, past = tile_hits(tile_starts, view_starts, job)
        left, top = tile % columns * WIDTH, tile // columns * HEIGHT
        corner = (np.float32(left), np.float32(top))
        splats = (ellipses[c], channels[c], fourth, hits[first:past])
        shown = (images[c], alphas[c], v_images[c], v_alphas[c])
        open_tile(scratch)
        _load_gradients(scratch, fourth, left, top, *shown)
        _unblend_tile(*splats, *corner, scratch, hit_gradients, hit_absolute)
