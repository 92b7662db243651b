"""The pixels of one tile while hits are blended into them, front to back.

gsplat 1.5.3's rules: alpha = min(0.999, opacity exp(-sigma)); under 1/255 a hit is skipped; a
pixel stops before the hit that would leave it no more than 1e-4 of transmittance.

Speed hangs on four habits: per-pixel state lives in one flat ``scratch`` with constant offsets,
which LLVM can prove free of aliasing; hot loops run over ``range(n)`` of a slice; only the rows
that an ellipse reaches are visited; exp is a polynomial (fifth degree in u on [0, 0.7], then to
the eighth power), without bit tricks. A stopped pixel keeps its transmittance with the sign
flipped.
"""

import math
from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.layout import F32, I32, I64, Numbers
from pipeline.rasterizer.layout import TILE_HEIGHT as HEIGHT
from pipeline.rasterizer.layout import TILE_WIDTH as WIDTH

PIXELS = WIDTH * HEIGHT
CHECK_EVERY = 16
"""Hits between two looks at whether any pixel of the tile is still open."""

T, PX, PY, FIRST, SECOND, THIRD, FOURTH, Q = (k * PIXELS for k in range(8))
"""Offsets into ``scratch``: transmittance, pixel centre, what each of the four channels has
gathered (backward: its gradient), and Q of the backward pass."""
SCRATCH = 8 * PIXELS

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
def exp_minus_eight(u: Any) -> Any:
    """exp(-8 u) for u in [0, 0.7]."""
    e = _E0 + u * (_E1 + u * (_E2 + u * (_E3 + u * (_E4 + u * _E5))))
    e *= e
    e *= e
    return e * e


@compiled
def pass_hit(t: Any, alpha: Any, u: Any, cut: Any) -> Numbers:
    """A hit's weight in a pixel, zero if it is not to be seen there, and what ``t`` becomes."""
    hit = (u <= cut) & (t > ZERO)
    left = t - t * alpha
    stops = left <= MIN_TRANSMITTANCE
    weight = t * alpha if (hit and not stops) else ZERO
    return weight, (-t if stops else left) if hit else t


@compiled
def open_tile(scratch: F32, column: int, row: int, width: int, height: int) -> None:
    """Reset a tile's pixels; those outside the image start stopped."""
    for i in range(PIXELS):
        x, y = column * WIDTH + i % WIDTH, row * HEIGHT + i // WIDTH
        scratch[i + T] = ONE if x < width and y < height else -ONE
        scratch[i + PX] = np.float32(x) + HALF
        scratch[i + PY] = np.float32(y) + HALF
        scratch[i + FIRST] = ZERO
        scratch[i + SECOND] = ZERO
        scratch[i + THIRD] = ZERO
        scratch[i + FOURTH] = ZERO
        scratch[i + Q] = ZERO


@compiled
def look_for_open(scratch: F32, hits_done: int) -> bool:
    """Whether to go on: looks only now and then whether a pixel of the tile is still open."""
    if hits_done % CHECK_EVERY:
        return True
    pixels: Any = 0
    for i in range(PIXELS):
        pixels += np.int32(scratch[i + T] > ZERO)
    return bool(pixels > 0)


@compiled
def rows_reached(center: Any, reach: Any, row: int) -> tuple[int, int]:
    """First and one past the last row of the tile that an ellipse can touch."""
    top = center - np.float32(row * HEIGHT) - HALF
    return max(0, math.ceil(top - reach)), min(HEIGHT, math.floor(top + reach) + 1)


@compiled
def tile_hits(tile_starts: I32, view_starts: I64, job: int) -> tuple[int, int, int, int]:
    """The view and tile that ``job`` counts, and the first and one past the last of its hits."""
    per_view = tile_starts.shape[1] - 1
    c, tile = job // per_view, job % per_view
    first = view_starts[c] + tile_starts[c, tile]
    return c, tile, first, view_starts[c] + tile_starts[c, tile + 1]
