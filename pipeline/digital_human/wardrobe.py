"""Clothes: an offset of the torso with a collar along its neckline."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.digital_human.geometry import grid_triangles, normalize, smooth_loop, tube
from pipeline.digital_human.identity import Identity
from pipeline.digital_human.kernels.mesh import noise, vertex_normals
from pipeline.digital_human.parts import CLOTH, MeshPart
from pipeline.digital_human.template import HeadTemplate, ramp

Array = npt.NDArray[np.float64]

COLLAR_RADIUS = {"crew": 0.035, "v_neck": 0.03, "turtleneck": 0.045, "hoodie": 0.11}


@dataclass(frozen=True)
class Clothes:
    """Meshes to draw, and how far each fine vertex lies below the neckline, [N]."""

    meshes: list[MeshPart]
    depth_below_neckline: Array


def dress(identity: Identity, template: HeadTemplate, vertices: Array, normals: Array) -> Clothes:
    """Clothe a person's neutral fine mesh (template units)."""
    smooth = normalize(template.skin_blur[0] @ normals)
    below = _below_neckline(identity, template)
    cloth = vertices + smooth * _offset(identity, template, below)[:, None]
    used_triangles = template.triangles[
        (below[template.triangles].max(1) > 0)
        & (template.vertices[template.triangles, 1].max(1) < 6.6)
    ]
    used, local = np.unique(used_triangles, return_inverse=True)
    fabric = MeshPart(
        cloth[used],
        local.reshape(-1, 3).astype(np.int32),
        CLOTH,
        _fabric_color(identity, template.vertices[used]),
        0.85,
        0.35,
        1.0,
        np.minimum(template.bust[used], np.clip(8 * below[used], -1, 1)),
    )
    return Clothes([fabric, *_collar(identity, template, cloth, smooth, below)], below)


def _below_neckline(identity: Identity, template: HeadTemplate) -> Array:
    x, y, z = template.vertices.T
    line = 5.70 + 0.36 * np.clip(0.75 - z, 0, 1.15)
    if identity.garment == "v_neck":
        line = line - 0.85 * np.clip(0.42 - np.abs(x), 0, 1) * ramp(z - 0.2, 0.4)
    elif identity.garment == "turtleneck":
        line = 6.02 + 0.10 * np.clip(0.4 - z, -0.6, 0.6)
    elif identity.garment == "hoodie":
        line = line + 0.06
    below = line - y + 0.012 * noise(template.vertices, 5, 3)
    return np.where((template.inner_mouth > 0.2) | (y > 6.5), -1, below)


def _offset(identity: Identity, template: HeadTemplate, below: Array) -> Array:
    base, rise = (0.035, 0.02) if identity.garment == "turtleneck" else (0.022, 0.03)
    if identity.garment in ("hoodie", "shirt"):
        base += 0.02
    folds = noise(template.vertices * np.array([1, 2.2, 1]), 2.2, identity.skin_seed % 50, 2)
    return base + rise * ramp(below, 0.25) + 0.018 * folds * ramp(below, 0.3)


def _fabric_color(identity: Identity, points: Array) -> Array:
    weave = 1 + 0.10 * noise(points, 40, 5) + 0.05 * noise(points, 9, 7)
    color = np.array(identity.garment_color) * weave[:, None]
    if identity.garment in ("crew", "v_neck") and identity.skin_seed % 4 == 0:
        stripe = (np.sin(24 * points[:, 1]) > 0.35)[:, None]
        color = np.where(stripe, np.array([0.6, 0.58, 0.55]) * weave[:, None], color)
    return np.clip(color, 0.005, 0.85)


def _collar(
    identity: Identity, template: HeadTemplate, cloth: Array, normals: Array, below: Array
) -> list[MeshPart]:
    """A rib, a roll or a shirt collar along the neckline."""
    near = np.flatnonzero((np.abs(below) < 0.035) & (template.vertices[:, 1] < 6.6))
    x, _, z = template.vertices[near].T
    angle = np.degrees(np.arctan2(x, z - 0.2))
    path, outward = [], []
    for at in range(-180, 180, 6):
        here = near[np.abs((angle - at + 180) % 360 - 180) < 7]
        if len(here):
            path.append(cloth[here].mean(0))
            outward.append(normals[here].mean(0))
    if len(path) < 20:
        return []
    loop, out = smooth_loop(np.array(path)), normalize(np.array(outward))
    color = np.array(identity.garment_color)
    if identity.garment == "shirt":
        return _shirt_collar(color, loop, out)
    if identity.garment == "hoodie":
        loop = loop + 0.07 * out
    vertices, triangles = tube(loop, COLLAR_RADIUS[identity.garment], 10, closed=True)
    rib = np.clip(0.92 * color * (1 + 0.12 * noise(vertices, 30, 2))[:, None], 0.005, 0.85)
    return [MeshPart(vertices, triangles, CLOTH, rib, 0.85, 0.3)]


def _shirt_collar(color: Array, loop: Array, out: Array) -> list[MeshPart]:
    """A stand and a fall, open at the front (which is the middle of the loop)."""
    up = np.array([0.0, 1.0, 0.0])
    profile = ((0.02, -0.02), (0.05, 0.20), (0.10, 0.24), (0.17, 0.16), (0.26, -0.06))
    count = len(loop)
    turn = np.radians(np.arange(count) * 360 / count - 180)
    front = np.clip((np.cos(turn) - 0.75) / 0.25, 0, 1)[:, None]
    rows = [
        loop + away * out + (rise - front * (0.04 + 0.14 * (k > 2))) * up
        for k, (away, rise) in enumerate(profile)
    ]
    vertices = np.concatenate(rows)
    triangles = grid_triangles(len(rows), count, wrap=True)
    column = triangles % count
    open_front = (np.abs(column - count / 2) < 1.2).any(1)
    triangles = np.ascontiguousarray(triangles[~open_front])
    normals = vertex_normals(vertices, triangles)
    shade = np.clip(color * (1 + 0.06 * noise(vertices, 30, 2))[:, None], 0.005, 0.85)
    return [
        MeshPart(vertices + 0.01 * normals, triangles, CLOTH, shade, 0.8, 0.35),
        MeshPart(vertices - 0.01 * normals, triangles[:, ::-1], CLOTH, shade, 0.8, 0.35),
    ]
