"""Growing guide hairs: each step follows stiffness, a comb field, gravity and the scalp."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from pipeline.digital_human.geometry import normalize
from pipeline.digital_human.hair_styles import GATHER_POINTS, HairStyle
from pipeline.digital_human.template import SKULL_CENTER, HeadTemplate, ramp

Array = npt.NDArray[np.float64]

SHOULDER_RIDGE_Z = 0.25
SINK_DM = 0.2
"""How deep below the surface a point may be and still be pushed out."""


class Collider:
    """Keeps points outside a surface given by vertices and normals."""

    def __init__(self, vertices: Array, normals: Array) -> None:
        self.vertices, self.normals = vertices, normals
        self._tree = cKDTree(vertices)

    def nearest(self, points: Array, reach: float = np.inf) -> tuple[Array, npt.NDArray[np.intp]]:
        """Distance and index of the nearest vertex; beyond ``reach`` infinity and any index."""
        distance, index = self._tree.query(points, distance_upper_bound=reach)
        return distance, np.minimum(index, len(self.vertices) - 1)

    def height(self, points: Array, reach: float = np.inf) -> tuple[Array, npt.NDArray[np.intp]]:
        """Signed height over the surface (far points: the distance) and nearest vertex."""
        distance, index = self.nearest(points, reach)
        height = ((points - self.vertices[index]) * self.normals[index]).sum(1)
        return np.where(distance < 0.5, height, np.maximum(height, distance)), index

    def push(self, points: Array, clearance: Array | float) -> Array:
        """Move points [N, 3] that are nearer than ``clearance`` out along the normal."""
        height, index = self.height(points, float(np.max(clearance)) + SINK_DM)
        lack = np.maximum(0.0, clearance - height)
        return points + self.normals[index] * lack[:, None]


@dataclass(frozen=True)
class Roots:
    """Where hairs start: posed position, surface normal and template position, each [N, 3]."""

    position: Array
    normal: Array
    on_template: Array


def scatter_roots(
    template: HeadTemplate,
    vertices: Array,
    triangles: npt.NDArray[np.intp],
    weights: Array,
    count: int,
    rng: np.random.Generator,
) -> Roots:
    """Drop ``count`` roots on triangles, by area times weight."""
    share = template.triangle_areas[triangles] * weights
    chosen = rng.choice(triangles, count, p=share / share.sum())
    return roots_on(template, vertices, chosen, rng)


def roots_on(
    template: HeadTemplate, vertices: Array, chosen: npt.NDArray[np.intp], rng: np.random.Generator
) -> Roots:
    """A random point in each chosen triangle."""
    inside = rng.dirichlet([1, 1, 1], len(chosen))[..., None]
    corners = template.triangles[chosen]
    a, b, c = (vertices[corners[:, k]] for k in range(3))
    return Roots(
        position=(vertices[corners] * inside).sum(1),
        normal=normalize(np.cross(b - a, c - a)),
        on_template=(template.vertices[corners] * inside).sum(1),
    )


@dataclass(frozen=True)
class Face:
    """The ellipsoid that hair stays out of, and the part line's x."""

    center: Array
    part_x: float

    def guard(self, points: Array) -> Array:
        """Move points [..., 3] in front of the face out sideways, away from the part."""
        radii = np.array([0.72, 1.0, 0.82])
        local = (points - self.center) / radii
        room = np.sqrt(np.maximum(0.0, 1 - local[..., 1] ** 2 - local[..., 2] ** 2))
        inside = (np.abs(local[..., 0]) < room) & (points[..., 2] > self.center[2] - 0.45)
        rise = ramp(points[..., 1] - self.center[1] - 0.4, 0.5)
        side = np.sign(points[..., 0] - self.part_x * rise + 1e-9)
        moved = points.copy()
        moved[..., 0] = np.where(inside, side * radii[0] * room, points[..., 0])
        return moved


@dataclass(frozen=True)
class Comb:
    """The direction field of one head of hair."""

    style: HairStyle
    face: Face
    crown: Array
    gather: Array | None
    azimuth_deg: Array

    def at(self, points: Array) -> Array:
        """Unnormalised direction at each guide's current point, [N, 3]."""
        x, z = points[:, 0], points[:, 2]
        flat = np.zeros_like(x)
        side = np.sign(x - self.face.part_x + 1e-6)
        if self.gather is not None:
            return normalize(self.gather - points)
        if self.style.comb == "side":
            out = np.clip(np.abs(x) / 0.62, 0, 1.3)
            forward = -0.30 + 0.2 * (np.abs(self.azimuth_deg) < 40)
            return np.stack(
                [side * np.clip(1 - out, 0.05, 1), 0.05 - 1.1 * out**1.5, forward + flat], 1
            )
        if self.style.comb == "forward":
            return self._from_crown(points)
        if self.style.comb == "back":
            return np.stack([0.15 * x, np.where(z > 0.6, 0.15, -0.35), flat - 1.0], 1)
        if self.style.comb == "radial":
            return normalize(points - (SKULL_CENTER + np.array([0, -0.15, -0.05])))
        if self.style.comb == "down":
            return np.stack([0.2 * np.sign(x), flat - 0.8, flat - 0.5], 1)
        falling = self._falling(points, side)
        if self.style.comb == "fringe":
            front = np.abs(self.azimuth_deg) < 42
            falling[front] = self._from_crown(points)[front] + np.array([0, -0.5, 0.3])
        return falling

    def _from_crown(self, points: Array) -> Array:
        away = normalize(points - self.crown)
        away[:, 1] -= 0.25
        return away

    def _falling(self, points: Array, side: Array) -> Array:
        """From the part sideways over the top, then down; slightly back beside the face."""
        top = ramp(points[:, 2] - 0.1, 0.5) * ramp(points[:, 1] - 7.6, 0.3)
        backward = np.where(np.abs(self.azimuth_deg) < 70, -0.32, -0.10)
        return np.stack(
            [
                side * (0.10 + 0.90 * top),
                -0.25 - 0.9 * (1 - top),
                backward * ramp(points[:, 1] - 6.9, 0.4),
            ],
            1,
        )

    def slip(self, points: Array) -> Array:
        """Force off the ridge of the shoulders, to the chest or the back, [N, 3]."""
        x, y, z = points.T
        low = ramp(6.5 - y, 0.3)
        from_ridge = z - SHOULDER_RIDGE_Z
        near = np.exp(-((from_ridge / 0.4) ** 2))
        inward = -np.sign(x) * ramp(np.abs(x) - 0.7, 0.3)
        off_ridge = np.where(from_ridge > 0, near, -near)
        return np.stack([0.5 * low * inward, 0 * low, 0.7 * low * off_ridge], 1)


def make_comb(
    name: str,
    style: HairStyle,
    template: HeadTemplate,
    vertices: Array,
    normals: Array,
    roots: Roots,
    rng: np.random.Generator,
) -> Comb:
    """Fit the comb field's landmarks (crown, part, tie point) to a person's head."""
    offsets = (
        (-0.28, -0.18, 0.0, 0.18, 0.28) if not style.falls else (-0.22, -0.12, 0.0, 0.12, 0.22)
    )
    nose = vertices[template.landmarks.nose]
    face = Face(np.array([0, nose[1] + 0.20, nose[2] - 0.35]), float(rng.choice(offsets)))
    crown = vertices[_closest(template, (0.08, 8.35, -0.05))]
    gather = None
    if name in GATHER_POINTS:
        at = _closest(template, GATHER_POINTS[name])
        gather = vertices[at] + 0.10 * normals[at]
    offset = roots.on_template - SKULL_CENTER
    return Comb(style, face, crown, gather, np.degrees(np.arctan2(offset[:, 0], offset[:, 2])))


def _closest(template: HeadTemplate, point: tuple[float, float, float]) -> int:
    return int(((template.vertices - np.array(point)) ** 2).sum(1).argmin())


def guide_lengths(style: HairStyle, comb: Comb, roots: Roots, rng: np.random.Generator) -> Array:
    """Length per guide in decimetres: cut short at the sides, or along a fringe."""
    count = len(roots.position)
    lengths = style.length * rng.uniform(0.85, 1.15) * rng.uniform(0.85, 1.1, count)
    across = np.abs(comb.azimuth_deg)
    offset = roots.on_template - SKULL_CENTER
    elevation = np.degrees(np.arcsin(offset[:, 1] / np.linalg.norm(offset, axis=1)))
    if style.tapered:
        side = np.clip((across - 60) / 40, 0, 1) * np.clip((40 - elevation) / 30, 0, 1)
        lengths *= 1 - 0.6 * side
        lengths *= np.where((elevation < 5) & (across > 100), 0.45, 1.0)
    if style.comb == "fringe":
        front = (across < 42) & (elevation > 35)
        lengths[front] = 0.72 + 0.017 * (elevation[front] - 40)
    return lengths


def grow_guides(
    style: HairStyle,
    comb: Comb,
    roots: Roots,
    collider: Collider,
    rng: np.random.Generator,
) -> Array:
    """Grow one guide per root.

    Returns:
        [G, steps, 3] float64 template units.
    """
    count = len(roots.position)
    lengths = guide_lengths(style, comb, roots, rng)
    step = (lengths / (style.steps - 1))[:, None]
    volume = style.volume * rng.uniform(0.85, 1.15)
    layer = rng.uniform(0.25, 1, count) ** 0.7
    guides = np.empty((count, style.steps, 3))
    guides[:, 0] = roots.position
    heading = None
    for k in range(1, style.steps):
        here, along = guides[:, k - 1], k / (style.steps - 1)
        _, nearest = collider.nearest(here)
        normal = collider.normals[nearest]
        wanted = comb.at(here)
        if style.comb != "radial":
            inward = np.minimum((wanted * normal).sum(1, keepdims=True), 9)
            wanted = wanted - 0.95 * normal * inward
        wanted = normalize(wanted)
        if heading is None:
            lift = 0.9 if style.comb in ("radial", "free") else 0.35
            heading = normalize(lift * roots.normal + 0.8 * wanted)
        weight = style.pull * (1.0 if comb.gather is not None else 1 - 0.75 * along)
        fall = style.gravity * (0.4 + 1.4 * along)
        slip = comb.slip(here) if style.falls else 0.0
        rise = 0.12 * normal if along < 0.2 and volume > 0.12 else 0.0
        scatter = rng.normal(size=(count, 3)) * style.disorder * 0.18
        heading = normalize(
            style.stiffness * heading
            + 0.6 * weight * wanted
            + np.array([0, -fall, 0])
            + slip
            + rise
            + scatter
        )
        target = here + heading * step
        target = collider.push(target, _clearance(style, comb, target, along, volume, layer))
        if style.falls:
            target = comb.face.guard(target)
        moved = normalize(target - here)
        heading = normalize(0.4 * heading + 0.6 * moved)
        guides[:, k] = here + moved * step
        if comb.gather is not None:
            arrived = np.linalg.norm(comb.gather - guides[:, k], axis=1) < 0.12
            guides[arrived, k] = comb.gather + rng.normal(size=(int(arrived.sum()), 3)) * 0.025
    return _waved(guides, style, lengths, rng)


def _clearance(
    style: HairStyle, comb: Comb, points: Array, along: float, volume: float, layer: Array
) -> Array:
    if comb.gather is not None:
        return 0.025 + 0.03 * layer
    clearance = 0.02 + volume * layer * min(1.0, 3.2 * along)
    if style.falls:
        over_cloth = 0.03 + 0.09 * ramp(6.3 - points[:, 1], 0.3)
        clearance = np.where(points[:, 1] < 6.9, over_cloth + 0.08 * layer, clearance)
    return clearance


def _waved(guides: Array, style: HairStyle, lengths: Array, rng: np.random.Generator) -> Array:
    if not style.wave:
        return guides
    along = np.linspace(0, 1, style.steps)
    phase = rng.uniform(0, 2 * np.pi, len(guides))[:, None]
    angle = along * (lengths * style.wave_turns * 2 * np.pi)[:, None] + phase
    return coil(guides, angle, style.wave * np.minimum(1, 4 * along))


def resample(curves: Array, place: Array) -> Array:
    """Points of curves [N, K, 3] at fractional indices [N, M] in [0, K - 1]: [N, M, 3]."""
    start = np.minimum(place.astype(int), curves.shape[1] - 2)
    fraction = (place - start)[..., None]
    first = np.take_along_axis(curves, start[..., None], 1)
    second = np.take_along_axis(curves, start[..., None] + 1, 1)
    points: Array = first * (1 - fraction) + second * fraction
    return points


def coil(curves: Array, angle: Array, radius: Array) -> Array:
    """Wind curves [N, K, 3] round themselves by angles [N, K] at radii [K]."""
    tangent = normalize(np.gradient(curves, axis=1))
    across = normalize(np.cross(tangent, np.array([0.3, 1, 0.2])))
    up = np.cross(tangent, across)
    turn = np.cos(angle)[..., None] * across + np.sin(angle)[..., None] * up
    return curves + radius[None, :, None] * turn
