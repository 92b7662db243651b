"""Head hair: thousands of strands interpolated between a few guides."""

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from pipeline.digital_human.geometry import normalize
from pipeline.digital_human.growth import (
    Collider,
    Comb,
    Roots,
    coil,
    grow_guides,
    make_comb,
    resample,
    scatter_roots,
)
from pipeline.digital_human.hair_styles import STYLES, HairStyle
from pipeline.digital_human.identity import Identity
from pipeline.digital_human.kernels.mesh import noise
from pipeline.digital_human.palette import hair_color
from pipeline.digital_human.parts import Strands
from pipeline.digital_human.scalp import scalp_cover
from pipeline.digital_human.template import (
    BUST_CENTER,
    BUST_RADII,
    SKULL_CENTER,
    HeadTemplate,
    skull_angles,
)

Array = npt.NDArray[np.float64]

GUIDES = 1100
STRAND_HALF_WIDTH = 0.0088
BUZZ_STRANDS = 16000
HAIR_RADII = BUST_RADII + np.array([0.0, -0.06, 0.18])
"""Long hair ends at nearly the bust's own ellipsoid: it lies on chest and back."""


def head_hair(
    identity: Identity,
    template: HeadTemplate,
    vertices: Array,
    normals: Array,
    quality: float = 1.0,
) -> list[Strands]:
    """The strands of a person's hairstyle.

    Args:
        identity: whose hair.
        template: the head template.
        vertices: [N, 3] the person's neutral fine mesh, template units.
        normals: [N, 3] its unit normals.
        quality: share of the full strand count; strands get wider to make up for it.

    Returns:
        Bundles of strands; empty for the bald.
    """
    if identity.hair_style == "bald":
        return []
    rng = np.random.default_rng(identity.hair_seed)
    scalp, cover = _scalp(identity, template)
    if identity.hair_style == "buzz":
        return [_buzz(identity, template, vertices, scalp, cover, rng, quality)]
    style = STYLES[identity.hair_style]
    coarse = template.coarse_count
    collider = Collider(vertices[:coarse], normals[:coarse])
    dense = cover > 0.35
    roots = scatter_roots(template, vertices, scalp[dense], np.ones(int(dense.sum())), GUIDES, rng)
    comb = make_comb(identity.hair_style, style, template, vertices, normals, roots, rng)
    guides = grow_guides(style, comb, roots, collider, rng)
    points = style.points * (2 if style.curl and quality > 1 else 1)
    place = np.linspace(0, style.steps - 1, points)
    guides = resample(guides, np.broadcast_to(place, (len(guides), points)))
    count = int(style.strands * quality)
    children = scatter_roots(template, vertices, scalp, cover, count, rng)
    curves = _interpolate(style, guides, roots, children, rng)
    curves = _cut_lengths(style, comb, curves, rng)
    if style.falls:
        curves = comb.face.guard(curves)
    curves = collider.push(curves.reshape(-1, 3), 0.012).reshape(curves.shape)
    half_width = _half_widths(curves.shape, quality)
    if style.falls:
        half_width[_on_shoulders(curves, collider, rng)] = -1
    bundles = [Strands(curves, half_width, _colors(identity, children, rng))]
    if comb.gather is not None:
        tied = _ponytail if identity.hair_style == "ponytail" else _bun
        bundles.append(tied(identity, comb.gather, collider, rng, quality))
    return bundles


def _scalp(identity: Identity, template: HeadTemplate) -> tuple[npt.NDArray[np.intp], Array]:
    """Triangles with hair and their density."""
    triangles = template.scalp_triangles
    centers = template.triangle_centers[triangles]
    cover = scalp_cover(identity, *skull_angles(centers), centers)
    cover = cover * (1 - template.ears[template.triangles[triangles, 0]])
    kept = cover > 0.05
    return triangles[kept], cover[kept]


def _buzz(
    identity: Identity,
    template: HeadTemplate,
    vertices: Array,
    scalp: npt.NDArray[np.intp],
    cover: Array,
    rng: np.random.Generator,
    quality: float,
) -> Strands:
    count = int(BUZZ_STRANDS * quality)
    roots = scatter_roots(template, vertices, scalp, cover, count, rng)
    length = rng.uniform(0.03, 0.08)
    heading = roots.normal + np.array([0, -0.2, 0.3]) + rng.normal(size=(count, 3)) * 0.25
    heading = normalize(heading) * length
    points = np.stack([roots.position + heading * k for k in (0, 0.5, 1)], 1)
    color = hair_color(identity.hair_color) * rng.uniform(0.8, 1.2, (count, 1))
    return Strands(points, np.full((count, 3), 0.0055), color)


def _interpolate(
    style: HairStyle, guides: Array, roots: Roots, children: Roots, rng: np.random.Generator
) -> Array:
    """Blend the three nearest guides that end together, then add frizz and curl."""
    distance, near = cKDTree(roots.position).query(children.position, 3)
    weight = rng.uniform(0.3, 1, distance.shape) / (distance + 0.01) ** 2
    apart = np.linalg.norm(guides[near, -1] - guides[near[:, :1], -1], axis=2)
    weight *= np.exp(-((apart / 0.35) ** 2))
    weight /= weight.sum(1, keepdims=True)
    points = guides.shape[1]
    curves = np.zeros((len(near), points, 3))
    for k in range(3):
        curves += guides[near[:, k]] * weight[:, k, None, None]
    along = np.linspace(0, 1, points)
    fan = 1 + (style.spread - 1) * along
    curves += (children.position - curves[:, 0])[:, None] * fan[None, :, None]
    count = len(curves)
    clump = rng.normal(size=(count, 1, 3)) * 1.5 * np.minimum(1, 2 * along)[None, :, None]
    jitter = rng.normal(size=(count, style.points, 3)) * 0.35
    place = np.broadcast_to(along * (style.points - 1), (count, points))
    jitter = resample(jitter, place) * np.minimum(1, 3 * along)[None, :, None]
    curves += style.frizz * (clump + jitter)
    loose = rng.random(count) < 0.02
    curves[loose] += rng.normal(size=(int(loose.sum()), 1, 3)) * 0.05 * along[None, :, None]
    if style.curl:
        angle = 1.9 * place + rng.uniform(0, 2 * np.pi, (count, 1))
        curves = coil(curves, angle, style.curl * np.minimum(1, 5 * along))
    return curves


def _cut_lengths(style: HairStyle, comb: Comb, curves: Array, rng: np.random.Generator) -> Array:
    """Shorten each strand by up to a quarter, by resampling it."""
    if comb.gather is not None or style.comb == "radial":
        return curves
    share = rng.uniform(0.75 if not style.falls else 0.86, 1, len(curves))
    return resample(curves, share[:, None] * np.arange(curves.shape[1])[None])


def _half_widths(shape: tuple[int, ...], quality: float) -> Array:
    profile = np.ones(shape[1])
    profile[0] = 0.45
    profile[-3:] = np.linspace(1, 0.35, 3)
    width = STRAND_HALF_WIDTH / max(0.4, quality) ** 0.5
    return np.tile(width * profile, (shape[0], 1))


def _on_shoulders(
    curves: Array, collider: Collider, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Points from where a strand lies on a shoulder's ridge or leaves the bust; cut from there."""
    points = curves.reshape(-1, 3)
    low = np.flatnonzero(points[:, 1] < 6.3)
    resting = np.zeros(len(points), bool)
    if len(low):
        distance, index = collider.nearest(points[low], 0.2)
        upward = collider.normals[index, 1] > 0.7
        below = collider.vertices[index, 1] < 6.05
        resting[low] = upward & below & (distance < 0.17)
    reach = (curves - BUST_CENTER) / HAIR_RADII
    outside = (reach**2).sum(2) > rng.uniform(0.92, 1.0, (len(curves), 1))
    gone = resting.reshape(curves.shape[:2]) | (outside & (curves[..., 1] < 6.2))
    cut: npt.NDArray[np.bool_] = np.maximum.accumulate(gone, axis=1)
    return cut


def _colors(identity: Identity, roots: Roots, rng: np.random.Generator) -> Array:
    base = hair_color(identity.hair_color)
    count = len(roots.position)
    streaks = 0.18 * noise(roots.position, 7, identity.hair_seed % 97, 2)[:, None]
    colors = base * np.clip(1 + 0.16 * rng.normal(size=(count, 1)) + streaks, 0.45, 1.8)
    if identity.hair_color == "grey":
        colors[rng.random(count) < 0.45] = (0.5, 0.49, 0.47)
    return colors


def _bun(
    identity: Identity, tie: Array, collider: Collider, rng: np.random.Generator, quality: float
) -> Strands:
    """A knot of hair wound round the tie point."""
    radius = 0.30 if identity.hair_style == "bun" else 0.2
    count, outward = int(2600 * quality), normalize(tie - SKULL_CENTER)
    center = tie + outward * radius * 0.75
    axis = normalize(rng.normal(size=(count, 3)) * 0.35 + outward)
    across = normalize(np.cross(axis, rng.normal(size=(count, 3))))
    up = np.cross(axis, across)
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, 2.6, 14)[None]
    height = rng.uniform(-0.75, 0.75, (count, 1, 1))
    ring = np.cos(angle)[..., None] * across[:, None] + np.sin(angle)[..., None] * up[:, None]
    ring = np.sqrt(1 - 0.8 * height**2) * ring + 0.8 * height * axis[:, None]
    points = center + radius * rng.uniform(0.8, 1, (count, 1, 1)) * ring
    return Strands(points, np.full((count, 14), 0.010), _tied_colors(identity, count, rng))


def _ponytail(
    identity: Identity, tie: Array, collider: Collider, rng: np.random.Generator, quality: float
) -> Strands:
    """A tail that leaves the tie point backwards and falls."""
    count, steps = int(3200 * quality), 20
    length, along = rng.uniform(1.2, 1.9), np.linspace(0, 1, steps)
    path = tie + np.stack(
        [
            0 * along,
            -length * along**1.25 + 0.18 * np.sin(3.1 * along),
            -0.38 * np.sin(np.minimum(1, 2.2 * along) * np.pi / 2),
        ],
        1,
    )
    radius = 0.11 + 0.16 * np.sin(2.6 * np.clip(1.1 * along, 0, 1))
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.random(count))
    disc = np.stack([reach * np.cos(angle), 0 * angle, reach * np.sin(angle)], 1)
    stray = rng.normal(size=(count, 1, 3)) * 0.02 * along[None, :, None]
    points = path[None] + radius[None, :, None] * disc[:, None] + stray
    points = collider.push(points.reshape(-1, 3), 0.05).reshape(points.shape)
    share = rng.uniform(0.72, 1, (count, 1)) ** 0.6
    points = resample(points, share * np.arange(steps)[None])
    width = np.tile(0.010 * np.minimum(1, 4 * (1.04 - along)), (count, 1))
    return Strands(points, width, _tied_colors(identity, count, rng))


def _tied_colors(identity: Identity, count: int, rng: np.random.Generator) -> Array:
    shade = np.clip(1 + 0.2 * rng.normal(size=(count, 1)), 0.5, 1.7)
    return hair_color(identity.hair_color) * shade
