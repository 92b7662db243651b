"""Beanies, caps, brimmed hats and headbands: a smoothed shell of the scalp above a plane."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from pipeline.digital_human.accessories import Accessory, Fitting
from pipeline.digital_human.geometry import grid_triangles, normalize, smooth_loop, tube
from pipeline.digital_human.kernels.mesh import noise, vertex_normals
from pipeline.digital_human.parts import KNIT, MeshPart
from pipeline.digital_human.template import SKULL_CENTER

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]


@dataclass(frozen=True)
class HatStyle:
    """The rim's height at the ears and its slope to the front; thickness; smoothing rounds."""

    rim_y: float
    slope: float
    thickness: float
    smoothing: int = 14


CUT_MARGIN = 0.12
HATS = {
    "beanie": HatStyle(7.56, 0.40, 0.095),
    "cap": HatStyle(7.66, 0.32, 0.09),
    "hat": HatStyle(7.66, 0.28, 0.10),
    "headband": HatStyle(7.62, 0.42, 0.05, 4),
}


@dataclass
class _Shell:
    vertices: Array
    triangles: Index
    normals: Array
    above_rim: Array
    inside: Array


def hat(fit: Fitting, kind: str) -> Accessory:
    """Make one of `HATS` and say which hair it presses down or hides."""
    style, color = HATS[kind], fit.trim_color()
    shell = _shell(fit, kind, style)
    rim = _rim(shell)
    meshes = _body(kind, shell, color)
    if kind in ("beanie", "headband"):
        roll = tube(rim, 0.075 if kind == "beanie" else 0.02, 12, closed=True)
        meshes.append(MeshPart(*roll, KNIT, np.clip(0.9 * color, 0.004, 0.8), 0.9, 0.3))
    else:
        meshes += _brim(kind, rim, color, fit.rng)
    if kind == "headband":
        return Accessory(meshes, hair_ceiling=_band_ceiling(style))
    slope, offset = np.polyfit(rim[:, 2], rim[:, 1], 1)

    def hides(points: Array) -> npt.NDArray[np.bool_]:
        covered: npt.NDArray[np.bool_] = points[:, 1] > slope * points[:, 2] + offset + 0.03
        return covered

    def ceiling(points: Array) -> Array:
        above = _above_rim(style, points)
        return np.where(above > -0.55, 0.035 + 0.45 * np.maximum(0, -0.03 - above), 9.0)

    return Accessory(meshes, hair_ceiling=ceiling, hides_hair=hides)


def _above_rim(style: HatStyle, points: Array) -> Array:
    above: Array = points[:, 1] - style.rim_y - style.slope * (points[:, 2] - 0.55)
    return above


def _band_ceiling(style: HatStyle) -> Callable[[Array], Array]:
    def ceiling(points: Array) -> Array:
        off = np.abs(_above_rim(style, points) - 0.10)
        return np.where(off < 0.55, 0.03 + 0.6 * np.maximum(0, off - 0.17), 9.0)

    return ceiling


def _shell(fit: Fitting, kind: str, style: HatStyle) -> _Shell:
    """The level-one scalp above the rim plane, offset and smoothed (Taubin, so it keeps size)."""
    count = fit.template.coarse_count
    flat, normals = fit.template.vertices[:count], fit.normals[:count]
    above = _above_rim(style, flat)
    inside = np.minimum(above + 0.05, 0.26 - above) if kind == "headband" else above
    outward = flat - SKULL_CENTER
    # A little more than is shown: the edge is cut per fragment, not along triangles.
    used = (inside > -CUT_MARGIN) & (np.linalg.norm(outward, axis=1) > 0.5)
    used &= (outward * normals).sum(1) > 0.1
    triangles = fit.template.coarse_triangles
    kept, local = np.unique(triangles[used[triangles].all(1)], return_inverse=True)
    faces = local.reshape(-1, 3).astype(np.int32)
    vertices = fit.vertices[:count][kept] + normals[kept] * style.thickness
    mean = _neighbour_mean(faces, len(kept))
    for _ in range(style.smoothing):
        vertices = vertices + 0.55 * (mean @ vertices - vertices)
        vertices = vertices - 0.57 * (mean @ vertices - vertices)
    around = vertex_normals(np.ascontiguousarray(vertices), faces)
    swollen = vertices + 0.35 * style.thickness * around
    return _Shell(swollen, faces, around, above[kept], inside[kept])


def _neighbour_mean(triangles: Index, count: int) -> sp.csr_matrix:
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    linked = sp.coo_matrix((np.ones(len(edges)), edges.T), (count, count)).tocsr()
    linked = ((linked + linked.T) > 0).astype(np.float64)
    return sp.diags(1 / np.maximum(1, np.asarray(linked.sum(1)).ravel())) @ linked


def _body(kind: str, shell: _Shell, color: Array) -> list[MeshPart]:
    """Outside and lining, shaped and coloured by kind."""
    vertices, above = shell.vertices, shell.above_rim
    pattern = 1 + 0.05 * noise(vertices, 30, 1)
    if kind == "beanie":
        vertices = vertices + np.array([0, 0.10, 0]) * (np.clip(above / 0.6, 0, 1) ** 2)[:, None]
        cuff = 0.05 * np.clip(1 - above / 0.22, 0, 1) * (above < 0.24)
        vertices = vertices + shell.normals * cuff[:, None]
        turn = np.degrees(np.arctan2(vertices[:, 0], vertices[:, 2] - 0.5))
        pattern = pattern * (1 + 0.12 * np.sin(0.35 * turn))
    elif kind == "hat":
        vertices = vertices + np.array([0, 0.24, 0]) * np.clip(above / 0.45, 0, 1)[:, None]
    shade = np.clip(color * pattern[:, None], 0.004, 0.8)
    rough = 0.75 if kind == "cap" else 0.9
    lining = vertices - 0.012 * shell.normals
    cut = shell.inside
    return [
        MeshPart(vertices, shell.triangles, KNIT, shade, rough, 0.3, clip=cut),
        MeshPart(lining, shell.triangles[:, ::-1], KNIT, 0.5 * shade, 0.9, 0.2, clip=cut),
    ]


def _rim(shell: _Shell) -> Array:
    """Sixty points round the lower edge, from the back over the left to the back."""
    angle = np.arctan2(shell.vertices[:, 0], shell.vertices[:, 2] - 0.45)
    ring = []
    for at in np.linspace(-np.pi, np.pi, 60, endpoint=False):
        near = np.flatnonzero(np.abs((angle - at + np.pi) % (2 * np.pi) - np.pi) < 0.16)
        if len(near):
            lowest = near[np.argsort(np.abs(shell.inside[near] - 0.01))[:4]]
            ring.append(shell.vertices[lowest].mean(0))
    return smooth_loop(np.array(ring))


def _brim(kind: str, rim: Array, color: Array, rng: np.random.Generator) -> list[MeshPart]:
    """A peak in front (cap) or a brim all round (hat), seven rows deep."""
    count, rows = len(rim), 7
    turn = np.linspace(-np.pi, np.pi, count, endpoint=False)
    outward = normalize((rim - rim.mean(0)) * np.array([1, 0, 1]))
    if kind == "cap":
        reach, length = np.clip(1.6 * np.cos(turn) - 0.45, 0, 1) ** 0.6, 0.72
    else:
        reach, length = np.ones(count), rng.uniform(0.4, 0.7)
    layers = []
    for share in np.linspace(0, 1, rows):
        if kind == "cap":
            drop = -0.16 * share**2 * reach * (1 + 0.8 * np.abs(np.sin(turn)))
        else:
            drop = 0.10 * share**2 * np.abs(np.sin(turn)) - 0.06 * share
        away = outward * (length * share * reach - 0.05)[:, None]
        layers.append(rim + away + drop[:, None] * np.array([0, 1, 0]))
    vertices = np.concatenate(layers)
    triangles = grid_triangles(rows, count, wrap=True)[:, [0, 2, 1]]
    triangles = np.ascontiguousarray(triangles[(reach[triangles % count] > 0).any(1)])
    shade = color if rng.random() < 0.5 else np.clip(0.4 * color, 0.004, 1)
    lift = np.array([0, 0.012, 0])
    return [
        MeshPart(vertices + lift, triangles, KNIT, shade, 0.75, 0.35),
        MeshPart(vertices - lift, triangles[:, ::-1], KNIT, 0.8 * shade, 0.8, 0.3),
    ]
