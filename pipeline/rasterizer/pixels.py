"""The pixels of one tile while hits are blended into them, front to back.

gsplat 1.5.3's rules: alpha = min(0.999, opacity exp(-sigma)); under 1/255 a hit is skipped; a
pixel stops before the hit that would leave it no more than 1e-4 of transmittance.

A row of a tile is one `Lanes`. What depends on x alone is computed once a hit, and only the rows
that an ellipse reaches inside the tile are visited. exp is a polynomial (fifth degree in u on
[0, 0.7], then to the eighth power), without bit tricks. A stopped pixel keeps its transmittance
with the sign flipped, so that whatever a hit would leave of it is less than 1e-4 too.
"""

from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.lane_memory import load, store
from pipeline.rasterizer.lanes import any_of, least, minus_magnitude, quotient, spread, steps, where
from pipeline.rasterizer.layout import (
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    DIM,
    F32,
    FAINTEST,
    I32,
    I64,
    Numbers,
    X,
    Y,
)
from pipeline.rasterizer.layout import TILE_HEIGHT as HEIGHT
from pipeline.rasterizer.layout import TILE_WIDTH as WIDTH

CHECK_EVERY = 16
"""Hits between two looks at whether any pixel of the tile is still open."""

T, ALPHA, Q, ODDS, FIRST, SECOND, THIRD, FOURTH = (k * WIDTH for k in range(8))
"""Offsets into a row of ``scratch``: transmittance, what the present hit covers, Q and alpha /
(1 - alpha) of the backward pass, and what each of the channels has gathered (backward: its
gradient)."""
ROW = 8 * WIDTH
SCRATCH = ROW * HEIGHT

ZERO = np.float32(0)
ONE = np.float32(1)
HALF = np.float32(0.5)
MAX_ALPHA = np.float32(0.999)
_MIN_TRANSMITTANCE = np.float32(1e-4)
_FAINTEST = np.float32(FAINTEST)


def _exp_polynomial() -> list[np.float32]:
    """Coefficients of the Chebyshev fit to exp(-u) on [0, 0.7], lowest power first."""
    fit = np.polynomial.Chebyshev.interpolate(lambda u: np.exp(-u), 5, domain=[0.0, 0.7])
    return [np.float32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef]


_E0, _E1, _E2, _E3, _E4, _E5 = _exp_polynomial()


@compiled
def exp_minus_eight(u: Any) -> Any:
    """exp(-8 u) for u in [0, 0.7]."""
    e = spread(_E4) + u * spread(_E5)
    e = spread(_E3) + u * e
    e = spread(_E2) + u * e
    e = spread(_E1) + u * e
    e = spread(_E0) + u * e
    e = e * e
    e = e * e
    return e * e


@compiled
def cover_rows(
    ellipse: Any, left: Any, top: Any, first: int, past: int, scratch: F32, odds: Any
) -> None:
    """Fill what a hit covers of the pixels of some rows, ALPHA, and ODDS unless None."""
    dx = spread(ellipse[X] - left - HALF) - steps()
    dy = spread(ellipse[Y] - top - HALF - np.float32(first))
    along = spread(ellipse[DIM]) + dx * dx * spread(ellipse[CONIC_XX])
    across, down = dx * spread(ellipse[CONIC_XY]), spread(ellipse[CONIC_YY])
    for row in range(first, past):
        u = along + dy * (across + dy * down)
        alpha = least(exp_minus_eight(u), spread(MAX_ALPHA))
        alpha = where(u <= spread(_FAINTEST), alpha, spread(ZERO))
        store(scratch, row * ROW + ALPHA, alpha)
        if odds is not None:
            store(scratch, row * ROW + ODDS, quotient(alpha, spread(ONE) - alpha))
        dy = dy - spread(ONE)


@compiled
def pass_hit(t: Any, alpha: Any) -> Numbers:
    """A hit's weights, zero if it is not to be seen, what ``t`` becomes, and what stays open."""
    weight = t * alpha
    left = t - weight
    stays = left > spread(_MIN_TRANSMITTANCE)
    return where(stays, weight, spread(ZERO)), where(stays, left, minus_magnitude(t)), stays


@compiled
def open_tile(scratch: F32) -> None:
    """Reset a tile's pixels."""
    for y in range(HEIGHT):
        store(scratch, y * ROW + T, spread(ONE))
        for field in range(Q, ROW, WIDTH):
            store(scratch, y * ROW + field, spread(ZERO))


@compiled
def look_for_open(scratch: F32, hits_done: int) -> bool:
    """Whether to go on: looks only now and then whether a pixel of the tile is still open."""
    if hits_done % CHECK_EVERY:
        return True
    lowest = spread(ZERO)
    for y in range(HEIGHT):
        lowest = least(lowest, spread(ZERO) - load(scratch, y * ROW + T))
    return bool(any_of(spread(ZERO) > lowest))


@compiled
def tile_hits(tile_starts: I32, view_starts: I64, job: int) -> tuple[int, int, int, int]:
    """The view and tile that ``job`` counts, and the first and one past the last of its hits."""
    per_view = tile_starts.shape[1] - 1
    c, tile = job // per_view, job % per_view
    first = view_starts[c] + tile_starts[c, tile]
    return c, tile, first, view_starts[c] + tile_starts[c, tile + 1]
