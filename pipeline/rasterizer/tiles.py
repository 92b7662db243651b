"""Blend the hits of a tile into its pixels, and carry the pixels' gradients back to the hits.

gsplat 1.5.3's rules: alpha = min(0.999, opacity exp(-sigma)); under 1/255 a hit is skipped; a
pixel stops before the hit that would leave it no more than 1e-4 of transmittance.

Speed hangs on four habits here: per-pixel state lives in one flat ``scratch`` with constant
offsets, which LLVM can prove free of aliasing; the hot loop runs over ``range(n)`` of a slice;
only the rows that an ellipse reaches are visited; exp is a polynomial (fifth degree in u on
[0, 0.7], then to the eighth power), without bit tricks. A stopped pixel keeps its transmittance
with the sign flipped.

The backward pass replays the forward pass front to back. With Q = what later hits still add to
the loss, a hit's d loss / d alpha is T (c . v) - Q / (1 - alpha), so neither a list of last hits
nor a division that recovers T is needed.
"""

import math
from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.layout import F32, I32, I64
from pipeline.rasterizer.layout import TILE_HEIGHT as HEIGHT
from pipeline.rasterizer.layout import TILE_WIDTH as WIDTH

PIXELS = WIDTH * HEIGHT
CHECK_EVERY = 16
"""Hits between two looks at whether any pixel of the tile is still open."""

_T, _PX, _PY, _R, _G, _B, _D, _Q = (k * PIXELS for k in range(8))
"""Offsets into ``scratch``: transmittance, pixel centre, four accumulators or gradients, Q."""

ZERO = np.float32(0)
ONE = np.float32(1)
HALF = np.float32(0.5)
MAX_ALPHA = np.float32(0.999)
MIN_TRANSMITTANCE = np.float32(1e-4)


def _exp_polynomial() -> list[np.float32]:
    """Coefficients of the Chebyshev fit to exp(-u) on [0, 0.7], lowest power first."""
    fit = np.polynomial.Chebyshev.interpolate(lambda u: np.exp(-u), 5, domain=[0.0, 0.7])
    return [np.float32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef]


_E0, _E1, _E2, _E3, _E4, _E5 = _exp_polynomial()


@compiled
def _open_tile(scratch: F32, column: int, row: int, width: int, height: int) -> None:
    """Reset a tile's pixels; those outside the image start stopped."""
    for i in range(PIXELS):
        x, y = column * WIDTH + i % WIDTH, row * HEIGHT + i // WIDTH
        scratch[i + _T] = ONE if x < width and y < height else -ONE
        scratch[i + _PX] = np.float32(x) + HALF
        scratch[i + _PY] = np.float32(y) + HALF
        scratch[i + _R] = ZERO
        scratch[i + _G] = ZERO
        scratch[i + _B] = ZERO
        scratch[i + _D] = ZERO


@compiled
def _any_open(scratch: F32) -> bool:
    pixels: Any = 0
    for i in range(PIXELS):
        pixels += np.int32(scratch[i + _T] > ZERO)
    return bool(pixels > 0)


@compiled
def _rows_reached(center: Any, reach: Any, row: int) -> tuple[int, int]:
    """First and one past the last row of the tile that an ellipse can touch."""
    top = center - np.float32(row * HEIGHT) - HALF
    return max(0, math.ceil(top - reach)), min(HEIGHT, math.floor(top + reach) + 1)


@compiled
def _blend_tile(packed: F32, hits: I32, row: int, scratch: F32) -> None:
    for k in range(hits.shape[0]):
        g = packed[hits[k]]
        x, y, xx, xy, yy, opacity, cut = g[0], g[1], g[2], g[3], g[4], g[5], g[6]
        red, green, blue, depth = g[8], g[9], g[10], g[11]
        first, last = _rows_reached(y, g[7], row)
        s = scratch[first * WIDTH :]
        for i in range((last - first) * WIDTH):
            dx, dy = x - s[i + _PX], y - s[i + _PY]
            u = (xx * dx + xy * dy) * dx + yy * (dy * dy)
            e = _E0 + u * (_E1 + u * (_E2 + u * (_E3 + u * (_E4 + u * _E5))))
            e *= e
            e *= e
            e *= e
            alpha = min(MAX_ALPHA, opacity * e)
            t = s[i + _T]
            hit = (u <= cut) & (t > ZERO)
            t_next = t - t * alpha
            stops = t_next <= MIN_TRANSMITTANCE
            weight = t * alpha if (hit and not stops) else ZERO
            s[i + _R] += weight * red
            s[i + _G] += weight * green
            s[i + _B] += weight * blue
            s[i + _D] += weight * depth
            s[i + _T] = (-t if stops else t_next) if hit else t
        if k % CHECK_EVERY == CHECK_EVERY - 1 and not _any_open(scratch):
            break


@compiled
def blend_forward(
    packed: F32,
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
        packed: [C, N, FIELDS] from the projection.
        hit_gaussians: [M] front to back per tile.
        tile_starts: [C, tiles + 1] relative to the view's first hit.
        view_starts: [C].
        columns: tiles in a row of the image.
        backgrounds: [C, 4] red, green, blue and depth behind everything.
        images: [C, H, W, 4] out.
        alphas: [C, H, W, 1] out.
        thread: which share, 0..threads - 1.
        threads: number of shares.
    """
    views, height, width = images.shape[0], images.shape[1], images.shape[2]
    per_view = tile_starts.shape[1] - 1
    scratch = np.empty(8 * PIXELS, np.float32)
    for job in range(thread, views * per_view, threads):
        c, tile = job // per_view, job % per_view
        column, row = tile % columns, tile // columns
        hits = hit_gaussians[
            view_starts[c] + tile_starts[c, tile] : view_starts[c] + tile_starts[c, tile + 1]
        ]
        _open_tile(scratch, column, row, width, height)
        _blend_tile(packed[c], hits, row, scratch)
        for y in range(min(HEIGHT, height - row * HEIGHT)):
            for x in range(min(WIDTH, width - column * WIDTH)):
                i = y * WIDTH + x
                t = abs(scratch[i + _T])
                pixel = images[c, row * HEIGHT + y, column * WIDTH + x]
                pixel[0] = scratch[i + _R] + t * backgrounds[c, 0]
                pixel[1] = scratch[i + _G] + t * backgrounds[c, 1]
                pixel[2] = scratch[i + _B] + t * backgrounds[c, 2]
                pixel[3] = scratch[i + _D] + t * backgrounds[c, 3]
                alphas[c, row * HEIGHT + y, column * WIDTH + x, 0] = ONE - t


@compiled
def _unblend_tile(packed: F32, hits: I32, row: int, scratch: F32, gradients: F32) -> None:
    """Fill ``gradients`` [hits, HIT_FIELDS] of one tile."""
    done = 0
    for k in range(hits.shape[0]):
        g = packed[hits[k]]
        x, y, xx, xy, yy, opacity, cut = g[0], g[1], g[2], g[3], g[4], g[5], g[6]
        red, green, blue, depth = g[8], g[9], g[10], g[11]
        first, last = _rows_reached(y, g[7], row)
        m, m_x, m_y, m_xx, m_xy, m_yy = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
        v_red, v_green, v_blue, v_depth = ZERO, ZERO, ZERO, ZERO
        s = scratch[first * WIDTH :]
        for i in range((last - first) * WIDTH):
            dx, dy = x - s[i + _PX], y - s[i + _PY]
            u = (xx * dx + xy * dy) * dx + yy * (dy * dy)
            e = _E0 + u * (_E1 + u * (_E2 + u * (_E3 + u * (_E4 + u * _E5))))
            e *= e
            e *= e
            e *= e
            unclamped = opacity * e
            alpha = min(MAX_ALPHA, unclamped)
            t = s[i + _T]
            hit = (u <= cut) & (t > ZERO)
            t_next = t - t * alpha
            stops = t_next <= MIN_TRANSMITTANCE
            live = hit and not stops
            weight = t * alpha if live else ZERO
            s[i + _T] = (-t if stops else t_next) if hit else t
            r, gr, b, d = s[i + _R], s[i + _G], s[i + _B], s[i + _D]
            along = red * r + green * gr + blue * b + depth * d
            rest = s[i + _Q] - weight * along
            s[i + _Q] = rest
            v_alpha = t * along - rest / (ONE - alpha)
            v_sigma = -unclamped * v_alpha if (live and unclamped <= MAX_ALPHA) else ZERO
            v_red += weight * r
            v_green += weight * gr
            v_blue += weight * b
            v_depth += weight * d
            s_x, s_y = v_sigma * dx, v_sigma * dy
            m += v_sigma
            m_x += s_x
            m_y += s_y
            m_xx += s_x * dx
            m_xy += s_x * dy
            m_yy += s_y * dy
        out = gradients[k]
        out[0], out[1], out[2], out[3], out[4], out[5] = m, m_x, m_y, m_xx, m_xy, m_yy
        out[6], out[7], out[8], out[9] = v_red, v_green, v_blue, v_depth
        done = k + 1
        if k % CHECK_EVERY == CHECK_EVERY - 1 and not _any_open(scratch):
            break
    gradients[done:] = ZERO


@compiled
def blend_backward(
    packed: F32,
    hit_gaussians: I32,
    tile_starts: I32,
    view_starts: I64,
    columns: int,
    images: F32,
    alphas: F32,
    v_images: F32,
    v_alphas: F32,
    hit_gradients: F32,
    thread: int,
    threads: int,
) -> None:
    """Fill ``hit_gradients`` [M, HIT_FIELDS] for this thread's share of the tiles.

    Args:
        packed: as in `blend_forward`, and so up to ``alphas``.
        hit_gaussians: [M].
        tile_starts: [C, tiles + 1].
        view_starts: [C].
        columns: tiles in a row of the image.
        images: [C, H, W, 4] the forward result, background included.
        alphas: [C, H, W, 1] the forward result.
        v_images: [C, H, W, 4] d loss / d images.
        v_alphas: [C, H, W, 1] d loss / d alphas.
        hit_gradients: [M, HIT_FIELDS] out.
        thread: which share, 0..threads - 1.
        threads: number of shares.
    """
    views, height, width = images.shape[0], images.shape[1], images.shape[2]
    per_view = tile_starts.shape[1] - 1
    scratch = np.empty(8 * PIXELS, np.float32)
    for job in range(thread, views * per_view, threads):
        c, tile = job // per_view, job % per_view
        column, row = tile % columns, tile // columns
        first = view_starts[c] + tile_starts[c, tile]
        last = view_starts[c] + tile_starts[c, tile + 1]
        _open_tile(scratch, column, row, width, height)
        for i in range(PIXELS):
            scratch[i + _Q] = ZERO
        for y in range(min(HEIGHT, height - row * HEIGHT)):
            for x in range(min(WIDTH, width - column * WIDTH)):
                i = y * WIDTH + x
                pixel = images[c, row * HEIGHT + y, column * WIDTH + x]
                v_pixel = v_images[c, row * HEIGHT + y, column * WIDTH + x]
                behind = ONE - alphas[c, row * HEIGHT + y, column * WIDTH + x, 0]
                rest = -behind * v_alphas[c, row * HEIGHT + y, column * WIDTH + x, 0]
                for k in range(4):
                    scratch[i + _R + k * PIXELS] = v_pixel[k]
                    rest += v_pixel[k] * pixel[k]
                scratch[i + _Q] = rest
        _unblend_tile(packed[c], hit_gaussians[first:last], row, scratch, hit_gradients[first:last])
