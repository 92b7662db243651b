"""A head in the canonical world, lit once and renderable from any camera."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.cameras import Cameras
from pipeline.digital_human.assembly import CENTER, PosedHead, assemble
from pipeline.digital_human.expression import Appearance
from pipeline.digital_human.geometry import relief_normals
from pipeline.digital_human.identity import Identity
from pipeline.digital_human.kernels.bake import Receivers
from pipeline.digital_human.kernels.mesh import vertex_normals
from pipeline.digital_human.kernels.raster import (
    rasterize_segments,
    rasterize_triangles,
    resolve,
)
from pipeline.digital_human.kernels.shade import (
    Eyes,
    Lights,
    StrandSurface,
    Surface,
    Target,
    blend_lenses,
    shade,
)
from pipeline.digital_human.light import (
    Baked,
    BakeQuality,
    Lighting,
    Occluders,
    bake,
    sample_lighting,
)
from pipeline.digital_human.parts import (
    EYE,
    LENS,
    MOUTH,
    TEETH,
    Hairs,
    Meshes,
    join_meshes,
    join_strands,
)
from pipeline.digital_human.template import HeadTemplate, load_template

Array = npt.NDArray[np.float64]

NOTHING = 255
MIN_STRAND_HALF_WIDTH_PX = 0.36
FACE_IRRADIANCE = 0.92
TONE_STEPS = 4096
TONE_SCALE = 1365.0


@dataclass(frozen=True)
class Frame:
    """One rendered view with its ground truth.

    Attributes:
        rgba: [H, W, 4] uint8 sRGB, straight alpha, rgb 0 where alpha is 0.
        depth: [H, W] float32 along the camera's z axis in world units, 0 for background.
        normals: [H, W, 3] float32 unit world normals, 0 for background.
        parts: [H, W] uint8 index into `parts.PART_NAMES`, 255 for background.
        landmarks: [5, 2] float32 pixels: image-left eye, image-right eye, nose tip, image-left
            mouth corner, image-right mouth corner (as seen from the front).
        landmark_visible: [5] bool, by depth test.
    """

    rgba: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32]
    parts: npt.NDArray[np.uint8]
    landmarks: npt.NDArray[np.float32]
    landmark_visible: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HeadScene:
    """A built and lit head in world units; make it with `build_head`, change it with ``replace``.

    Attributes:
        identity, appearance: what it was built from.
        meshes: all surfaces.
        normals: [N, 3] shading normals.
        hairs: all strands.
        eyes: centres, inverse rotations and irises.
        lights: key lights and gradient, exposed for the face.
        mesh_light, hair_light: baked light of mesh vertices and hair points.
        landmarks: [5, 3] world positions, in the order of `Frame.landmarks`.
        lens_tint: linear RGB and opacity [4], or None.
    """

    identity: Identity
    appearance: Appearance
    meshes: Meshes
    normals: Array
    hairs: Hairs
    eyes: Eyes
    lights: Lights
    mesh_light: Baked
    hair_light: Baked
    landmarks: Array
    lens_tint: Array | None

    def render(self, cameras: Cameras, size_px: int, samples: int = 2) -> npt.NDArray[np.uint8]:
        """Render every camera.

        Args:
            cameras: V cameras of the canonical frame.
            size_px: side of the square images.
            samples: supersampling per side.

        Returns:
            [V, size, size, 4] uint8 sRGB with straight alpha; rgb is 0 where alpha is 0.
        """
        frames = [self.frame(cameras, view, size_px, samples) for view in range(len(cameras))]
        return np.stack([frame.rgba for frame in frames])

    def frame(self, cameras: Cameras, view: int, size_px: int, samples: int = 2) -> Frame:
        """Render one camera with depth, normals, parts and landmarks.

        Ground truth is sampled in the middle of each pixel if ``samples`` is odd; for an even
        number it is taken half a sample to the lower right of it.
        """
        pose = cameras.cam_to_world[view].astype(np.float64)
        pixels = size_px * samples
        focal = 0.5 * pixels / math.tan(math.radians(cameras.fov_y_deg) / 2)
        surface = Surface(
            _project(self.meshes.vertices, pose, focal, pixels),
            self.meshes.triangles,
            self.meshes.parts,
            self._mesh_rows,
        )
        strands = StrandSurface(
            _project(self.hairs.points, pose, focal, pixels), self.hairs.segments, self._hair_rows
        )
        depth = np.zeros((pixels, pixels), np.float32)
        ids = np.full((pixels, pixels), -1, np.int32)
        opaque, total = self._opaque_count(), len(self.meshes.triangles)
        clip = self.meshes.clip
        rasterize_triangles(surface.screen, surface.triangles, clip, ids, depth, 0, opaque)
        half_width = np.maximum(
            self.hairs.half_width * focal * strands.screen[:, 2], MIN_STRAND_HALF_WIDTH_PX
        )
        rasterize_segments(strands.screen, strands.segments, half_width, ids, depth, total)
        target = Target(
            np.zeros((pixels, pixels, 4), np.float32),
            np.zeros((pixels, pixels, 3), np.float32),
            np.full((pixels, pixels), NOTHING, np.uint8),
        )
        eye_point = np.ascontiguousarray(pose[:3, 3])
        shade(ids, surface, strands, self.eyes, self.lights, eye_point, target)
        if self.lens_tint is not None:
            lens_ids = np.full_like(ids, -1)
            lens_depth = depth.copy()
            rasterize_triangles(
                surface.screen, surface.triangles, clip, lens_ids, lens_depth, opaque, total
            )
            blend_lenses(lens_ids, surface, self.lens_tint, self.lights, eye_point, target)
        rgba = np.zeros((size_px, size_px, 4), np.uint8)
        resolve(target.color, samples, _tone_curve(), rgba)
        return self._frame(cameras, view, size_px, samples, rgba, depth, target)

    def _frame(
        self,
        cameras: Cameras,
        view: int,
        size_px: int,
        samples: int,
        rgba: npt.NDArray[np.uint8],
        depth: npt.NDArray[np.float32],
        target: Target,
    ) -> Frame:
        middle = slice(samples // 2, None, samples)
        near = depth[middle, middle]
        metric = np.where(near > 0, 1 / np.maximum(near, 1e-9), 0).astype(np.float32)
        points = self.landmarks.astype(np.float32)
        pixels = cameras[[view]].project(points, size_px)[0]
        offset = points - cameras.cam_to_world[view, :3, 3]
        distance = offset @ cameras.cam_to_world[view, :3, 2]
        return Frame(
            rgba=rgba,
            depth=metric,
            normals=target.normals[middle, middle].copy(),
            parts=target.parts[middle, middle].copy(),
            landmarks=pixels,
            landmark_visible=_visible(pixels, distance, metric),
        )

    def _opaque_count(self) -> int:
        return int((self.meshes.parts != LENS).sum())

    @cached_property
    def _mesh_rows(self) -> npt.NDArray[np.float32]:
        meshes, light = self.meshes, self.mesh_light
        return _rows(meshes.vertices, self.normals, meshes.albedo, light, meshes.gloss)

    @cached_property
    def _hair_rows(self) -> npt.NDArray[np.float32]:
        hairs, light = self.hairs, self.hair_light
        return _rows(hairs.points, hairs.tangents, hairs.color, light, hairs.sheen[:, None])


def build_head(
    identity: Identity,
    appearance: Appearance,
    hair_quality: float = 0.7,
    bake_quality: BakeQuality | None = None,
) -> HeadScene:
    """Build and light a head: one to three CPU seconds; views then cost tens of milliseconds.

    Args:
        identity: from `sample_identity`.
        appearance: from `sample_appearance`.
        hair_quality: share of the full strand count; 0.7 suits 256 px, 1.0 suits 512 px.
        bake_quality: directions and depth-map size of the light bake.
    """
    template = load_template()
    head = assemble(identity, appearance, template, hair_quality)
    meshes, hairs = _to_world(head)
    flat = vertex_normals(meshes.vertices, meshes.triangles)
    normals = flat.copy()
    count = len(head.vertices)
    normals[:count] = relief_normals(
        meshes.vertices[:count], flat[:count], template.triangles, head.skin.relief
    )
    lighting = sample_lighting(identity.light_seed)
    receivers = Receivers(
        np.concatenate([meshes.vertices, hairs.points[::2]]),
        np.concatenate([normals, hairs.tangents[::2]]),
        np.repeat(np.array([0, 1], np.int8), [len(meshes.vertices), len(hairs.points[::2])]),
    )
    occluders = _occluders(template, meshes, hairs)
    baked = bake(lighting, receivers, occluders, bake_quality or BakeQuality())
    baked = _along_strands(baked, len(meshes.vertices), hairs.lit_by // 2)
    mesh_light, hair_light, gain = _expose(template, meshes, baked, lighting.exposure)
    return HeadScene(
        identity=identity,
        appearance=appearance,
        meshes=meshes,
        normals=normals,
        hairs=hairs,
        eyes=Eyes(
            (head.eyes.centers - CENTER) * head.scale,
            np.ascontiguousarray(head.eyes.to_world.transpose(0, 2, 1)),
            np.array(identity.iris),
        ),
        lights=_lights(lighting, gain),
        mesh_light=mesh_light,
        hair_light=hair_light,
        landmarks=(head.landmarks - CENTER) * head.scale,
        lens_tint=None if head.lens_tint is None else np.array(head.lens_tint),
    )


def _along_strands(baked: Baked, vertices: int, lit_by: npt.NDArray[np.int32]) -> Baked:
    """Spread the light of every second hair point to the points between."""
    spread = [
        np.concatenate([light[:vertices], light[vertices:][lit_by].mean(1)])
        for light in (baked.irradiance, baked.visibility)
    ]
    return Baked(*spread)


def _rows(
    points: Array, directions: Array, albedo: Array, light: Baked, gloss: Array
) -> npt.NDArray[np.float32]:
    """The columns that `kernels.shade` names, side by side."""
    columns = (points, directions, albedo, light.irradiance, light.visibility, gloss)
    return np.ascontiguousarray(np.concatenate(columns, 1), np.float32)


def _to_world(head: PosedHead) -> tuple[Meshes, Hairs]:
    meshes, hairs = join_meshes(head.meshes), join_strands(head.strands)
    meshes.vertices = np.ascontiguousarray((meshes.vertices - CENTER) * head.scale)
    hairs.points = np.ascontiguousarray((hairs.points - CENTER) * head.scale)
    hairs.half_width = hairs.half_width * head.scale
    return meshes, hairs


def _occluders(template: HeadTemplate, meshes: Meshes, hairs: Hairs) -> Occluders:
    """Level-one head triangles (a quarter as many) and all other opaque ones; baked hair points."""
    head = len(template.triangles)
    others = meshes.triangles[head:][meshes.parts[head:] != LENS]
    triangles = np.concatenate([template.coarse_triangles, others]).astype(np.int32)
    triangles = triangles[meshes.clip[triangles].min(1) > 0]
    drawn = np.zeros(len(hairs.points), bool)
    drawn[hairs.segments.ravel()] = True
    points = np.flatnonzero(drawn[::2]) + len(meshes.vertices)
    used, inverse = np.unique(triangles, return_inverse=True)
    local: npt.NDArray[np.int32] = np.ascontiguousarray(inverse.reshape(-1, 3), np.int32)
    return Occluders(meshes.vertices[used], local, points.astype(np.int32))


def _expose(
    template: HeadTemplate, meshes: Meshes, baked: Baked, exposure: float
) -> tuple[Baked, Baked, float]:
    """Diffuse light under the skin, then scale all light so that the face is well exposed."""
    count, total = len(template.vertices), len(meshes.vertices)
    irradiance, visibility = baked.irradiance.copy(), baked.visibility.copy()
    for channel, (blur, share) in enumerate(
        zip(template.skin_blur, (0.70, 0.70, 0.50), strict=True)
    ):
        sharp = irradiance[:count, channel]
        irradiance[:count, channel] = (1 - share) * sharp + share * (blur @ sharp)
    soft = template.skin_blur[2] @ visibility[:count]
    visibility[:count] = 0.5 * visibility[:count] + 0.5 * soft
    face = (template.nose + template.cheeks + template.forehead) > 0.5
    gain = FACE_IRRADIANCE * exposure / float(irradiance[:count][face].mean())
    irradiance *= gain
    mean_face = irradiance[:count][face].mean(0)
    irradiance[:count] *= (1 - 0.55 * template.inner_mouth)[:, None]
    # Deep sockets would leave the eyes black; real ones see the cheeks' bounced light.
    bounce = 0.22 * np.clip(template.sockets, 0, 1)[:, None]
    irradiance[:count] = (1 - bounce) * irradiance[:count] + bounce * mean_face
    eyes = _vertices_of(meshes, (EYE,))
    irradiance[eyes] = 0.6 * irradiance[eyes] + 0.32 * mean_face
    mouth = _vertices_of(meshes, (TEETH, MOUTH))
    irradiance[mouth] = 0.55 * irradiance[mouth] + 0.16 * mean_face
    teeth = _vertices_of(meshes, (TEETH,))
    irradiance[teeth] += 0.22 * mean_face
    hair = Baked(irradiance[total:] * 1.35 + 0.06, visibility[total:])
    return Baked(irradiance[:total], visibility[:total]), hair, gain


def _vertices_of(meshes: Meshes, parts: tuple[int, ...]) -> npt.NDArray[np.int32]:
    return np.unique(meshes.triangles[np.isin(meshes.parts, parts)])


def _lights(lighting: Lighting, gain: float) -> Lights:
    return Lights(
        lighting.direction,
        lighting.color * gain * 1.3,
        0.25 / lighting.sharpness,
        lighting.sky * gain,
        lighting.ground * gain,
    )


def _project(points: Array, cam_to_world: Array, focal_px: float, size_px: int) -> Array:
    """World points [N, 3] to (x pixels, y pixels, 1 / depth)."""
    local = (points - cam_to_world[:3, 3]) @ cam_to_world[:3, :3]
    nearness = 1.0 / local[:, 2]
    screen = np.empty_like(local)
    screen[:, 0] = size_px / 2 + focal_px * local[:, 0] * nearness
    screen[:, 1] = size_px / 2 + focal_px * local[:, 1] * nearness
    screen[:, 2] = nearness
    return screen


def _visible(
    pixels: npt.NDArray[np.float32],
    distance: npt.NDArray[np.floating],
    depth: npt.NDArray[np.float32],
) -> npt.NDArray[np.bool_]:
    """Inside the image and not more than 0.05 world units behind the drawn surface."""
    size = len(depth)
    inside = ((pixels >= 0) & (pixels < size)).all(1)
    column, row = np.clip(pixels.astype(int), 0, size - 1).T
    drawn = depth[row, column]
    visible: npt.NDArray[np.bool_] = inside & ((drawn == 0) | (drawn > distance - 0.05))
    return visible


def _tone_curve() -> Array:
    """Display value by linear value: a soft shoulder above 0.7, then the sRGB curve."""
    linear = (np.arange(TONE_STEPS) + 0.5) / TONE_SCALE
    linear = np.where(linear < 0.7, linear, 0.7 + 0.3 * (1 - np.exp(-(linear - 0.7) / 0.3)))
    curve: Array = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return curve
