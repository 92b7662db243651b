"""Carry the gradients of tile hits back to the Gaussians and the cameras."""

import math
from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.geometry import (
    add,
    camera_point,
    camera_rotation,
    covariance_3d,
    pixel_jacobian,
    product,
    rotation_matrix,
    slope_limits,
    times_squares,
    transpose,
    unit_quaternion,
)
from pipeline.rasterizer.layout import (
    BLOCK,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    F32,
    HIT_FIELDS,
    I32,
    I64,
    OPACITY,
    Numbers,
)

ZERO = np.float32(0)
ONE = np.float32(1)
TWO = np.float32(2)
HALF = np.float32(0.5)
EIGHT = np.float32(8)


@compiled
def _screen_gradient(row: F32, packed: Any) -> Numbers:
    """From moments to d loss / d (x, y, opacity) and the covariance's gradient (xx, xy, yy).

    The covariance's gradient is the symmetric matrix -Q V Q, V the conic's gradient.
    """
    a, b, c = (
        packed[CONIC_XX] * TWO * EIGHT,
        packed[CONIC_XY] * EIGHT,
        packed[CONIC_YY] * TWO * EIGHT,
    )
    v_a, v_b, v_c = HALF * row[3], HALF * row[4], HALF * row[5]
    left_aa, left_ab = a * v_a + b * v_b, a * v_b + b * v_c
    left_ba, left_bb = b * v_a + c * v_b, b * v_b + c * v_c
    return (
        a * row[1] + b * row[2],
        b * row[1] + c * row[2],
        -row[0] / packed[OPACITY],
        -(left_aa * a + left_ab * b),
        -(left_aa * b + left_ab * c),
        -(left_ba * b + left_bb * c),
    )


@compiled
def _compensation_gradient(packed: Any, blur: Any, v_opacity: Any, opacity: Any) -> Numbers:
    """Antialiasing's factor sqrt(det sharp / det blurred), and its gradient by the covariance."""
    a, b, c = (
        packed[CONIC_XX] * TWO * EIGHT,
        packed[CONIC_XY] * EIGHT,
        packed[CONIC_YY] * TWO * EIGHT,
    )
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
def _point_gradient(
    point: Numbers, K: Any, width: Any, height: Any, v_x: Any, v_y: Any, v_j: Numbers
) -> Numbers:
    """Gradient of the camera-space point, through the pixel position and the Jacobian."""
    inverse_z = ONE / point[2]
    fx, fy = K[0, 0] * inverse_z, K[1, 1] * inverse_z
    slope_x, slope_y = point[0] * inverse_z, point[1] * inverse_z
    low_x, high_x = slope_limits(K[0, 0], K[0, 2], width)
    low_y, high_y = slope_limits(K[1, 1], K[1, 2], height)
    clamped_x, clamped_y = min(high_x, max(low_x, slope_x)), min(high_y, max(low_y, slope_y))
    v_px, v_py = v_x * fx, v_y * fy
    v_pz = -(v_px * slope_x + v_py * slope_y)
    v_pz -= (v_j[0] - v_j[2] * clamped_x) * fx * inverse_z
    v_pz -= (v_j[4] - v_j[5] * clamped_y) * fy * inverse_z
    if low_x < slope_x < high_x:
        v_slope = -v_j[2] * fx
        v_px += v_slope * inverse_z
        v_pz -= v_slope * slope_x * inverse_z
    if low_y < slope_y < high_y:
        v_slope = -v_j[5] * fy
        v_py += v_slope * inverse_z
        v_pz -= v_slope * slope_y * inverse_z
    return (v_px, v_py, v_pz)


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
def _shape_gradient(
    quat: Any, scale: Any, v_covariance: Numbers, v_quat: Any, v_scale: Any
) -> None:
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


@compiled
def _camera_gradient(
    view: Any,
    K: Any,
    width: Any,
    height: Any,
    mean: Any,
    covariance: Numbers,
    v: Numbers,
    v_mean: Any,
    v_view: Any,
) -> Numbers:
    """Add one camera's part to ``v_mean`` and ``v_view``; return that of the 3D covariance.

    ``v`` is d loss / d (x, y, covariance xx, xy, yy, camera z).
    """
    point = camera_point(view, mean)
    rotation = camera_rotation(view)
    jacobian = pixel_jacobian(point, K, width, height)
    t = product(jacobian, rotation)
    v_screen = (v[2], v[3], ZERO, v[3], v[4], ZERO, ZERO, ZERO, ZERO)
    v_screen_t = product(v_screen, t)
    half = product(v_screen_t, covariance)
    v_t = add(half, half)
    v_jacobian = product(v_t, transpose(rotation))
    p = _point_gradient(point, K, width, height, v[0], v[1], v_jacobian)
    v_px, v_py, v_pz = p[0], p[1], p[2] + v[5]
    v_rotation = product(transpose(jacobian), v_t)
    for k in range(3):
        v_mean[k] += rotation[k] * v_px + rotation[3 + k] * v_py + rotation[6 + k] * v_pz
        v_view[0, k] += v_rotation[k] + v_px * mean[k]
        v_view[1, k] += v_rotation[3 + k] + v_py * mean[k]
        v_view[2, k] += v_rotation[6 + k] + v_pz * mean[k]
    v_view[0, 3] += v_px
    v_view[1, 3] += v_py
    v_view[2, 3] += v_pz
    return product(transpose(t), v_screen_t)


@compiled
def project_backward(
    means: F32,
    quats: F32,
    scales: F32,
    opacities: F32,
    viewmats: F32,
    Ks: F32,
    width: Any,
    height: Any,
    blur: Any,
    antialiased: bool,
    packed: F32,
    tiles: I32,
    first_hit: I64,
    hit_slots: I32,
    hit_gradients: F32,
    v_means: F32,
    v_quats: F32,
    v_scales: F32,
    v_opacities: F32,
    v_colors: F32,
    v_viewmats: F32,
    start: int,
    stop: int,
) -> None:
    """Add the gradients of Gaussians start..stop to the ``v_`` arrays.

    ``start`` is a multiple of BLOCK and ``v_viewmats`` [ceil(N / BLOCK), C, 4, 4] has one partial
    sum a block, so that no sum depends on how the Gaussians are shared out.
    """
    row = np.empty(HIT_FIELDS, np.float32)
    for n in range(start, stop):
        covariance = covariance_3d(quats[n], scales[n])
        v_covariance = (ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)
        for c in range(viewmats.shape[0]):
            hits = (tiles[c, n, 1] - tiles[c, n, 0]) * (tiles[c, n, 3] - tiles[c, n, 2])
            if hits <= 0:
                continue
            row[:] = ZERO
            for j in range(first_hit[c, n], first_hit[c, n] + hits):
                for k in range(HIT_FIELDS):
                    row[k] += hit_gradients[hit_slots[j], k]
            v_x, v_y, v_opacity, v_xx, v_xy, v_yy = _screen_gradient(row, packed[c, n])
            if antialiased:
                d = _compensation_gradient(packed[c, n], blur, v_opacity, opacities[n])
                v_opacity, v_xx, v_xy, v_yy = (
                    v_opacity * d[0],
                    v_xx + d[1],
                    v_xy + d[2],
                    v_yy + d[3],
                )
            v_opacities[n] += v_opacity
            for k in range(3):
                v_colors[n, k] += row[6 + k]
            v_screen = (v_x, v_y, v_xx, v_xy, v_yy, row[9])
            camera = _camera_gradient(
                viewmats[c],
                Ks[c],
                width,
                height,
                means[n],
                covariance,
                v_screen,
                v_means[n],
                v_viewmats[n // BLOCK, c],
            )
            v_covariance = add(v_covariance, camera)
        _shape_gradient(quats[n], scales[n], v_covariance, v_quats[n], v_scales[n])
