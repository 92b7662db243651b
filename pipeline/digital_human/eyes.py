"""Eyeballs, teeth and tongue."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from pipeline.digital_human.expression import Appearance
from pipeline.digital_human.geometry import grid_triangles, triangulate
from pipeline.digital_human.identity import Identity
from pipeline.digital_human.kernels.mesh import noise
from pipeline.digital_human.parts import EYE, MOUTH, TEETH, MeshPart
from pipeline.digital_human.subdivision import subdivide
from pipeline.digital_human.template import HeadTemplate, load_template

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]


SMILE_SHOWS_DM = 0.05
"""How far the upper teeth are lowered: the base mesh hides them behind the lip of a laugh."""


@dataclass(frozen=True)
class Eyeballs:
    """Both eyes, the subject's left first.

    Attributes:
        centers: [2, 3] template units.
        radii: [2].
        to_world: [2, 3, 3] rotations from the gaze frame (z along the gaze).
    """

    centers: Array
    radii: Array
    to_world: Array


def place_eyes(
    template: HeadTemplate, neutral: Array, posed: Array, appearance: Appearance
) -> Eyeballs:
    """Fit spheres to the eye helpers and turn them to the gaze, with a little vergence."""
    centers, radii = [], []
    for side in ("eye_left", "eye_right"):
        index = np.unique(template.base.helpers[side])
        low, high = neutral[index].min(0), neutral[index].max(0)
        radius = (high[0] - low[0] + high[1] - low[1]) / 4
        center = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2] + radius])
        centers.append(center + posed[index].mean(0) - neutral[index].mean(0))
        radii.append(radius)
    vergence = math.degrees(math.atan2((centers[0][0] - centers[1][0]) / 2, 9.0))
    rotations = [
        _gaze_rotation(appearance.gaze_yaw_deg + turn, appearance.gaze_pitch_deg)
        for turn in (-vergence, vergence)
    ]
    return Eyeballs(np.array(centers), np.array(radii), np.array(rotations))


def _gaze_rotation(yaw_deg: float, pitch_deg: float) -> Array:
    yaw, pitch = math.radians(yaw_deg), -math.radians(pitch_deg)
    turn = np.array(
        [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    )
    nod = np.array(
        [
            [1, 0, 0],
            [0, math.cos(pitch), -math.sin(pitch)],
            [0, math.sin(pitch), math.cos(pitch)],
        ]
    )
    rotation: Array = turn @ nod
    return rotation


@cache
def _unit_eye() -> tuple[Array, Index]:
    """A sphere round the gaze axis z with a corneal bulge, dense at the front."""
    around = 40
    theta = np.concatenate([np.linspace(0, 0.7, 15), np.linspace(0.7, np.pi, 15)[1:]])[:, None]
    phi = np.linspace(0, 2 * np.pi, around, endpoint=False)
    sphere = np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], -1
    )
    bulge = 1 + 0.09 * np.clip(1 - (theta / 0.55) ** 2, 0, 1) ** 0.8
    vertices = (sphere * bulge[..., None]).reshape(-1, 3)
    triangles = grid_triangles(len(theta), around, wrap=True)
    return vertices, triangles[:, [0, 2, 1]]


def eye_meshes(eyes: Eyeballs) -> list[MeshPart]:
    """The two eyeballs; the iris is painted by the shader."""
    unit, triangles = _unit_eye()
    return [
        MeshPart(center + (unit * radius) @ rotation.T, triangles, EYE, (0.8, 0.75, 0.7), 0.1)
        for center, radius, rotation in zip(eyes.centers, eyes.radii, eyes.to_world, strict=True)
    ]


def mouth_meshes(identity: Identity, template: HeadTemplate, posed: Array) -> list[MeshPart]:
    """Teeth and tongue at a posed helper mesh [V, 3]."""
    yellowed = np.array([1.0, 1.0 - 0.06 * identity.age, 1.0 - 0.16 * identity.age])
    meshes = []
    for name in ("teeth_upper", "teeth_lower"):
        vertices, triangles, color = _refined_teeth(name, posed)
        if name == "teeth_upper":
            vertices = vertices - np.array([0.0, SMILE_SHOWS_DM, 0.02])
        meshes.append(MeshPart(vertices, triangles, TEETH, color * yellowed, 0.22, 0.8, 0.35))
    refine, index, triangles = _refined_helper("tongue", 1)
    vertices = refine @ posed[index]
    grain = 1 + 0.15 * noise(vertices, 25, 1)
    red = np.array([0.33, 0.09, 0.085]) * grain[:, None]
    meshes.append(MeshPart(vertices, triangles, MOUTH, red, 0.35, 0.7, 0.3))
    return meshes


@cache
def _refined_helper(name: str, levels: int) -> tuple[sp.csr_matrix, npt.NDArray[np.int32], Index]:
    """Subdivision matrix, coarse vertex indices and fine triangles of a helper."""
    quads = load_template().base.helpers[name]
    index = np.unique(quads)
    local = np.searchsorted(index, quads).astype(np.int32)
    refined = subdivide(local, len(index), levels)
    return refined.smooth, index, triangulate(refined.quads)


def _refined_teeth(name: str, posed: Array) -> tuple[Array, Index, Array]:
    refine, index, triangles = _refined_helper(name, 3)
    return refine @ posed[index], triangles, _teeth_color(name)


@cache
def _teeth_color(name: str) -> Array:
    """Gaps along the arch and gums at its root, painted on the template."""
    refine, index, _ = _refined_helper(name, 3)
    x, y, z = (refine @ load_template().base.vertices[index]).T
    upper = name == "teeth_upper"
    along = np.hypot(np.abs(x), 0.75 * (z.max() - z)) / (0.083 if upper else 0.066)
    gap = np.exp(-(((along - np.round(along)) / 0.085) ** 2))
    height = (y - y.min()) / (y.max() - y.min())
    root = height if upper else 1 - height
    gum = np.clip((root - 0.55 + 0.10 * np.cos(2 * np.pi * along)) / 0.12, 0, 1)[:, None]
    enamel = np.array([0.66, 0.60, 0.50]) * (1 - 0.5 * gap[:, None])
    color: Array = enamel * (1 - gum) + gum * np.array([0.40, 0.13, 0.12])
    return color
