"""One light direction of the bake: a depth map of occluders, then light received per point."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]


class ShadowMap(NamedTuple):
    """Orthographic buffers [R, R] along one direction, reused between directions.

    ``solid`` (drawn by the rasteriser) and ``hair`` hold the height of the nearest occluder plus
    `HEIGHT_OFFSET`, ``strands`` how many hair points fall into the texel. ``half_extent`` is half
    the map's side in world units.
    """

    solid: npt.NDArray[np.float32]
    hair: Array
    strands: Array
    half_extent: float


class Receivers(NamedTuple):
    """Points [N, 3] that take light, with their unit normals (tangents for hair)."""

    points: Array
    normals: Array
    is_hair: npt.NDArray[np.int8]


HAIR_DEPTH_FALLOFF = 42.0
STRAND_ABSORPTION = 0.45
DEPTH_BIAS = 0.0065
HEIGHT_OFFSET = 4.0
"""Added to heights along the light, so that they are positive as the rasteriser wants."""


@compiled
def _to_map(
    points: Array, i: int, axes: Array, half_extent: float, scale: float
) -> tuple[float, float, float]:
    """Texel x, texel y and height of one point; ``axes`` rows are right, up, towards the light."""
    x, y, z = points[i, 0], points[i, 1], points[i, 2]
    return (
        (x * axes[0, 0] + y * axes[0, 1] + z * axes[0, 2] + half_extent) * scale,
        (x * axes[1, 0] + y * axes[1, 1] + z * axes[1, 2] + half_extent) * scale,
        x * axes[2, 0] + y * axes[2, 1] + z * axes[2, 2] + HEIGHT_OFFSET,
    )


@compiled
def splat_hair(shadow: ShadowMap, axes: Array, points: Array, splats: Index) -> None:
    """Clear the hair layers and draw the points with indices ``splats`` into them."""
    shadow.hair[:] = -1e9
    shadow.strands[:] = 0.0
    size = shadow.solid.shape[0]
    scale = size / (2 * shadow.half_extent)
    for k in range(splats.shape[0]):
        fx, fy, height = _to_map(points, splats[k], axes, shadow.half_extent, scale)
        x, y = int(fx), int(fy)
        if x < 0 or y < 0 or x >= size or y >= size:
            continue
        shadow.strands[y, x] += 1
        if height > shadow.hair[y, x]:
            shadow.hair[y, x] = height


@compiled
def _unoccluded(
    shadow: ShadowMap, fx: float, fy: float, height: float, bias: float, hair: bool
) -> float:
    """Bilinear share in [0, 1] of light that reaches a point of the map."""
    ix, iy = math.floor(fx), math.floor(fy)
    ax, ay = fx - ix, fy - iy
    total = 0.0
    for q in range(2):
        wy = ay if q else 1 - ay
        for p in range(2):
            wx = ax if p else 1 - ax
            if shadow.solid[iy + q, ix + p] >= height + bias:
                continue
            above = shadow.hair[iy + q, ix + p] - height
            absorbed = STRAND_ABSORPTION * shadow.strands[iy + q, ix + p]
            passed = 1.0
            if hair and above > 0:
                passed = math.exp(-min(HAIR_DEPTH_FALLOFF * above, absorbed))
            elif above > DEPTH_BIAS:
                passed = math.exp(-absorbed)
            total += wx * wy * passed
    return total


@compiled
def receive(
    shadow: ShadowMap,
    axes: Array,
    receivers: Receivers,
    radiance: Array,
    weight: float,
    key: int,
    irradiance: Array,
    visibility: Array,
) -> None:
    """Add one direction's light to every receiver.

    Args:
        shadow: filled for the same ``axes``.
        axes: [3, 3] rows right, up and the direction towards the light.
        receivers: the points.
        radiance: [3] light colour.
        weight: solid-angle weight of the direction, divided by pi.
        key: index of the key light this direction samples, or -1 for ambient.
        irradiance: [N, 3] sum, in place.
        visibility: [N, K] mean visibility per key light, in place.
    """
    size = shadow.solid.shape[0]
    scale = size / (2 * shadow.half_extent)
    for i in range(receivers.points.shape[0]):
        hair = receivers.is_hair[i] == 1
        normal = receivers.normals[i]
        cosine = normal[0] * axes[2, 0] + normal[1] * axes[2, 1] + normal[2] * axes[2, 2]
        if not hair and cosine < -0.25:
            continue
        fx, fy, height = _to_map(receivers.points, i, axes, shadow.half_extent, scale)
        fx -= 0.5
        fy -= 0.5
        if fx < 0 or fy < 0 or fx >= size - 1 or fy >= size - 1:
            continue
        slope = 1.5 if hair else 1.0 + 1.5 * (1 - min(1.0, abs(cosine)))
        open_share = _unoccluded(shadow, fx, fy, height, DEPTH_BIAS * slope, hair)
        if open_share <= 0:
            continue
        if hair:
            received = math.sqrt(max(0.0, 1 - cosine * cosine)) * 0.32 * math.pi
        else:
            received = max(0.0, (cosine + 0.12) / 1.12)
        for k in range(3):
            irradiance[i, k] += open_share * weight * received * radiance[k]
        if key >= 0:
            visibility[i, key] += open_share * weight
