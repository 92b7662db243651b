"""The pieces a head is assembled from: meshes with a part id, and bundles of hair strands."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.digital_human.geometry import normalize

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]

PART_NAMES = ("skin", "eye", "teeth", "mouth", "cloth", "plastic", "knit", "lens", "hair")
SKIN, EYE, TEETH, MOUTH, CLOTH, PLASTIC, KNIT, LENS, HAIR = range(9)
"""Values of the part mask; 255 is background."""


@dataclass
class MeshPart:
    """One mesh in template units.

    Attributes:
        vertices: [N, 3] float64.
        triangles: [M, 3] int32.
        part: one of the part ids.
        albedo: linear RGB, [3] or [N, 3].
        roughness, specular, ambient: scalars or [N].
        clip: [N]; the surface is cut away where the interpolated value is negative.
    """

    vertices: Array
    triangles: Index
    part: int
    albedo: npt.ArrayLike
    roughness: Array | float = 0.5
    specular: Array | float = 1.0
    ambient: Array | float = 1.0
    clip: Array | float = 1.0


@dataclass
class Strands:
    """Hairs of equal point count in template units.

    Attributes:
        points: [S, K, 3] float64, roots first.
        half_width: [S, K] float64; negative where a strand is cut off.
        color: [S, 3] linear RGB.
        sheen: strength of the white reflection on the strands' surface.
    """

    points: Array
    half_width: Array
    color: Array
    sheen: float = 1.0


@dataclass
class Meshes:
    """Concatenated mesh parts; per-vertex arrays as the kernels want them."""

    vertices: Array
    triangles: Index
    parts: npt.NDArray[np.uint8]
    albedo: Array
    gloss: Array
    clip: Array


def join_meshes(pieces: list[MeshPart]) -> Meshes:
    """Concatenate; lens triangles come last, because they are blended."""
    ordered = sorted(pieces, key=lambda piece: piece.part == LENS)
    start, triangles = 0, []
    for piece in ordered:
        triangles.append(piece.triangles + start)
        start += len(piece.vertices)
    spread = [
        np.stack(
            [
                np.broadcast_to(np.asarray(value, np.float64), len(piece.vertices))
                for value in (piece.roughness, piece.specular, piece.ambient, piece.clip)
            ],
            1,
        )
        for piece in ordered
    ]
    scalars = np.concatenate(spread)
    return Meshes(
        vertices=np.concatenate([piece.vertices for piece in ordered]),
        triangles=np.concatenate(triangles).astype(np.int32),
        parts=np.concatenate([np.full(len(p.triangles), p.part, np.uint8) for p in ordered]),
        albedo=np.concatenate(
            [np.broadcast_to(np.asarray(p.albedo, np.float64), p.vertices.shape) for p in ordered]
        ),
        gloss=np.ascontiguousarray(scalars[:, :3]),
        clip=np.ascontiguousarray(scalars[:, 3]),
    )


@dataclass
class Hairs:
    """Flattened strands: what the points [P] have, and the segments [Q, 2] between them.

    ``lit_by`` [P, 2] names the points whose light is baked: even ones their own, odd ones their two
    neighbours on the strand.
    """

    points: Array
    half_width: Array
    color: Array
    tangents: Array
    sheen: Array
    lit_by: Index
    segments: Index = field(repr=False)


def join_strands(bundles: list[Strands]) -> Hairs:
    """Flatten; segments that touch a cut-off point are left out, roots are a little darker."""
    start, segments, tangents, colors, roots = 0, [], [], [], []
    for bundle in bundles:
        count, steps, _ = bundle.points.shape
        first = (np.arange(count)[:, None] * steps + np.arange(steps - 1)).ravel() + start
        segments.append(np.stack([first, first + 1], 1))
        tangents.append(normalize(np.gradient(bundle.points, axis=1)).reshape(-1, 3))
        shade = np.linspace(0.8, 1.12, steps)[None, :, None]
        colors.append((bundle.color[:, None] * shade).reshape(-1, 3))
        roots.append(np.arange(count) * steps + start)
        start += count * steps
    half_width = np.concatenate([bundle.half_width.ravel() for bundle in bundles])
    joined = np.concatenate(segments).astype(np.int32)
    return Hairs(
        points=np.concatenate([bundle.points.reshape(-1, 3) for bundle in bundles]),
        half_width=np.abs(half_width),
        color=np.concatenate(colors),
        tangents=np.concatenate(tangents),
        lit_by=_lit_by(np.concatenate(roots), start),
        sheen=np.concatenate([np.full(b.points[..., 0].size, b.sheen) for b in bundles]),
        segments=np.ascontiguousarray(joined[(half_width[joined] > 0).all(1)]),
    )


def _lit_by(roots: npt.NDArray[np.intp], count: int) -> Index:
    """Two even points per point that lie beside it on its strand."""
    index = np.arange(count)
    is_root, is_tip = np.zeros(count, bool), np.zeros(count, bool)
    is_root[roots] = True
    is_tip[roots[1:] - 1] = is_tip[-1] = True
    odd = index % 2 == 1
    before = np.where(odd, np.where(is_root, index + 1, index - 1), index)
    after = np.where(odd, np.where(is_tip, index - 1, index + 1), index)
    return np.stack([before, after], 1).astype(np.int32)
