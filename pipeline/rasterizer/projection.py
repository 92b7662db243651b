"""Project 3D Gaussians to screen-space ellipses, by the rules of gsplat 1.5.3's pinhole kernels."""

import math
from typing import Any

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.geometry import (
    camera_point,
    camera_rotation,
    covariance_3d,
    pixel_jacobian,
    product,
    transpose,
)
from pipeline.rasterizer.layout import (
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    DIM,
    F32,
    FAINTEST,
    I32,
    OPACITY,
    REACH_X,
    TILE_HEIGHT,
    TILE_WIDTH,
    Numbers,
    X,
    Y,
)

ZERO = np.float32(0)
TWO = np.float32(2)
HALF = np.float32(0.5)
EIGHT = np.float32(8)
MIN_ALPHA = np.float32(1 / 255)
MAX_SIGMAS = np.float32(3.33)
_FAINTEST = np.float32(FAINTEST)


@compiled
def _ellipse(
    point: Numbers, view: Any, covariance: Numbers, K: Any, width: Any, height: Any, blur: Any
) -> Numbers:
    """The blurred screen-space covariance (xx, xy, yy), and the determinant without blur."""
    t = product(pixel_jacobian(point, K, width, height), camera_rotation(view))
    screen = product(product(t, covariance), transpose(t))
    sharp = screen[0] * screen[4] - screen[1] * screen[1]
    return (screen[0] + blur, screen[1], screen[4] + blur, sharp)


@compiled
def _tile_span(center: Any, reach: Any, size: Any, tile: int) -> tuple[int, int]:
    """First and one past the last tile whose pixel centres lie within ``reach``; may be empty."""
    first = max(0, math.ceil(center - reach - HALF))
    last = min(int(size) - 1, math.floor(center + reach - HALF))
    if last < first:
        return 0, 0
    return first // tile, last // tile + 1


@compiled
def _place(
    point: Numbers, ellipse: Numbers, opacity: Any, K: Any, width: Any, height: Any, out: Any
) -> Numbers:
    """Fill ``out`` [ELLIPSE_FIELDS]; return the radii and the tile rectangle, zeros if unseen."""
    xx, xy, yy = ellipse[0], ellipse[1], ellipse[2]
    det = xx * yy - xy * xy
    level = math.log(opacity / MIN_ALPHA)
    sigmas: Any = math.sqrt(TWO * level)
    near = min(MAX_SIGMAS, sigmas)
    radius_x: Any = math.ceil(near * math.sqrt(xx))
    radius_y: Any = math.ceil(near * math.sqrt(yy))
    x = K[0, 0] * point[0] / point[2] + K[0, 2]
    y = K[1, 1] * point[1] / point[2] + K[1, 2]
    if x + radius_x <= 0 or x - radius_x >= width or y + radius_y <= 0 or y - radius_y >= height:
        return (0, 0, 0, 0, 0, 0)
    out[X], out[Y], out[OPACITY] = x, y, opacity
    out[CONIC_XX] = yy / (TWO * EIGHT * det)
    out[CONIC_XY] = -xy / (EIGHT * det)
    out[CONIC_YY] = xx / (TWO * EIGHT * det)
    out[DIM] = _FAINTEST - level / EIGHT
    out[REACH_X] = sigmas * math.sqrt(xx)
    left, right = _tile_span(x, out[REACH_X], width, TILE_WIDTH)
    top, bottom = _tile_span(y, sigmas * math.sqrt(yy), height, TILE_HEIGHT)
    return (int(radius_x), int(radius_y), left, right, top, bottom)


@compiled
def project_forward(
    means: F32,
    quats: F32,
    scales: F32,
    opacities: F32,
    viewmats: F32,
    Ks: F32,
    width: Any,
    height: Any,
    near: Any,
    far: Any,
    blur: Any,
    antialiased: bool,
    ellipses: F32,
    depths: F32,
    radii: I32,
    tiles: I32,
    start: int,
    stop: int,
) -> None:
    """Fill the outputs, which come zeroed, for those of the Gaussians start..stop that are seen.

    Args:
        means: [N, 3] world units.
        quats: [N, 4] wxyz.
        scales: [N, 3] world units.
        opacities: [N].
        viewmats: [C, 4, 4] world to camera.
        Ks: [C, 3, 3] pixels.
        width: of the images, pixels.
        height: of the images, pixels.
        near: least camera z, world units.
        far: greatest camera z, world units.
        blur: added to the diagonal of the screen-space covariances, square pixels.
        antialiased: dim by what the blur adds.
        ellipses: [C, N, ELLIPSE_FIELDS] out.
        depths: [C, N] out, camera z.
        radii: [C, N, 2] out, pixels.
        tiles: [C, N, 4] out.
        start: first Gaussian.
        stop: one past the last Gaussian.
    """
    for n in range(start, stop):
        covariance = covariance_3d(quats[n], scales[n])
        for c in range(viewmats.shape[0]):
            point = camera_point(viewmats[c], means[n])
            if point[2] < near or point[2] > far:
                continue
            ellipse = _ellipse(point, viewmats[c], covariance, Ks[c], width, height, blur)
            det = ellipse[0] * ellipse[2] - ellipse[1] * ellipse[1]
            if det <= ZERO:
                continue
            opacity = opacities[n]
            if antialiased:
                opacity *= math.sqrt(max(ZERO, ellipse[3] / det))
            if opacity < MIN_ALPHA:
                continue
            spans = _place(point, ellipse, opacity, Ks[c], width, height, ellipses[c, n])
            depths[c, n] = point[2]
            radii[c, n, 0], radii[c, n, 1] = spans[0], spans[1]
            if spans[3] > spans[2] and spans[5] > spans[4]:
                for k in range(4):
                    tiles[c, n, k] = spans[2 + k]
