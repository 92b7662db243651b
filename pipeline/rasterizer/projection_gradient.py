"""Carry the gradients of ellipses on the screen back to the Gaussians and the cameras."""

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
    slope_limits,
    transpose,
)
from pipeline.rasterizer.layout import BLOCK, F32, I32, Numbers
from pipeline.rasterizer.shape_gradient import ellipse_gradient, shape_gradient

ZERO = np.float32(0)
ONE = np.float32(1)


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
def _spread_over_camera(
    rotation: Numbers, v_rotation: Numbers, v_point: Numbers, mean: Any, v_mean: Any, v_view: Any
) -> None:
    """Add to ``v_mean`` and ``v_view`` through point = rotation mean + translation."""
    v_x, v_y, v_z = v_point[0], v_point[1], v_point[2]
    for k in range(3):
        v_mean[k] += rotation[k] * v_x + rotation[3 + k] * v_y + rotation[6 + k] * v_z
        v_view[0, k] += v_rotation[k] + v_x * mean[k]
        v_view[1, k] += v_rotation[3 + k] + v_y * mean[k]
        v_view[2, k] += v_rotation[6 + k] + v_z * mean[k]
    v_view[0, 3] += v_x
    v_view[1, 3] += v_y
    v_view[2, 3] += v_z


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
    p = _point_gradient(point, K, width, height, v[0], v[1], product(v_t, transpose(rotation)))
    v_point = (p[0], p[1], p[2] + v[5])
    v_rotation = product(transpose(jacobian), v_t)
    _spread_over_camera(rotation, v_rotation, v_point, mean, v_mean, v_view)
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
    ellipses: F32,
    radii: I32,
    v_means2d: F32,
    v_ellipses: F32,
    v_depths: F32,
    v_means: F32,
    v_quats: F32,
    v_scales: F32,
    v_opacities: F32,
    v_viewmats: F32,
    start: int,
    stop: int,
) -> None:
    """Add the gradients of Gaussians start..stop to ``v_means`` and what follows it.

    Args:
        means: as in `project_forward`, and so up to ``antialiased``.
        quats: [N, 4].
        scales: [N, 3].
        opacities: [N].
        viewmats: [C, 4, 4].
        Ks: [C, 3, 3].
        width: pixels.
        height: pixels.
        blur: square pixels.
        antialiased: whether opacities were dimmed.
        ellipses: [C, N, ELLIPSE_FIELDS] the forward result.
        radii: [C, N, 2] the forward result.
        v_means2d: [C, N, 2] d loss / d position, per pixel.
        v_ellipses: [C, N, ELLIPSE_FIELDS] d loss / d conic and opacity.
        v_depths: [C, N] d loss / d camera z.
        v_means: [N, 3] in and out.
        v_quats: [N, 4] in and out.
        v_scales: [N, 3] in and out.
        v_opacities: [N] in and out.
        v_viewmats: [ceil(N / BLOCK), C, 4, 4] in and out: one partial sum a block, so that no sum
            depends on how the Gaussians are shared out.
        start: first Gaussian, a multiple of BLOCK.
        stop: one past the last Gaussian.
    """
    for n in range(start, stop):
        covariance = covariance_3d(quats[n], scales[n])
        v_covariance = (ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)
        for c in range(viewmats.shape[0]):
            if radii[c, n, 0] == 0:
                continue
            v = ellipse_gradient(ellipses[c, n], v_ellipses[c, n], opacities[n], blur, antialiased)
            v_opacities[n] += v[0]
            v_mean2d = v_means2d[c, n]
            v_screen = (v_mean2d[0], v_mean2d[1], v[1], v[2], v[3], v_depths[c, n])
            camera = (viewmats[c], Ks[c], width, height)
            out = (v_means[n], v_viewmats[n // BLOCK, c])
            v_covariance = add(
                v_covariance, _camera_gradient(*camera, means[n], covariance, v_screen, *out)
            )
        shape_gradient(quats[n], scales[n], v_covariance, v_quats[n], v_scales[n])
