"""Small matrices, rotations and the pinhole camera, inlined into the projection kernels.

A 3x3 matrix is a tuple of nine numbers, row by row, which the compiler keeps in registers; 2x3
matrices carry a row of zeros, which it folds away.
"""

import math
from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.layout import Numbers

ZERO = np.float32(0)
ONE = np.float32(1)
TWO = np.float32(2)
HALF = np.float32(0.5)
SCREEN_MARGIN = np.float32(0.3)


@compiled
def product(a: Numbers, b: Numbers) -> Numbers:
    """The matrix product a b."""
    return (
        a[0] * b[0] + a[1] * b[3] + a[2] * b[6],
        a[0] * b[1] + a[1] * b[4] + a[2] * b[7],
        a[0] * b[2] + a[1] * b[5] + a[2] * b[8],
        a[3] * b[0] + a[4] * b[3] + a[5] * b[6],
        a[3] * b[1] + a[4] * b[4] + a[5] * b[7],
        a[3] * b[2] + a[4] * b[5] + a[5] * b[8],
        a[6] * b[0] + a[7] * b[3] + a[8] * b[6],
        a[6] * b[1] + a[7] * b[4] + a[8] * b[7],
        a[6] * b[2] + a[7] * b[5] + a[8] * b[8],
    )


@compiled
def transpose(a: Numbers) -> Numbers:
    """The transpose of a."""
    return (a[0], a[3], a[6], a[1], a[4], a[7], a[2], a[5], a[8])


@compiled
def add(a: Numbers, b: Numbers) -> Numbers:
    """The sum a + b."""
    return (
        a[0] + b[0],
        a[1] + b[1],
        a[2] + b[2],
        a[3] + b[3],
        a[4] + b[4],
        a[5] + b[5],
        a[6] + b[6],
        a[7] + b[7],
        a[8] + b[8],
    )


@compiled
def unit_quaternion(quat: Any) -> Numbers:
    """The quaternion (w, x, y, z) at length one, and one over its length."""
    w, x, y, z = quat[0], quat[1], quat[2], quat[3]
    inverse = ONE / math.sqrt(w * w + x * x + y * y + z * z)
    return (w * inverse, x * inverse, y * inverse, z * inverse, inverse)


@compiled
def rotation_matrix(w: Any, x: Any, y: Any, z: Any) -> Numbers:
    """The rotation of a unit quaternion."""
    return (
        ONE - TWO * (y * y + z * z),
        TWO * (x * y - w * z),
        TWO * (x * z + w * y),
        TWO * (x * y + w * z),
        ONE - TWO * (x * x + z * z),
        TWO * (y * z - w * x),
        TWO * (x * z - w * y),
        TWO * (y * z + w * x),
        ONE - TWO * (x * x + y * y),
    )


@compiled
def times_squares(a: Numbers, scale: Any) -> Numbers:
    """The product a diag(scale^2)."""
    x, y, z = scale[0] * scale[0], scale[1] * scale[1], scale[2] * scale[2]
    return (
        a[0] * x,
        a[1] * y,
        a[2] * z,
        a[3] * x,
        a[4] * y,
        a[5] * z,
        a[6] * x,
        a[7] * y,
        a[8] * z,
    )


@compiled
def covariance_3d(quat: Any, scale: Any) -> Numbers:
    """R diag(scale^2) R^T."""
    w, x, y, z, _ = unit_quaternion(quat)
    r = rotation_matrix(w, x, y, z)
    return product(times_squares(r, scale), transpose(r))


@compiled
def camera_rotation(view: Any) -> Numbers:
    """The rotation of a world-to-camera matrix."""
    return (
        view[0, 0],
        view[0, 1],
        view[0, 2],
        view[1, 0],
        view[1, 1],
        view[1, 2],
        view[2, 0],
        view[2, 1],
        view[2, 2],
    )


@compiled
def camera_point(view: Any, mean: Any) -> Numbers:
    """A world point in camera space."""
    x, y, z = mean[0], mean[1], mean[2]
    return (
        view[0, 0] * x + view[0, 1] * y + view[0, 2] * z + view[0, 3],
        view[1, 0] * x + view[1, 1] * y + view[1, 2] * z + view[1, 3],
        view[2, 0] * x + view[2, 1] * y + view[2, 2] * z + view[2, 3],
    )


@compiled
def slope_limits(focal: Any, center: Any, size: Any) -> Numbers:
    """Slopes between which the linearised projection is trusted: the image and a margin."""
    margin = SCREEN_MARGIN * HALF * size / focal
    return (-(center / focal + margin), (size - center) / focal + margin)


@compiled
def pixel_jacobian(point: Numbers, K: Any, width: Any, height: Any) -> Numbers:
    """Of (x, y, z) -> pixels at ``point``, with slopes clamped near the image."""
    inverse_z = ONE / point[2]
    low_x, high_x = slope_limits(K[0, 0], K[0, 2], width)
    low_y, high_y = slope_limits(K[1, 1], K[1, 2], height)
    slope_x = min(high_x, max(low_x, point[0] * inverse_z))
    slope_y = min(high_y, max(low_y, point[1] * inverse_z))
    fx, fy = K[0, 0] * inverse_z, K[1, 1] * inverse_z
    return (fx, ZERO, -fx * slope_x, ZERO, fy, -fy * slope_y, ZERO, ZERO, ZERO)
