"""Carry the pixels' gradients back to the hits.

The pass replays the blending front to back. With Q = what later hits still add to the loss, a
hit's d loss / d alpha is T (c . v) - Q / (1 - alpha), so neither a list of last hits nor a
division that recovers T is needed.
"""

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
    ZERO,
    Q,
    T,
    exp_minus_eight,
    look_for_open,
    open_tile,
    pass_hit,
    rows_reached,
    tile_hits,
)

TWO = np.float32(2)
EIGHT = np.float32(8)


@compiled
def _unblend_tile(
    ellipses: F32,
    channels: F32,
    hits: I32,
    row: int,
    scratch: F32,
    gradients: F32,
    absolute: F32 | None,
) -> None:
    """Fill ``gradients`` [hits, HIT_FIELDS], and ``absolute`` [hits, 2], of one tile.

    One long loop: its sums stay in registers. Numba drops the branches on ``absolute`` when it
    compiles for None.
    """
    done = 0
    for k in range(hits.shape[0]):
        g, color = ellipses[hits[k]], channels[hits[k]]
        x, y, xx, xy, yy, opacity, cut = g[0], g[1], g[2], g[3], g[4], g[5], g[6]
        c0, c1, c2, c3 = color[0], color[1], color[2], color[3]
        first, last = rows_reached(y, g[7], row)
        m, m_x, m_y, m_xx, m_xy, m_yy = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
        v_c0, v_c1, v_c2, v_c3, abs_x, abs_y = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
        s = scratch[first * WIDTH :]
        for i in range((last - first) * WIDTH):
            dx, dy = x - s[i + PX], y - s[i + PY]
            u = (xx * dx + xy * dy) * dx + yy * (dy * dy)
            unclamped = opacity * exp_minus_eight(u)
            alpha = min(MAX_ALPHA, unclamped)
            t = s[i + T]
            weight, s[i + T] = pass_hit(t, alpha, u, cut)
            v0, v1, v2, v3 = s[i + FIRST], s[i + SECOND], s[i + THIRD], s[i + FOURTH]
            along = c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3
            rest = s[i + Q] - weight * along
            s[i + Q] = rest
            v_alpha = t * along - rest / (ONE - alpha)
            v_sigma = -unclamped * v_alpha if weight > ZERO and unclamped <= MAX_ALPHA else ZERO
            v_c0 += weight * v0
            v_c1 += weight * v1
            v_c2 += weight * v2
            v_c3 += weight * v3
            s_x, s_y = v_sigma * dx, v_sigma * dy
            m += v_sigma
            m_x += s_x
            m_y += s_y
            m_xx += s_x * dx
            m_xy += s_x * dy
            m_yy += s_y * dy
            if absolute is not None:
                abs_x += abs(TWO * xx * s_x + xy * s_y)
                abs_y += abs(xy * s_x + TWO * yy * s_y)
        out = gradients[k]
        out[0], out[1], out[2], out[3], out[4], out[5] = m, m_x, m_y, m_xx, m_xy, m_yy
        out[6], out[7], out[8], out[9] = v_c0, v_c1, v_c2, v_c3
        if absolute is not None:
            absolute[k, 0], absolute[k, 1] = EIGHT * abs_x, EIGHT * abs_y
        done = k + 1
        if not look_for_open(scratch, done):
            break
    gradients[done:] = ZERO
    if absolute is not None:
        absolute[done:] = ZERO


@compiled
def _load_gradients(
    scratch: F32, column: int, row: int, image: F32, alpha: F32, v_image: F32, v_alpha: F32
) -> None:
    """Put the gradients of a tile's pixels, and Q before the first hit, into ``scratch``."""
    height, width = image.shape[0], image.shape[1]
    for y in range(min(HEIGHT, height - row * HEIGHT)):
        for x in range(min(WIDTH, width - column * WIDTH)):
            i = y * WIDTH + x
            at = (row * HEIGHT + y, column * WIDTH + x)
            pixel, v_pixel = image[at], v_image[at]
            rest = -(ONE - alpha[at][0]) * v_alpha[at][0]
            for k in range(CHANNELS):
                scratch[i + FIRST + k * PIXELS] = v_pixel[k]
                rest += v_pixel[k] * pixel[k]
            scratch[i + Q] = rest


@compiled
def blend_backward(
    ellipses: F32,
    channels: F32,
    hit_gaussians: I32,
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
        channels: [C, N, CHANNELS].
        hit_gaussians: [M].
        tile_starts: [C, tiles + 1].
        view_starts: [C].
        columns: tiles in a row of the image.
        images: [C, H, W, CHANNELS] the forward result, background included.
        alphas: [C, H, W, 1] the forward result.
        v_images: [C, H, W, CHANNELS] d loss / d images.
        v_alphas: [C, H, W, 1] d loss / d alphas.
        hit_gradients: [M, HIT_FIELDS] out.
        hit_absolute: [M, 2] out, the sums over pixels of |d loss / d position|, or None.
        thread: which share, 0..threads - 1.
        threads: number of shares.
    """
    height, width = images.shape[1], images.shape[2]
    scratch = np.empty(SCRATCH, np.float32)
    for job in range(thread, images.shape[0] * (tile_starts.shape[1] - 1), threads):
        c, tile, first, last = tile_hits(tile_starts, view_starts, job)
        column, row = tile % columns, tile // columns
        open_tile(scratch, column, row, width, height)
        _load_gradients(scratch, column, row, images[c], alphas[c], v_images[c], v_alphas[c])
        hits, rows = hit_gaussians[first:last], hit_gradients[first:last]
        if hit_absolute is None:
            _unblend_tile(ellipses[c], channels[c], hits, row, scratch, rows, None)
        else:
            absolute = hit_absolute[first:last]
            _unblend_tile(ellipses[c], channels[c], hits, row, scratch, rows, absolute)
