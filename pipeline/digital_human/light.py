"""Lights fixed to the subject, and their bake onto every vertex and hair point."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.digital_human.geometry import direction, normalize
from pipeline.digital_human.kernels.bake import (
    HEIGHT_OFFSET,
    Receivers,
    ShadowMap,
    receive,
    splat_hair,
)
from pipeline.digital_human.kernels.raster import rasterize_triangles

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]

KEYS = 3
MAP_HALF_EXTENT = 0.72


@dataclass(frozen=True)
class Lighting:
    """Three soft key lights and an ambient gradient.

    Attributes:
        direction: [3, 3] unit vectors towards key, fill and rim light.
        color: [3, 3] linear irradiance of each.
        sharpness: [3] spherical-Gaussian sharpness; small is soft.
        sky, ground: [3] linear radiance from above and below.
        exposure: brightness of the face relative to the usual one.
    """

    direction: Array
    color: Array
    sharpness: Array
    sky: Array
    ground: Array
    exposure: float


def sample_lighting(seed: int) -> Lighting:
    """Draw a studio-to-outdoor lighting; the key is always in front of the subject."""
    rng = np.random.default_rng((seed, 1000))
    side = float(rng.choice([-1, 1]))
    directions = [
        direction(side * rng.uniform(5, 60), rng.uniform(12, 50)),
        direction(-side * rng.uniform(30, 90), rng.uniform(0, 35)),
        direction(180 - side * rng.uniform(-50, 50), rng.uniform(15, 60)),
    ]
    colors = [
        _tinted(rng.uniform(-0.3, 0.8)) * rng.uniform(0.7, 1.4),
        _tinted(rng.uniform(-0.8, 0.5)) * rng.uniform(0.15, 0.55),
        _tinted(rng.uniform(-0.7, 0.7)) * rng.uniform(0.25, 0.9),
    ]
    sharpness = [rng.uniform(5, 50), rng.uniform(4, 15), rng.uniform(8, 30)]
    return Lighting(
        direction=np.array(directions),
        color=np.array(colors),
        sharpness=np.array(sharpness),
        sky=_tinted(rng.uniform(-0.8, 0.3)) * rng.uniform(0.25, 0.55),
        ground=_tinted(rng.uniform(0, 0.8)) * rng.uniform(0.10, 0.28),
        exposure=float(rng.uniform(0.88, 1.14)),
    )


def _tinted(warmth: float) -> Array:
    return np.array([1 + 0.18 * warmth, 1.0, 1 - 0.22 * warmth])


@dataclass(frozen=True)
class BakeQuality:
    """How many directions the bake samples and how fine its depth maps are."""

    ambient_directions: int = 48
    key_directions: int = 9
    map_size: int = 208


@dataclass(frozen=True)
class Occluders:
    """What casts shadows: triangles over all vertices, and indices of hair points."""

    vertices: Array
    triangles: Index
    hair_points: Index


@dataclass(frozen=True)
class Baked:
    """Irradiance [N, 3] and visibility of the key lights [N, 3] per receiver."""

    irradiance: Array
    visibility: Array


@dataclass(frozen=True)
class _Sample:
    toward: Array
    radiance: Array
    weight: float
    key: int


def bake(
    lighting: Lighting, receivers: Receivers, occluders: Occluders, quality: BakeQuality
) -> Baked:
    """Add up the light of all directions with one depth map each."""
    size = quality.map_size
    shadow = ShadowMap(
        np.zeros((size, size), np.float32),
        np.zeros((size, size)),
        np.zeros((size, size)),
        MAP_HALF_EXTENT,
    )
    irradiance = np.zeros((len(receivers.points), 3))
    visibility = np.zeros((len(receivers.points), KEYS))
    ids = np.empty((size, size), np.int32)
    uncut = np.ones(len(occluders.vertices))
    for sample in _samples(lighting, quality):
        axes = _axes(sample.toward)
        flat = occluders.vertices @ axes.T
        scale = size / (2 * MAP_HALF_EXTENT)
        screen = np.ascontiguousarray(
            np.concatenate(
                [(flat[:, :2] + MAP_HALF_EXTENT) * scale, flat[:, 2:] + HEIGHT_OFFSET], 1
            )
        )
        shadow.solid[:] = 0
        triangles = occluders.triangles
        rasterize_triangles(screen, triangles, uncut, ids, shadow.solid, 0, len(triangles))
        splat_hair(shadow, axes, receivers.points, occluders.hair_points)
        receive(
            shadow, axes, receivers, sample.radiance, sample.weight, sample.key, irradiance,
            visibility,
        )  # fmt: skip
    return Baked(irradiance, visibility)


def _axes(toward: Array) -> Array:
    right = normalize(np.cross(toward, [0.31, 0.9, 0.17]))
    return np.stack([right, np.cross(right, toward), toward])


def _samples(lighting: Lighting, quality: BakeQuality) -> list[_Sample]:
    """A Fibonacci sphere for the ambient light and a disc of directions per key light."""
    count = quality.ambient_directions
    rank = np.arange(count) + 0.5
    up = 1 - 2 * rank / count
    turn = np.pi * (1 + math.sqrt(5)) * rank
    ring = np.sqrt(1 - up * up)
    sphere = np.stack([ring * np.cos(turn), up, ring * np.sin(turn)], 1)
    samples = []
    for toward in sphere:
        share = 0.5 + 0.5 * toward[1]
        radiance = lighting.ground + (lighting.sky - lighting.ground) * share
        samples.append(_Sample(toward, radiance, 4 / count, -1))
    for key in range(KEYS):
        middle = lighting.direction[key]
        across = normalize(np.cross(middle, [0.3, 0.9, 0.1]))
        up_axis = np.cross(middle, across)
        sigma = 0.8 / math.sqrt(lighting.sharpness[key])
        for j in range(quality.key_directions):
            share = 1 - 0.97 * (j + 0.5) / quality.key_directions
            radius, angle = sigma * math.sqrt(-2 * math.log(share)), 2.39996 * j
            toward = normalize(
                middle + radius * (math.cos(angle) * across + math.sin(angle) * up_axis)
            )
            weight = 1 / quality.key_directions
            samples.append(_Sample(toward, lighting.color[key], weight, key))
    return samples
