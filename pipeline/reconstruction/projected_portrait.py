"""The portrait as the orbit's cameras would see it, laid over generated views.

A small model knows how a head is shaped, but not what its face looks like; the portrait knows
that. So its pixels are taken to their depth and drawn from the cameras near the portrait's.

Legend: V views, N points of the portrait, P and Q sides of images.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.cameras import Cameras
from pipeline.images import Bytes, resize
from pipeline.portrait.alpha import premultiply
from pipeline.reconstruction.hull import hull_field
from pipeline.reconstruction.laid_portrait import Surface
from pipeline.reconstruction.masks import alpha_from_white
from pipeline.reconstruction.portrait_depth import drawn, portrait_depth, rays, rise, seen_by

_FACING = (0.2, 0.5)
"""Cosines of surface and portrait between which trust in a pixel rises from none to full."""
_SHOWN = (0.05, 0.35)
"""The same of surface and view."""
_COVERED = (0.75, 0.95)
"""The same of coverage by points, which have holes where a surface turns away."""
_FAR_DEG, _BESIDE_DEG = 65.0, 35.0
"""Angles between view and portrait at which trust begins and is full."""
_OTHER_DEG, _SAME_DEG = 15.0, 6.0
"""The same for pixels whatever they face: in the portrait's own view depth does not matter."""
_STRAY_PX, _NEAR_PX = 14.0, 6.0
"""The same for distances from the hull's silhouette: what is farther off is somebody else."""
_MIRROR_FROM_DEG = 15.0
_LEAST_ALPHA = 0.5


@dataclass(frozen=True)
class _Points:
    """Pixels of a portrait in space.

    Attributes:
        surface: where they are.
        colors: [N, 3] in [0, 1].
        faces: [N] in [0, 1], how far they may be seen from elsewhere.
        belongs: [N] in [0, 1], how far they are part of this head.
    """

    surface: Surface
    colors: Tensor
    faces: Tensor
    belongs: Tensor

    def __getitem__(self, chosen: Tensor) -> "_Points":
        parts = self.surface, self.colors, self.faces, self.belongs
        return _Points(*(part[chosen] for part in parts))  # type: ignore[arg-type]


@torch.no_grad()
def project_portrait(
    views: Bytes,
    cameras: Cameras,
    portrait: Bytes,
    portrait_camera: Cameras,
    size_px: int,
    *,
    threads: int | None = None,
) -> Bytes:
    """Enlarge views, and lay the portrait over them where they show the same surface.

    Faces are nearly symmetric: where a portrait from the side shows nothing, its mirror image does.

    Args:
        views: [V, P, P, 3] uint8 on white.
        cameras: their V cameras.
        portrait: [Q, Q, 4] uint8 straight alpha, framed as the views are.
        portrait_camera: one camera, from where it was taken.
        size_px: side of the result.
        threads: CPU threads; the result does not depend on it.

    Returns:
        [V, size_px, size_px, 3] uint8.
    """
    made = torch.from_numpy(resize(views, size_px)).float() / 255
    field = torch.from_numpy(hull_field(alpha_from_white(views), cameras, threads=threads))
    taken = [(portrait, portrait_camera)]
    if abs(portrait_camera.azimuths_deg[0]) > _MIRROR_FROM_DEG:
        taken.insert(0, (portrait[:, ::-1], portrait_camera.mirrored()))
    for picture, camera in taken:
        points = _points(picture, camera, portrait_depth(field, camera, threads), size_px)
        angles_deg = _angles_deg(cameras, camera)
        for view in np.flatnonzero(angles_deg < _FAR_DEG).tolist():
            seen = cameras[[view]], float(angles_deg[view])
            color, weight = _layer(points, *seen, size_px, threads)
            made[view].lerp_(color, weight[..., None])
    return (made.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _points(
    portrait: Bytes, camera: Cameras, depths: tuple[Tensor, Tensor], size_px: int
) -> _Points:
    """The portrait's pixels that show a head, at the size of the views."""
    pixels = torch.from_numpy(resize(premultiply(portrait)[None], size_px)[0]).float() / 255
    alpha = pixels[..., 3]
    color = (pixels[..., :3] / alpha.clamp(min=1e-3)[..., None]).clamp(0, 1)
    depth, stray_px = (
        functional.interpolate(one[None, None], (size_px, size_px), mode="bilinear")[0, 0]
        for one in depths
    )
    origin, directions = rays(camera, size_px)
    places = origin + directions * depth[..., None]
    normals, facing = _normals(places, directions)
    spacings = (directions[0, 1] - directions[0, 0]).norm() * depth
    shown = (alpha > _LEAST_ALPHA) & (stray_px < _STRAY_PX)
    return _Points(
        Surface(places[shown], normals[shown], spacings[shown]),
        color[shown],
        rise(facing[shown], _FACING),
        alpha[shown] * (1 - rise(stray_px[shown], (_NEAR_PX, _STRAY_PX))),
    )


def _normals(places: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Normals [P, P, 3] towards the camera, and the cosines [P, P] at which they face it."""
    down, right = torch.gradient(places, dim=(0, 1))
    normals = functional.normalize(torch.linalg.cross(down, right), dim=-1)
    facing = -(normals * functional.normalize(directions, dim=-1)).sum(-1)
    return normals * facing.sign()[..., None], facing.abs()


def _layer(
    points: _Points, camera: Cameras, angle_deg: float, size_px: int, threads: int | None
) -> tuple[Tensor, Tensor]:
    """What a camera sees of the points: colours [P, P, 3], and their weights [P, P]."""
    _, shown = seen_by(camera, points.surface)
    front = shown > 0
    points, shown = points[front], rise(shown[front], _SHOWN)
    angle = torch.tensor(angle_deg)
    same = 1 - rise(angle, (_SAME_DEG, _OTHER_DEG))
    trust = torch.lerp(points.faces * shown, torch.ones_like(shown), same) * points.belongs
    channels = torch.cat([points.colors, trust[:, None]], 1)
    image, covered = drawn(points.surface, channels, camera, size_px, threads)
    weight = image[..., 3] * rise(covered, _COVERED)
    return image[..., :3], weight * (1 - rise(angle, (_BESIDE_DEG, _FAR_DEG)))


def _angles_deg(cameras: Cameras, other: Cameras) -> npt.NDArray[np.float64]:
    """Between the directions from which cameras [V] and another one see the head's centre."""
    sides = cameras.cam_to_world[:, :3, 3].astype(np.float64)
    side = other.cam_to_world[0, :3, 3].astype(np.float64)
    cosine = sides @ side / (np.linalg.norm(sides, axis=1) * np.linalg.norm(side))
    return np.asarray(np.degrees(np.arccos(cosine.clip(-1, 1))))
