"""Everything about the head that no identity changes: regions, landmarks, blur matrices.

All regions are soft masks over the fine template vertices, painted in template coordinates
(decimetres, y up, z front), because the texture atlas is too coarse around the face.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.spatial import cKDTree

from pipeline.digital_human.assets import BaseMesh, load_base_mesh
from pipeline.digital_human.geometry import normalize, triangulate
from pipeline.digital_human.kernels.mesh import vertex_normals
from pipeline.digital_human.subdivision import subdivide

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int32]

SKULL_CENTER = np.array([0.0, 7.45, 0.55])
BUST_CENTER = np.array([0.0, 6.75, 0.2])
BUST_RADII = np.array([1.80, 1.66, 1.42])
"""The ellipsoid, template units, at which the bust below the neck is cut away."""
BLUR_SIGMA_DM = (0.035, 0.018, 0.010)
"""How far red, green and blue light spreads under skin, decimetres."""


def ramp(value: Array | float, width: float) -> Array:
    """0 below zero, 1 above ``width``, linear between."""
    return np.clip(np.asarray(value) / width, 0.0, 1.0)


@dataclass(frozen=True)
class Landmarks:
    """Fine-vertex indices of named points; pairs are (subject's left, right)."""

    nose: int
    chin: int
    top: int
    mouth: tuple[int, int]
    ear_top: tuple[int, int]
    ear_middle: tuple[int, int]
    ear_lobe: tuple[int, int]
    temple: tuple[int, int]


class HeadTemplate:
    """The subdivided template: 78 k vertices, 1 mm edges in the face.

    Attributes:
        base: the coarse mesh with its targets.
        refine: [N, body] sparse matrix from coarse to fine vertices.
        vertices: [N, 3] float64 template positions; the first ``coarse_count`` are level one's.
        triangles: [M, 3] int32 fine triangles; ``coarse_triangles`` are level one's.
        lips, ears, lids, inner_mouth: painted masks, [N] in [0, 1].
        beard, moustache, goatee: where facial hair grows, [N] in [0, 1].
        bust: positive inside the visible bust, negative where it is cut away.
    """

    def __init__(self) -> None:
        self.base: BaseMesh = load_base_mesh()
        first = subdivide(self.base.quads, self.base.body_count)
        second = subdivide(first.quads, first.smooth.shape[0])
        self.coarse_count = int(first.smooth.shape[0])
        self.refine: sp.csr_matrix = (second.smooth @ first.smooth).tocsr()
        self.vertices: Array = np.ascontiguousarray(self.fine(self.base.vertices))
        self.triangles = triangulate(second.quads)
        self.coarse_triangles = triangulate(first.quads)
        self._paint_masks()
        self._paint_facial_hair()
        reach = (((self.vertices - BUST_CENTER) / BUST_RADII) ** 2).sum(1)
        self.bust: Array = np.where(self.vertices[:, 1] > 6.4, 1.0, 1 - reach)

    def fine(self, coarse: Array) -> Array:
        """Fine vertices [N, 3] of coarse ones [V, 3]."""
        return np.ascontiguousarray(self.refine @ coarse[: self.base.body_count])

    def _paint_masks(self) -> None:
        x, y, z = self.vertices.T
        across, masks = np.abs(x), self.base.masks
        self.lips = masks["lips"] * (z > 1.25) * (y > 6.45) * (y < 6.8) * (across < 0.32)
        self.ears = masks["ears"] * (across > 0.66)
        self.lids = masks["eyelids"] * (z > 1.2) * (y > 7.15) * (y < 7.42)
        in_mouth = (z < 1.56) & (y < 6.9) & (z > 0.3) & (across < 0.4)
        self.inner_mouth = masks["inside_mouth"] * in_mouth
        self.nose = self._spot((0, 6.93, 1.65), (0.14, 0.12, 0.14))
        self.cheeks = self._spots((0.42, 6.95, 1.35), (0.22, 0.2, 0.3))
        self.under_eyes = self._spots((0.31, 7.12, 1.4), (0.2, 0.08, 0.2))
        self.sockets = self._spots((0.31, 7.27, 1.45), (0.22, 0.12, 0.25))
        self.forehead = self._spot((0, 7.9, 1.5), (0.5, 0.3, 0.3))
        self.chin = self._spot((0, 6.3, 1.5), (0.2, 0.15, 0.2))
        from_skull = (self.vertices - SKULL_CENTER) * np.array([1, 1, 0.95])
        self.exterior = (np.linalg.norm(from_skull, axis=1) > 0.55) | (y < 6.9)
        self.azimuth_deg, self.elevation_deg = skull_angles(self.vertices)

    def _spot(self, center: tuple[float, ...], radii: tuple[float, ...]) -> Array:
        scaled = (self.vertices - np.array(center)) / np.array(radii)
        spot: Array = np.exp(-(scaled**2).sum(1))
        return spot

    def _spots(self, center: tuple[float, ...], radii: tuple[float, ...]) -> Array:
        return self._spot(center, radii) + self._spot((-center[0], *center[1:]), radii)

    def _paint_facial_hair(self) -> None:
        x, y, z = self.vertices.T
        across = np.abs(x)
        bare = (1 - np.clip(3 * self.lips, 0, 1)) * (self.inner_mouth < 0.3)
        cheek_line = 6.60 + 0.75 * ramp(across - 0.28, 0.45) ** 1.3
        throat = ramp(6.25 - y, 0.1) * ramp(0.95 - z, 0.15)
        # Down to the jaw's corner the beard ends behind the cheek; above, it meets the sideburn.
        behind = 0.78 - 0.17 * ramp(y - 6.62, 0.2)
        jaw = ramp(cheek_line - y, 0.12) * ramp(y - 6.02, 0.12) * ramp(z - behind, 0.12)
        upper_line = 6.86 - 0.10 * ramp(across, 0.3)
        lip = ramp(0.34 - across, 0.10) * ramp(y - 6.70, 0.06)
        lip = lip * ramp(upper_line - y, 0.06) * ramp(z - 1.35, 0.08)
        chin = ramp(0.30 - across, 0.06) * ramp(6.52 - y, 0.06) * ramp(z - 1.05, 0.1)
        centre = np.clip((across - 0.02) / 0.05, 0.75, 1)
        self.beard = np.maximum(jaw * (1 - throat) * centre, lip) * bare
        self.moustache = lip * bare
        self.goatee = chin * (y > 6.08) * bare

    @cached_property
    def landmarks(self) -> Landmarks:
        """Indices of the named points."""
        x, y, z = self.vertices.T
        middle = np.abs(x) < 0.03
        nose = _best(middle & (y > 6.7) & (y < 7.3), z)
        chin = _best(middle & (y < 6.5) & (z > 1.2), -np.abs(y - 6.2))
        lip = (self.lips > 0.4) & (z > 1.3)
        ear = self.ears > 0.3

        def pair(point: tuple[float, float, float]) -> tuple[int, int]:
            left, right = np.array(point), np.array(point) * np.array([-1, 1, 1])
            return tuple(int(((self.vertices - p) ** 2).sum(1).argmin()) for p in (left, right))  # type: ignore[return-value]

        return Landmarks(
            nose=nose,
            chin=chin,
            top=int(y.argmax()),
            mouth=(_best(lip, x), _best(lip, -x)),
            ear_top=pair((0.80, 7.30, 0.62)),
            ear_middle=pair((0.84, 7.12, 0.5)),
            ear_lobe=(_best(ear & (x > 0), -y), _best(ear & (x < 0), -y)),
            temple=pair((0.70, 7.35, 1.0)),
        )

    @cached_property
    def triangle_areas(self) -> Array:
        """[M] float64, square decimetres."""
        corners = self.vertices[self.triangles]
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area: Array = 0.5 * np.linalg.norm(cross, axis=1)
        return area

    @cached_property
    def triangle_centers(self) -> Array:
        """[M, 3] float64."""
        centers: Array = self.vertices[self.triangles].mean(1)
        return centers

    @cached_property
    def triangle_normals(self) -> Array:
        """[M, 3] float64, unit."""
        corners = self.vertices[self.triangles]
        return normalize(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))

    @cached_property
    def scalp_triangles(self) -> npt.NDArray[np.intp]:
        """Outward triangles of the head above the neck: where hair may be rooted."""
        outward = self.triangle_centers - SKULL_CENTER
        facing = (outward * self.triangle_normals).sum(1)
        above = self.triangle_centers[:, 1] > 6.6
        return np.flatnonzero((facing > 0.25 * np.linalg.norm(outward, axis=1)) & above)

    @cached_property
    def face_triangles(self) -> tuple[npt.NDArray[np.intp], cKDTree]:
        """Front triangles of the brow region and a tree over their (x, y) centres."""
        center = self.triangle_centers
        front = (self.triangle_normals[:, 2] > 0.15) & (center[:, 2] > 1.1)
        index = np.flatnonzero(front & (center[:, 1] > 7.0) & (center[:, 1] < 8.4))
        return index, cKDTree(center[index, :2])

    @cached_property
    def skin_blur(self) -> tuple[sp.csr_matrix, sp.csr_matrix, sp.csr_matrix]:
        """Row-normalised Gaussian blurs over the surface, one per colour channel."""
        neighbours = 40
        tree = cKDTree(self.vertices)
        distance, index = tree.query(self.vertices, neighbours)
        area = np.bincount(
            self.triangles.ravel(), np.repeat(self.triangle_areas / 3, 3), len(self.vertices)
        )
        normals = vertex_normals(self.vertices, self.triangles)
        same_side = (normals[index] * normals[:, None]).sum(-1) > 0.1
        start = np.arange(0, index.size + 1, neighbours)
        blurs = []
        for sigma in BLUR_SIGMA_DM:
            weight = np.exp(-(distance**2) / (2 * sigma**2)) * area[index] * same_side
            weight[:, 0] = np.maximum(weight[:, 0], 1e-9)
            weight /= weight.sum(1, keepdims=True)
            weight[weight < 1e-4] = 0
            blur = sp.csr_matrix(
                (weight.ravel().astype(np.float32), index.ravel(), start),
                (len(self.vertices), len(self.vertices)),
            )
            blur.eliminate_zeros()
            blurs.append(blur)
        return blurs[0], blurs[1], blurs[2]


def skull_angles(points: Array) -> tuple[Array, Array]:
    """Unsigned azimuth (0 front, 180 back) and elevation about the skull's centre, degrees."""
    offset = points - SKULL_CENTER
    azimuth = np.degrees(np.arctan2(np.abs(offset[:, 0]), offset[:, 2]))
    sine = offset[:, 1] / (np.linalg.norm(offset, axis=1) + 1e-12)
    return azimuth, np.degrees(np.arcsin(sine))


def _best(candidates: npt.NDArray[np.bool_], score: Array) -> int:
    index = np.flatnonzero(candidates)
    return int(index[score[index].argmax()])


@cache
def load_template() -> HeadTemplate:
    """The head template, built once per process (about two seconds)."""
    return HeadTemplate()
