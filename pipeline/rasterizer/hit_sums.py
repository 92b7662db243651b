"""Sum the gradients of hits per Gaussian, in a fixed order and without atomics."""

from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.layout import (
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    F32,
    I32,
    I64,
    MOMENTS,
    OPACITY,
)

ZERO = np.float32(0)
TWO = np.float32(2)
EIGHT = np.float32(8)


@compiled
def _sum_rows(rows: F32, total: Any) -> None:
    total[:] = ZERO
    for i in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            total[k] += rows[i, k]


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
    slots: I32,
    view_starts: I64,
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
        slots: [C, N + 1] from `list_spans`.
        view_starts: [C] first hit of every view.
        hit_gradients: [M, MOMENTS + D] from `blend_backward`.
        hit_absolute: [M, 2] from `blend_backward`, or None.
        v_means2d: [C, N, 2] out, per pixel.
        v_ellipses: [C, N, ELLIPSE_FIELDS] out, of the conic and the opacity.
        v_channels: [C, N, D] out.
        absolute: [C, N, 2] out, per pixel; None with ``hit_absolute``.
        start: first Gaussian.
        stop: one past the last Gaussian.
    """
    row = np.empty(hit_gradients.shape[1], np.float32)
    for c in range(ellipses.shape[0]):
        for n in range(start, stop):
            if slots[c, n + 1] == slots[c, n]:
                continue
            first, past = view_starts[c] + slots[c, n], view_starts[c] + slots[c, n + 1]
            _sum_rows(hit_gradients[first:past], row)
            _from_moments(row, ellipses[c, n], v_means2d[c, n], v_ellipses[c, n])
            for k in range(v_channels.shape[2]):
                v_channels[c, n, k] = row[MOMENTS + k]
            if hit_absolute is not None and absolute is not None:
                _sum_rows(hit_absolute[first:past], absolute[c, n])
