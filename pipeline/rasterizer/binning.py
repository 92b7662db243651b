"""List, for every tile of every view, the Gaussians that touch it, front to back.

Gaussians are sorted once a view by depth, then dealt to their tiles in that order, so that every
tile's list comes out sorted. A tile column cuts a strip from an ellipse: `list_spans` computes
which rows of the image the strip reaches, so that a tile that only the ellipse's rectangle
touches is no hit, and no pixel above or below the ellipse is visited.
"""

import math
from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.depth_order import sorted_by_depth
from pipeline.rasterizer.layout import (
    CONIC_XY,
    CONIC_YY,
    DIM,
    F32,
    FAINTEST,
    FIRST_ROW,
    GAUSSIAN,
    I32,
    I64,
    PAST_ROW,
    REACH_X,
    SLOT,
    Numbers,
    X,
    Y,
)
from pipeline.rasterizer.layout import TILE_HEIGHT as HEIGHT
from pipeline.rasterizer.layout import TILE_WIDTH as WIDTH

_SLACK_PX = np.float32(0.01)
"""Wider than what rounding moves the edge of an ellipse: nothing that can be seen is dropped."""

ZERO = np.float32(0)
ONE = np.float32(1)
HALF = np.float32(0.5)
_FAINTEST = np.float32(FAINTEST)


@compiled
def _outline(ellipse: Any) -> Numbers:
    """What `_rows_in_strip` needs: slope, half height along x = 0, 1 / reach, x of the top."""
    half = math.sqrt(max(ZERO, _FAINTEST - ellipse[DIM]) / ellipse[CONIC_YY])
    slope = -HALF * ellipse[CONIC_XY] / ellipse[CONIC_YY]
    reach = max(ellipse[REACH_X], _SLACK_PX)
    lean = slope * reach
    top: Any = math.sqrt(half * half + lean * lean)
    return slope, half, ONE / reach, lean * reach / max(top, _SLACK_PX)


@compiled
def _rows_in_strip(ellipse: Any, outline: Numbers, left: Any, height: int) -> tuple[int, int]:
    """First and one past the last image row that an ellipse reaches in a strip of WIDTH pixels.

    Its upper edge over dx is concave: within the strip it is highest as near as the strip comes
    to where the whole ellipse is; the lower edge mirrors it.
    """
    slope, half, inverse_reach, x_top = outline
    low, high = left + HALF - ellipse[X], left + np.float32(WIDTH) - HALF - ellipse[X]
    at_high, at_low = min(high, max(low, x_top)), min(high, max(low, -x_top))
    out_high, out_low = at_high * inverse_reach, at_low * inverse_reach
    above = slope * at_high + half * math.sqrt(max(ZERO, ONE - out_high * out_high))
    below = slope * at_low - half * math.sqrt(max(ZERO, ONE - out_low * out_low))
    first = math.ceil(ellipse[Y] + below - HALF - _SLACK_PX)
    last = math.floor(ellipse[Y] + above - HALF + _SLACK_PX)
    return max(0, first), min(height, last + 1)


@compiled
def list_spans(
    depths: F32,
    ellipses: F32,
    tiles: I32,
    height: int,
    columns: int,
    span_starts: I64,
    spans: I32,
    span_counts: I64,
    tile_starts: I32,
    slots: I32,
    start: int,
    stop: int,
) -> None:
    """List what the Gaussians of views start..stop reach, and count their hits.

    Args:
        depths: [C, N] camera z, positive where a tile is touched.
        ellipses: [C, N, ELLIPSE_FIELDS].
        tiles: [C, N, 4] tile rectangles.
        height: of the image, pixels.
        columns: tiles in a row of the image.
        span_starts: [C] where a view's spans begin.
        spans: [S, 4] out, front to back: Gaussian, tile column, first and one past the last row
            of the image.
        span_counts: [C] out.
        tile_starts: [C, tiles + 1] out, running counts of hits.
        slots: [C, N + 1] out, running counts of hits.
        start: first view.
        stop: one past the last view.
    """
    for c in range(start, stop):
        per_tile, per_gaussian = tile_starts[c], slots[c]
        per_tile[:] = 0
        per_gaussian[:] = 0
        s = span_starts[c]
        for n in sorted_by_depth(depths[c], tiles[c]):
            ellipse, rectangle = ellipses[c, n], tiles[c, n]
            outline = _outline(ellipse)
            for x in range(rectangle[0], rectangle[1]):
                first, past = _rows_in_strip(ellipse, outline, np.float32(x * WIDTH), height)
                if past <= first:
                    continue
                spans[s, 0], spans[s, 1], spans[s, 2], spans[s, 3] = n, x, first, past
                s += 1
                for y in range(first // HEIGHT, (past - 1) // HEIGHT + 1):
                    per_tile[y * columns + x + 1] += 1
                    per_gaussian[n + 1] += 1
        span_counts[c] = s - span_starts[c]
        for t in range(per_tile.shape[0] - 1):
            per_tile[t + 1] += per_tile[t]
        for n in range(per_gaussian.shape[0] - 1):
            per_gaussian[n + 1] += per_gaussian[n]


@compiled
def deal_hits(
    span_starts: I64,
    spans: I32,
    span_counts: I64,
    columns: int,
    tile_starts: I32,
    slots: I32,
    view_starts: I64,
    hits: I32,
    start: int,
    stop: int,
) -> None:
    """Fill the hit lists of views start..stop.

    Args:
        span_starts: as in `list_spans`, like the next two.
        spans: [S, 4].
        span_counts: [C].
        columns: tiles in a row of the image.
        tile_starts: [C, tiles + 1] relative to the view's first hit.
        slots: [C, N + 1] relative to the view's first hit.
        view_starts: [C] first hit of every view.
        hits: [M, HIT_FIELDS] out.
        start: first view.
        stop: one past the last view.
    """
    for c in range(start, stop):
        free_hit, free_slot = tile_starts[c].copy(), slots[c].copy()
        for s in range(span_starts[c], span_starts[c] + span_counts[c]):
            n, x, first, past = spans[s, 0], spans[s, 1], spans[s, 2], spans[s, 3]
            for y in range(first // HEIGHT, (past - 1) // HEIGHT + 1):
                hit = hits[view_starts[c] + free_hit[y * columns + x]]
                free_hit[y * columns + x] += 1
                hit[GAUSSIAN] = n
                hit[SLOT] = view_starts[c] + free_slot[n]
                free_slot[n] += 1
                hit[FIRST_ROW] = max(0, first - y * HEIGHT)
                hit[PAST_ROW] = min(HEIGHT, past - y * HEIGHT)
