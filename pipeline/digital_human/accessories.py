"""Glasses, headphones and earrings; hats are in their own module."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.digital_human.eyes import Eyeballs
from pipeline.digital_human.geometry import ellipsoid, tube
from pipeline.digital_human.palette import TRIM_COLORS
from pipeline.digital_human.parts import CLOTH, LENS, PLASTIC, MeshPart
from pipeline.digital_human.template import HeadTemplate

Array = npt.NDArray[np.float64]


@dataclass
class Accessory:
    """What an accessory adds and how it disturbs the hair.

    Attributes:
        meshes: parts to draw.
        lens_tint: linear RGB and opacity of lenses.
        hair_ceiling: for points [N, 3], the greatest height over the scalp hair may have.
        hides_hair: for points [N, 3], whether hair there is covered and left out.
    """

    meshes: list[MeshPart] = field(default_factory=list)
    lens_tint: tuple[float, float, float, float] | None = None
    hair_ceiling: Callable[[Array], Array] | None = None
    hides_hair: Callable[[Array], npt.NDArray[np.bool_]] | None = None


@dataclass(frozen=True)
class Fitting:
    """A posed head to fit an accessory to, in template units."""

    template: HeadTemplate
    vertices: Array
    normals: Array
    eyes: Eyeballs
    rng: np.random.Generator

    def point(self, index: int) -> Array:
        """Position of a fine vertex."""
        position: Array = self.vertices[index]
        return position

    def trim_color(self) -> Array:
        """One of the colours of frames, hats and headphones."""
        color: Array = TRIM_COLORS[self.rng.integers(len(TRIM_COLORS))]
        return color


def glasses(fit: Fitting, dark: bool) -> Accessory:
    """Spectacles or sunglasses: two rims, a bridge, temples and lenses."""
    rng, marks, color = fit.rng, fit.template.landmarks, fit.trim_color()
    centers = fit.eyes.centers
    half_pupils = abs(centers[0, 0] - centers[1, 0]) / 2
    half_width = float(
        np.clip((abs(fit.point(marks.temple[0])[0]) * 0.5 + 0.08) * 0.62, 0.225, 0.3)
    )
    half_height = rng.uniform(0.19, 0.27) if dark else rng.uniform(0.15, 0.24)
    middle, height = half_pupils + 0.035, centers[:, 1].mean()
    power, thickness = 2 / rng.choice([2.0, 2.6, 4.0]), rng.uniform(0.012, 0.03)
    front = max(fit.point(marks.nose)[2] - 0.50, centers[:, 2].max() + 0.30)
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    cos, sin = np.cos(turn), np.sin(turn)
    parts = []
    for side, ear in ((1, marks.ear_top[0]), (-1, marks.ear_top[1])):
        x = side * (middle + half_width * np.sign(cos) * np.abs(cos) ** power)
        y = height - 0.02 + half_height * np.sign(sin) * np.abs(sin) ** power
        rim = np.stack([x, y, front - 0.16 * (np.abs(x) / 0.65) ** 2], 1)
        parts.append(tube(rim, thickness, 8, closed=True))
        hinge = np.array([side * (middle + half_width), height + 0.05, rim[:, 2].min()])
        temple = abs(fit.point(marks.temple[side < 0])[0]) + 0.05
        bend = np.array([side * max(abs(hinge[0]) + 0.02, temple), hinge[1], hinge[2] - 0.1])
        hook = fit.point(ear) + np.array([0.0, 0.045, 0.0])
        end = hook + np.array([-0.02 * side, -0.16, -0.2])
        share = np.linspace(0, 1, 12)[:, None]
        parts.append(
            tube(np.concatenate([[hinge], bend + (hook - bend) * share, [end]]), thickness)
        )
        count = len(rim)
        fan = np.stack([np.arange(count), (np.arange(count) + 1) % count, np.full(count, count)], 1)
        lens = np.concatenate([rim, [rim.mean(0) + np.array([0, 0, 0.02])]])
        parts.append((lens, fan.astype(np.int32)))
    span = np.linspace(-1, 1, 9)
    bow = 1 - span**2
    bridge = np.stack(
        [span * (middle - 0.97 * half_width), height + 0.03 + 0.05 * bow, front + 0.03 * bow], 1
    )
    parts.append(tube(bridge, thickness))
    meshes = [
        MeshPart(v, t, LENS if k in (2, 5) else PLASTIC, color, 0.25, 1.0)
        for k, (v, t) in enumerate(parts)
    ]
    tint = (0.02, 0.02, 0.025, 0.88) if dark else (0.8, 0.85, 0.9, 0.04)
    return Accessory(meshes, tint)


def headphones(fit: Fitting) -> Accessory:
    """Two cups and a band over the top; hair is pressed flat under them."""
    marks, color = fit.template.landmarks, fit.trim_color()
    left = fit.point(marks.ear_middle[0]) + np.array([0.10, 0.03, 0.03])
    right = fit.point(marks.ear_middle[1]) + np.array([-0.10, 0.03, 0.03])
    meshes = []
    for side, cup in ((1, left), (-1, right)):
        shell = ellipsoid(cup + np.array([side * 0.05, 0, 0]), (0.14, 0.36, 0.31), 18)
        pad = ellipsoid(cup - np.array([side * 0.05, 0, 0]), (0.12, 0.34, 0.29), 16)
        meshes.append(MeshPart(*shell, PLASTIC, color, 0.35, 1.0))
        meshes.append(MeshPart(*pad, CLOTH, (0.03, 0.03, 0.03), 0.8, 0.3))
    turn = np.linspace(0, np.pi, 40)
    half = (left[0] - right[0]) / 2 + 0.05
    rise = fit.point(marks.top)[1] + 0.17 - left[1]
    plane = left[2] + 0.02
    band = np.stack(
        [
            half * np.cos(turn) * (1 + 0.04 * np.sin(turn)),
            left[1] + rise * np.sin(turn) ** 0.8,
            np.full(40, plane),
        ],
        1,
    )
    vertices, triangles = tube(band, 0.06, 10)
    vertices[:, 2] = plane + 2.0 * (vertices[:, 2] - plane)
    meshes.append(MeshPart(vertices, triangles, PLASTIC, 0.7 * color, 0.4, 0.8))

    def ceiling(points: Array) -> Array:
        from_band = np.abs(points[:, 2] - left[2])
        under_band = np.where(from_band < 0.45, 0.07 + 0.9 * np.maximum(0, from_band - 0.2), 9.0)
        to_cup = np.minimum(
            np.linalg.norm(points - left, axis=1), np.linalg.norm(points - right, axis=1)
        )
        under_cup: Array = 0.02 + 0.9 * np.maximum(0, to_cup - 0.36)
        return np.minimum(under_band, under_cup)

    return Accessory(meshes, hair_ceiling=ceiling)


def earrings(fit: Fitting) -> Accessory:
    """Hoops or studs in gold or silver."""
    rng = fit.rng
    metal = np.array([0.75, 0.55, 0.22]) if rng.random() < 0.6 else np.array([0.6, 0.6, 0.62])
    hoop, radius = rng.random() < 0.6, rng.uniform(0.10, 0.24)
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    ring = np.stack([0.15 * np.cos(turn), np.cos(turn) - 1, np.sin(turn)], 1) * radius
    meshes = []
    for side, lobe in zip((1, -1), fit.template.landmarks.ear_lobe, strict=True):
        at = fit.point(lobe) + np.array([side * 0.02, 0.03, 0.0])
        if hoop:
            shape = tube(at + ring, 0.018, 8, closed=True)
        else:
            shape = ellipsoid(at + np.array([side * 0.03, 0, 0]), (0.05, 0.05, 0.05), 12)
        meshes.append(MeshPart(*shape, PLASTIC, 0.7 * metal, 0.18, 2.5))
    return Accessory(meshes)
