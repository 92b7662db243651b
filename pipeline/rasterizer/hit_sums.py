"""Sum the gradients of hits per Gaussian, in a fixed order and without atomics."""

from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.layout import (
    CHANNELS,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    F32,
    HIT_FIELDS,
    I32,
    I64,
    MOMENTS,
    OPACITY,
)

ZERO = np.float32(0)
TWO = np.float32(2)
EIGHT = np.float32(8)


@compiled
def _sum_rows(rows: F32, slots: I32, total: Any) -> None:
    total[:] = ZERO
    for hit in slots:
        for k in range(rows.shape[1]):
            total[k] += rows[hit, k]


@compiled
def _from_moments(row: F32, ellipse: Any, v_mean: Any, v_ellipse: Any) -> None:
    """Fill the gradients of a position [2] and of what `project_backward` reads of an ellipse."""
    twice_xx, xy, twice_yy = TWO * ellipse[CONIC_XX], ellipse[CONIC_XY], TWO * ellipse[CONIC_YY]
    v_mean[0] = EIGHT * (twice_xx * row[1] + xy * row[2])
    v_mean[1] = EIGHT * (xy * row[1] + twice_yy * row[2])
    v_ellipse[OPACITY] = -row[0] / ellipse[OPACITY]
    v_ellipse[CONIC_XX] = EIGHT * row[3]
    v_ellipse[CONIC_XY] = EIGHT * row[4]
    v_ellipse[CONIC_YY] = EIGHT * row[5]


@compiled
def sum_hits(
    ellipses: F32,
    tiles: I32,
    first_hit: I64,
    hit_slots: I32,
    hit_gradients: F32,
    hit_absolute: F32 | None,
    v_means2d: F32,
    v_ellipses: F32,
    v_channels: F32,
    absolute: F32 | None,
    start: int,
    stop: int,
) -> None:
    """Fill the gradients, which come zeroed, of those of the Gaussians start..stop that are seen.

    Args:
        ellipses: [C, N, ELLIPSE_FIELDS].
        tiles: [C, N, 4].
        first_hit: [C, N] where a Gaussian's slots begin.
        hit_slots: [M] the hits of every Gaussian.
        hit_gradients: [M, HIT_FIELDS] from `blend_backward`.
        hit_absolute: [M, 2] from `blend_backward`, or None.
        v_means2d: [C, N, 2] out, per pixel.
        v_ellipses: [C, N, ELLIPSE_FIELDS] out, of the conic and the opacity.
        v_channels: [C, N, CHANNELS] out.
        absolute: [C, N, 2] out, per pixel; None with ``hit_absolute``.
        start: first Gaussian.
        stop: one past the last Gaussian.
    """
    row = np.empty(HIT_FIELDS, np.float32)
    for c in range(tiles.shape[0]):
        for n in range(start, stop):
            hits = (tiles[c, n, 1] - tiles[c, n, 0]) * (tiles[c, n, 3] - tiles[c, n, 2])
            if hits <= 0:
                continue
            slots = hit_slots[first_hit[c, n] : first_hit[c, n] + hits]
            _sum_rows(hit_gradients, slots, row)
            _from_moments(row, ellipses[c, n], v_means2d[c, n], v_ellipses[c, n])
            for k in range(CHANNELS):
                v_channels[c, n, k] = row[MOMENTS + k]
            if hit_absolute is not None and absolute is not None:
                _sum_rows(hit_absolute, slots, absolute[c, n])
