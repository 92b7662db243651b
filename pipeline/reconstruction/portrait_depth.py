"""How deep a portrait's pixels lie: on the mean face or, beside it, on the hull of the views.

Legend: P the side of a portrait, D = `DEPTH_PX`.
"""

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from pipeline.cameras import Cameras
from pipeline.portrait.mean_face import mean_face
from pipeline.rasterizer import rasterize
from pipeline.reconstruction.hull import HALF_EXTENT
from pipeline.reconstruction.laid_portrait import Surface, flat_gaussians

DEPTH_PX = 128
_BEFORE, _BEHIND, _SAMPLES = 0.62, 0.35, 98
"""Where a ray looks for the hull, from the head's centre, in world units."""
_COVERED = (0.5, 0.95)
"""Coverages by the mean face between which its depth takes over from the hull's."""


def portrait_depth(
    field: Tensor, portrait_camera: Cameras, threads: int | None = None
) -> tuple[Tensor, Tensor]:
    """Depth of every pixel, whether the portrait shows a head there or not.

    Args:
        field: of the hull of the views, see `hull_field`.
        portrait_camera: one camera.
        threads: CPU threads.

    Returns:
        [D, D] depths in world units, and how far each pixel is from the hull's silhouette in
        pixels, 0 inside and D where there is no hull.
    """
    hull, stray_px = _hull_depth(field, portrait_camera)
    face, covered = _face_depth(portrait_camera, threads)
    return torch.lerp(hull, face, rise(covered, _COVERED)), stray_px


def rays(camera: Cameras, size_px: int) -> tuple[Tensor, Tensor]:
    """A camera's position [3] and the rays [P, P, 3] of its pixels, of depth 1, in the world."""
    slope = math.tan(math.radians(camera.fov_y_deg) / 2)
    line = slope * ((torch.arange(size_px) + 0.5) * 2 / size_px - 1)
    x, y = torch.meshgrid(line, line, indexing="xy")
    cam_to_world = torch.from_numpy(camera.cam_to_world[0])
    in_camera = torch.stack([x, y, torch.ones_like(x)], -1)
    return cam_to_world[:3, 3], in_camera @ cam_to_world[:3, :3].T


def rise(values: Tensor, between: tuple[float, float]) -> Tensor:
    """From 0 at the first value smoothly to 1 at the second."""
    low, high = between
    share = ((values - low) / (high - low)).clamp(0, 1)
    return share.square() * (3 - 2 * share)


def seen_by(camera: Cameras, surface: Surface) -> tuple[Tensor, Tensor]:
    """Depths [N] of a surface's points, and the cosines [N] at which they face a camera."""
    world_to_cam = torch.from_numpy(camera.world_to_cam[0])
    in_camera = surface.points @ world_to_cam[:3, :3].T + world_to_cam[:3, 3]
    normals = surface.normals @ world_to_cam[:3, :3].T
    return in_camera[:, 2], -(normals * functional.normalize(in_camera, dim=1)).sum(1)


def drawn(
    surface: Surface, channels: Tensor, camera: Cameras, size_px: int, threads: int | None
) -> tuple[Tensor, Tensor]:
    """A surface's channels [N, C] seen by a camera: [P, P, C], and coverage [P, P]."""
    flat = flat_gaussians(surface, surface.points)
    image, covered, _ = rasterize(
        flat.means, flat.quats, flat.scales, flat.opacities, channels,
        torch.from_numpy(camera.world_to_cam), torch.from_numpy(camera.intrinsics(size_px)),
        size_px, size_px, threads=threads,
    )  # fmt: skip
    return image[0] / covered[0].clamp(min=1e-3), covered[0, ..., 0]


def _hull_depth(field: Tensor, camera: Cameras) -> tuple[Tensor, Tensor]:
    """Where rays enter a hull; one that misses it goes as deep as the next that does not."""
    origin, directions = rays(camera, DEPTH_PX)
    centre = float(origin.norm())
    depths = torch.linspace(centre - _BEFORE, centre + _BEHIND, _SAMPLES)
    places = origin + directions[:, :, None] * depths[:, None]
    grid = (places / HALF_EXTENT).flip(-1)[None]
    inside = functional.grid_sample(field[None, None], grid, align_corners=True)[0, 0] > 0.5
    depth, hit = depths[inside.to(torch.uint8).argmax(-1)], inside.any(-1)
    if not hit.any():
        return torch.full_like(depth, centre), torch.full_like(depth, DEPTH_PX)
    stray_px, (row, column) = ndimage.distance_transform_edt(~hit, return_indices=True)
    filled = ndimage.gaussian_filter(depth.numpy()[row, column], 1.0)
    return torch.from_numpy(filled), torch.from_numpy(stray_px.astype(np.float32))


def _face_depth(camera: Cameras, threads: int | None) -> tuple[Tensor, Tensor]:
    face = Surface.of(mean_face(), torch.device("cpu"))
    depths, facing = seen_by(camera, face)
    front = facing > 0
    depth, covered = drawn(face[front], depths[front, None], camera, DEPTH_PX, threads)
    return depth[..., 0], covered
