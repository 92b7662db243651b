"""Brows, lashes and beards: strands that move with the expression."""

from functools import cache

import numpy as np
import numpy.typing as npt

from pipeline.digital_human.geometry import normalize
from pipeline.digital_human.growth import Collider, roots_on, scatter_roots
from pipeline.digital_human.identity import Identity
from pipeline.digital_human.palette import hair_color
from pipeline.digital_human.parts import Strands
from pipeline.digital_human.template import HeadTemplate, load_template

Array = npt.NDArray[np.float64]

BEARD_STRANDS = {"full": 9000, "goatee": 3600, "moustache": 1700}
BEARD_STEPS = 5
BROW_HAIRS = 420


def facial_hair(
    identity: Identity,
    template: HeadTemplate,
    posed: Array,
    vertices: Array,
    normals: Array,
    quality: float = 1.0,
) -> list[Strands]:
    """Brows, lashes and, if any, the beard.

    Args:
        identity: whose.
        template: the head template.
        posed: [V, 3] posed coarse mesh with helpers.
        vertices: [N, 3] posed fine mesh.
        normals: [N, 3] its unit normals.
        quality: share of the full beard strand count.
    """
    rng = np.random.default_rng(identity.skin_seed + 1)
    bundles = [_brow(identity, template, vertices, side, rng) for side in (1, -1)]
    bundles += [_lashes(identity, posed, name, rng) for name in _lash_chains()]
    if identity.beard in BEARD_STRANDS:
        bundles.append(_beard(identity, template, vertices, normals, rng, quality))
    return bundles


def _brow(
    identity: Identity,
    template: HeadTemplate,
    vertices: Array,
    side: int,
    rng: np.random.Generator,
) -> Strands:
    """Hairs along an arc, sparse at the inner end and thinning outwards."""
    thickness = identity.brow_thickness
    count = int(BROW_HAIRS * (0.6 + 0.5 * thickness))
    style = np.random.default_rng(identity.skin_seed + 2)
    arch, start, end = style.uniform(0.3, 1.6), style.uniform(0.10, 0.17), style.uniform(0.53, 0.62)
    level, peak, tilt = 7.492 + 0.016 * style.normal(), style.uniform(0.5, 0.75), style.normal()
    along = rng.random(count) ** style.uniform(0.75, 1.1)
    x = start + (end - start) * along
    y = level + 0.034 * arch * np.sin(np.clip(along / peak, 0, 1) * np.pi / 2)
    y += 0.012 * tilt * (along - 0.4)
    y -= 0.095 * np.clip((along - 0.55) / 0.45, 0, 1) ** 1.5
    spread = 0.034 * (1 - 0.65 * along) * np.minimum(1, 0.45 + 3 * along) * thickness
    across = np.clip(0.5 * rng.normal(size=count), -1, 1)
    triangles, tree = template.face_triangles
    _, nearest = tree.query(np.stack([side * x, y + across * spread], 1))
    roots = roots_on(template, vertices, triangles[nearest], rng)
    length = rng.uniform(0.045, 0.085, count) * (1 - 0.25 * along) * thickness**0.3
    heading = np.stack(
        [side * (0.35 + along), 0.85 - 1.25 * along - 0.35 * across, np.zeros(count)], 1
    )
    heading += rng.normal(size=(count, 3)) * 0.2
    heading = normalize(heading - roots.normal * (heading * roots.normal).sum(1, keepdims=True))
    reach = heading * length[:, None]
    points = np.stack(
        [
            roots.position + 0.004 * roots.normal,
            roots.position + 0.5 * reach + 0.012 * roots.normal,
            roots.position + reach + 0.006 * roots.normal,
        ],
        1,
    )
    name = identity.hair_color
    if name.startswith("dyed") or name == "platinum":
        name = "brown"
    color = 0.8 * hair_color(name) + 0.02 * np.array([1, 0.7, 0.5])
    if name in ("grey", "white"):
        color = color * 0.7
    width = np.tile([0.0026, 0.0022, 0.0010], (count, 1))
    return Strands(points, width, color * rng.uniform(0.7, 1.2, (count, 1)), sheen=0.25)


@cache
def _lash_chains() -> dict[str, npt.NDArray[np.intp]]:
    """Per lash strip: chains of coarse vertices from lid to tip, sorted along the lid, [C, 4, 2].

    The last axis holds (vertex, vertex) pairs whose mean is the chain's point, resampled to four.
    """
    base = load_template().base
    chains = {}
    for name in sorted(name for name in base.helpers if name.startswith("lash")):
        quads = base.helpers[name]
        eye = "eye_left" if "left" in name else "eye_right"
        center = base.vertices[np.unique(base.helpers[eye])].mean(0)
        chains[name] = _chains_of(quads, np.linalg.norm(base.vertices - center, axis=1))
    return chains


def _chains_of(quads: npt.NDArray[np.int32], radius: Array) -> npt.NDArray[np.intp]:
    """Follow the quad sides that lead away from the eye."""
    onward: dict[int, int] = {}
    for a, b, c, d in quads.tolist():
        ab_cd = abs(radius[a] - radius[b]) + abs(radius[c] - radius[d])
        bc_da = abs(radius[b] - radius[c]) + abs(radius[d] - radius[a])
        for first, second in ((a, b), (d, c)) if ab_cd > bc_da else ((b, c), (a, d)):
            near, far = sorted((first, second), key=lambda vertex: float(radius[vertex]))
            onward.setdefault(near, far)
    reached = set(onward.values())
    chains = []
    for root in (vertex for vertex in onward if vertex not in reached):
        chain = [root]
        while chain[-1] in onward and len(chain) < 8:
            chain.append(onward[chain[-1]])
        place = np.linspace(0, len(chain) - 1, 4)
        pairs = [(chain[int(np.floor(p))], chain[int(np.ceil(p))]) for p in place]
        chains.append(pairs)
    x = load_template().base.vertices[:, 0]
    return np.array(sorted(chains, key=lambda pairs: float(x[pairs[0][0]])))


def _lashes(identity: Identity, posed: Array, strip: str, rng: np.random.Generator) -> Strands:
    chains = posed[_lash_chains()[strip]].mean(2)
    upper = strip.endswith("upper")
    painted = 1.3 if identity.makeup else 1.0
    count = int((90 if upper else 26) * painted)
    index, share = rng.integers(0, len(chains) - 1, count), rng.random((count, 1, 1))
    curves = chains[index] * (1 - share) + chains[index + 1] * share
    length = rng.uniform(0.55, 0.95, (count, 1, 1)) * (1.0 if upper else 0.4)
    length = length * (1.05 if identity.sex == "female" else 0.7)
    curves = curves[:, :1] + (curves - curves[:, :1]) * length
    dark = identity.sex == "female" or identity.melanin > 0.5
    color = np.array([0.012, 0.009, 0.008]) if dark else np.array([0.03, 0.02, 0.015])
    width = np.array([0.0020, 0.0017, 0.0013, 0.0007]) * painted
    return Strands(curves, np.tile(width, (count, 1)), np.tile(color, (count, 1)), sheen=0.0)


def _beard(
    identity: Identity,
    template: HeadTemplate,
    vertices: Array,
    normals: Array,
    rng: np.random.Generator,
    quality: float,
) -> Strands:
    """Short strands that leave the skin and bend down; the moustache parts in the middle."""
    mask = {
        "full": template.beard,
        "goatee": np.maximum(template.goatee, 0.9 * template.moustache),
        "moustache": template.moustache,
    }[identity.beard]
    density = mask[template.triangles].mean(1)
    triangles = np.flatnonzero(density > 0.25)
    count = int(BEARD_STRANDS[identity.beard] * quality)
    roots = scatter_roots(template, vertices, triangles, density[triangles], count, rng)
    x, y = roots.on_template[:, 0], roots.on_template[:, 1]
    full = identity.beard == "full"
    fade = np.clip((7.0 - y) / 0.5, 0.35, 1)
    length = rng.uniform(0.08, 0.32 if full else 0.18) * rng.uniform(0.7, 1.1, count) * fade
    on_lip = (y > 6.64) & (np.abs(x) < 0.36)
    length[on_lip] = np.minimum(length[on_lip], 0.095)
    down = np.array([0, -1.0, 0.18])
    outward = 0.5 * np.sign(x) * on_lip * np.minimum(1, 8 * np.abs(x))
    heading = 0.42 * roots.normal + down + rng.normal(size=(count, 3)) * 0.22
    heading[:, 0] += outward
    heading = normalize(heading)
    collider = Collider(vertices[: template.coarse_count], normals[: template.coarse_count])
    points = [roots.position]
    for k in range(BEARD_STEPS):
        heading = normalize(heading + 0.22 * down)
        step = points[-1] + heading * (length / BEARD_STEPS)[:, None]
        points.append(collider.push(step, 0.012 + 0.012 * k))
    width = np.array([0.6, 0.9, 1, 0.95, 0.8, 0.4]) * 0.0054 / max(0.5, quality) ** 0.5
    color = hair_color(identity.hair_color) * rng.uniform(0.7, 1.25, (count, 1))
    return Strands(np.stack(points, 1), np.tile(width, (count, 1)), color, sheen=0.6)
