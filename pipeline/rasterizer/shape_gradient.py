"""Gradients of a Gaussian's shape: its ellipse on the screen, and its rotation and scales."""

import math
from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.geometry import (
    add,
    product,
    rotation_matrix,
    times_squares,
    unit_quaternion,
)
from pipeline.rasterizer.layout import CONIC_XX, CONIC_XY, CONIC_YY, OPACITY, Numbers

ZERO = np.float32(0)
ONE = np.float32(1)
TWO = np.float32(2)
HALF = np.float32(0.5)
EIGHT = np.float32(8)
SIXTEENTH = np.float32(1 / 16)


@compiled
def _covariance_gradient(conic: Numbers, v_ellipse: Any) -> Numbers:
    """Gradient (xx, xy, yy) of the blurred covariance: the symmetric matrix -Q V Q.

    Q is the conic and V its gradient.
    """
    a, b, c = conic[0], conic[1], conic[2]
    v_a, v_b, v_c = (
        v_ellipse[CONIC_XX] * SIXTEENTH,
        v_ellipse[CONIC_XY] * SIXTEENTH,
        v_ellipse[CONIC_YY] * SIXTEENTH,
    )
    left_aa, left_ab = a * v_a + b * v_b, a * v_b + b * v_c
    left_ba, left_bb = b * v_a + c * v_b, b * v_b + c * v_c
    return (
        -(left_aa * a + left_ab * b),
        -(left_aa * b + left_ab * c),
        -(left_ba * b + left_bb * c),
    )


@compiled
def _compensation_gradient(conic: Numbers, blur: Any, v_opacity: Any, opacity: Any) -> Numbers:
    """Antialiasing's factor sqrt(det sharp / det blurred), and its gradient by the covariance."""
    a, b, c = conic[0], conic[1], conic[2]
    det = ONE / (a * c - b * b)
    xx, xy, yy = c * det, -b * det, a * det
    ratio = ((xx - blur) * (yy - blur) - xy * xy) / det
    factor = math.sqrt(max(ZERO, ratio))
    if factor <= np.float32(1e-6):
        return (factor, ZERO, ZERO, ZERO)
    f = v_opacity * opacity * HALF / (factor * det)
    return (
        factor,
        f * (yy - blur - ratio * yy),
        f * (-xy + ratio * xy),
        f * (xx - blur - ratio * xx),
    )


@compiled
def ellipse_gradient(
    ellipse: Any, v_ellipse: Any, opacity: Any, blur: Any, antialiased: bool
) -> Numbers:
    """Gradients of the Gaussian's opacity and of its covariance on the screen (xx, xy, yy)."""
    conic = (
        ellipse[CONIC_XX] * TWO * EIGHT,
        ellipse[CONIC_XY] * EIGHT,
        ellipse[CONIC_YY] * TWO * EIGHT,
    )
    v_opacity = v_ellipse[OPACITY]
    v_xx, v_xy, v_yy = _covariance_gradient(conic, v_ellipse)
    if not antialiased:
        return (v_opacity, v_xx, v_xy, v_yy)
    d = _compensation_gradient(conic, blur, v_opacity, opacity)
    return (v_opacity * d[0], v_xx + d[1], v_xy + d[2], v_yy + d[3])


@compiled
def _quaternion_gradient(quat: Any, v: Numbers) -> Numbers:
    """Gradient of the raw quaternion, from the gradient ``v`` of its rotation matrix."""
    w, x, y, z, inverse = unit_quaternion(quat)
    v_w = TWO * (x * (v[7] - v[5]) + y * (v[2] - v[6]) + z * (v[3] - v[1]))
    v_x = TWO * (
        w * (v[7] - v[5]) + y * (v[1] + v[3]) + z * (v[2] + v[6]) - TWO * x * (v[4] + v[8])
    )
    v_y = TWO * (
        w * (v[2] - v[6]) + x * (v[1] + v[3]) + z * (v[5] + v[7]) - TWO * y * (v[0] + v[8])
    )
    v_z = TWO * (
        w * (v[3] - v[1]) + x * (v[2] + v[6]) + y * (v[5] + v[7]) - TWO * z * (v[0] + v[4])
    )
    along = v_w * w + v_x * x + v_y * y + v_z * z
    return (
        (v_w - along * w) * inverse,
        (v_x - along * x) * inverse,
        (v_y - along * y) * inverse,
        (v_z - along * z) * inverse,
    )


@compiled
def shape_gradient(quat: Any, scale: Any, v_covariance: Numbers, v_quat: Any, v_scale: Any) -> None:
    """Add to ``v_quat`` and ``v_scale`` through covariance = M M^T, M = R diag(scale)."""
    w, x, y, z, _ = unit_quaternion(quat)
    r = rotation_matrix(w, x, y, z)
    half = product(v_covariance, r)
    k = add(half, half)
    for j in range(3):
        dot = r[j] * k[j] + r[3 + j] * k[3 + j] + r[6 + j] * k[6 + j]
        v_scale[j] += scale[j] * dot
    g = _quaternion_gradient(quat, times_squares(k, scale))
    for j in range(4):
        v_quat[j] += g[j]
