"""From identity and appearance to posed meshes and strands, in template units."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.digital_human.accessories import (
    Accessory,
    Fitting,
    earrings,
    glasses,
    headphones,
)
from pipeline.digital_human.expression import Appearance
from pipeline.digital_human.eyes import Eyeballs, eye_meshes, mouth_meshes, place_eyes
from pipeline.digital_human.facial_hair import facial_hair
from pipeline.digital_human.growth import Collider
from pipeline.digital_human.hair import head_hair
from pipeline.digital_human.hats import HATS, hat
from pipeline.digital_human.identity import Identity
from pipeline.digital_human.kernels.mesh import vertex_normals
from pipeline.digital_human.parts import SKIN, MeshPart, Strands
from pipeline.digital_human.skin import Skin, paint_skin
from pipeline.digital_human.template import HeadTemplate
from pipeline.digital_human.wardrobe import dress

Array = npt.NDArray[np.float64]

CENTER = np.array([0.0, 7.20, 0.42])
"""The template point that becomes the world origin."""
WORLD_PER_DM = 0.287
TEMPLATE_HEAD_DM = 2.29
"""Chin to crown of an average head before alignment."""


@dataclass
class PosedHead:
    """Everything that will be drawn, in template units.

    Attributes:
        vertices, normals: [N, 3] posed fine head mesh; it is the first mesh part.
        meshes: all surfaces, the head first.
        strands: all hair.
        eyes: eyeballs with their gaze.
        skin: painted skin of the head mesh.
        landmarks: [5, 3] image-left eye (the subject's right), image-right eye, nose tip,
            image-left and image-right mouth corner.
        lens_tint: of glasses, if any.
        scale: world units per template unit for this person.
    """

    vertices: Array
    normals: Array
    meshes: list[MeshPart]
    strands: list[Strands]
    eyes: Eyeballs
    skin: Skin
    landmarks: Array
    lens_tint: tuple[float, float, float, float] | None
    scale: float


@dataclass(frozen=True)
class Alignment:
    """The similarity that puts a shaped head onto the template's crown, chin and ears."""

    source: Array
    target: Array
    scale: float
    head_height_dm: float

    def apply(self, points: Array) -> Array:
        """Aligned points [N, 3]."""
        return (points - self.source) * self.scale + self.target


def align(template: HeadTemplate, coarse: Array) -> Alignment:
    """Fit the alignment of one shaped coarse mesh [V, 3]; heads vary by decimetres in height."""
    marks = template.landmarks
    index = [marks.top, marks.chin, *marks.ear_top]
    have = template.refine[index] @ coarse[: template.base.body_count]
    want = template.vertices[index]
    height = float(have[0, 1] - have[1, 1])
    return Alignment(
        source=np.array([0, (have[0, 1] + have[1, 1]) / 2, have[2:, 2].mean()]),
        target=np.array([0, (want[0, 1] + want[1, 1]) / 2, want[2:, 2].mean()]),
        scale=float(want[0, 1] - want[1, 1]) / height,
        head_height_dm=height,
    )


def assemble(
    identity: Identity, appearance: Appearance, template: HeadTemplate, quality: float
) -> PosedHead:
    """Pose the head and make everything on it.

    Args:
        identity: the person.
        appearance: expression, gaze and accessory.
        template: the head template.
        quality: share of the full hair strand count.
    """
    shaped = template.base.shaped(identity.shape)
    alignment = align(template, shaped)
    neutral = alignment.apply(shaped)
    combined = dict(identity.shape)
    for name, weight in appearance.unit_weights.items():
        combined[name] = combined.get(name, 0.0) + weight
    posed = alignment.apply(template.base.shaped(combined))
    rest, vertices = template.fine(neutral), template.fine(posed)
    rest_normals = vertex_normals(rest, template.triangles)
    normals = vertex_normals(vertices, template.triangles)
    eyes = place_eyes(template, neutral, posed, appearance)
    skin = paint_skin(identity, template)
    clothes = dress(identity, template, rest, rest_normals)
    accessory = _accessory(identity, appearance, template, vertices, normals, eyes)
    bare = np.where(clothes.depth_below_neckline > 0.10, -1.0, template.bust)
    head = MeshPart(
        vertices, template.triangles, SKIN, skin.albedo, skin.roughness, skin.specular, 1.0, bare
    )
    meshes = [head, *eye_meshes(eyes), *mouth_meshes(identity, template, posed)]
    hair = head_hair(identity, template, rest, rest_normals, quality)
    coarse = template.coarse_count
    hair = _fit_hair(hair, accessory, Collider(vertices[:coarse], normals[:coarse]))
    hair += facial_hair(identity, template, posed, vertices, normals, quality)
    size = (alignment.head_height_dm / TEMPLATE_HEAD_DM) ** 0.30
    return PosedHead(
        vertices=vertices,
        normals=normals,
        meshes=meshes + clothes.meshes + accessory.meshes,
        strands=hair,
        eyes=eyes,
        skin=skin,
        landmarks=_landmarks(template, vertices, eyes),
        lens_tint=accessory.lens_tint,
        scale=WORLD_PER_DM * size,
    )


def _accessory(
    identity: Identity,
    appearance: Appearance,
    template: HeadTemplate,
    vertices: Array,
    normals: Array,
    eyes: Eyeballs,
) -> Accessory:
    kind = appearance.accessory
    if kind is None:
        return Accessory()
    rng = np.random.default_rng((identity.seed, appearance.number, 77))
    fit = Fitting(template, vertices, normals, eyes, rng)
    if kind in HATS:
        return hat(fit, kind)
    if kind == "headphones":
        return headphones(fit)
    if kind == "earrings":
        return earrings(fit)
    return glasses(fit, dark=kind == "sunglasses")


def _fit_hair(bundles: list[Strands], accessory: Accessory, collider: Collider) -> list[Strands]:
    """Press hair under an accessory's ceiling and drop what it hides."""
    fitted = []
    for bundle in bundles:
        points = bundle.points.reshape(-1, 3)
        half_width = bundle.half_width.copy()
        if accessory.hair_ceiling is not None:
            height, index = collider.height(points)
            excess = np.maximum(0.0, height - accessory.hair_ceiling(points))
            points = points - collider.normals[index] * excess[:, None]
        if accessory.hides_hair is not None:
            half_width[accessory.hides_hair(points).reshape(half_width.shape)] = -1
        shape = bundle.points.shape
        fitted.append(replace(bundle, points=points.reshape(shape), half_width=half_width))
    return fitted


def _landmarks(template: HeadTemplate, vertices: Array, eyes: Eyeballs) -> Array:
    marks = template.landmarks
    front = eyes.centers + eyes.radii[:, None] * np.array([0.0, 0.0, 1.0])
    mouth_left, mouth_right = (vertices[index] for index in marks.mouth)
    return np.stack([front[1], front[0], vertices[marks.nose], mouth_right, mouth_left])
