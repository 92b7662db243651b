"""Pluecker rays: what tells the network where each pixel looks.

Rays are in the canonical frame of `pipeline.cameras`. A ray in the world does not depend on how
camera axes are named, so nothing here converts between OpenCV and OpenGL. LGM's published weights
expect the world turned so that the first camera stands on +z. On an orbit at elevation 0 that
starts in front of the face this is the canonical frame, and every network is given that one.
"""

import numpy as np
import torch

from pipeline.cameras import FOV_Y_DEG, RADIUS, Cameras


def plucker_rays(cameras: Cameras, size_px: int) -> torch.Tensor:
    """The rays through all pixel centres.

    Args:
        cameras: V cameras.
        size_px: side of the square images.

    Returns:
        [V, 6, H, W] float32: moment o x d, then unit direction d, with o the camera's position.
    """
    focal_px = 0.5 * size_px / np.tan(np.radians(cameras.fov_y_deg) / 2)
    slope = (np.arange(size_px, dtype=np.float64) + 0.5 - size_px / 2) / focal_px
    x, y = np.meshgrid(slope, slope)
    in_camera = np.stack([x, y, np.ones_like(x)])
    in_camera /= np.linalg.norm(in_camera, axis=0)
    directions = np.einsum("vij,jhw->vhwi", cameras.cam_to_world[:, :3, :3], in_camera)
    origins = cameras.cam_to_world[:, None, None, :3, 3]
    moments = np.cross(np.broadcast_to(origins, directions.shape), directions)
    rays = np.concatenate([moments, directions], -1).astype(np.float32)
    return torch.from_numpy(rays).permute(0, 3, 1, 2).contiguous()


def half_extent(radius: float, fov_y_deg: float) -> float:
    """What a camera sees above and below the head's centre from ``radius``, world units."""
    return float(radius * np.tan(np.radians(fov_y_deg) / 2))


def as_trained(cameras: Cameras, radius: float, fov_y_deg: float) -> Cameras:
    """Exchange our cameras for those of the orbit that a network was trained on.

    Each camera stays on its side of the head: what stood at `RADIUS` stands at ``radius``, what
    saw `FOV_Y_DEG` sees ``fov_y_deg``, other distances and fields of view change in proportion.
    A point that the network's camera sees and that is enlarged by the ratio of the two orbits'
    `half_extent` is seen by ours at the same pixel: exactly if it lies in the plane across the view
    through the head's centre, less so before and behind, where the perspectives differ.

    Args:
        cameras: of our world.
        radius: of the network's orbit, world units.
        fov_y_deg: of its cameras, degrees.

    Returns:
        The network's cameras; on our own orbit ``cameras`` itself.
    """
    if (radius, fov_y_deg) == (RADIUS, FOV_Y_DEG):
        return cameras
    poses = cameras.cam_to_world.copy()
    poses[:, :3, 3] *= radius / RADIUS
    wider = half_extent(1, fov_y_deg) / half_extent(1, FOV_Y_DEG)
    half_slope = wider * half_extent(1, cameras.fov_y_deg)
    return Cameras(poses, float(np.degrees(2 * np.arctan(half_slope))))


def nearest_to_origin(rays: torch.Tensor) -> torch.Tensor:
    """The point of each ray that is nearest to the head's centre.

    Args:
        rays: [..., 6, H, W] as `plucker_rays` makes them; directions of any length but zero.

    Returns:
        [..., 3, H, W] world points.
    """
    moment, direction = rays.split(3, -3)  # type: ignore[no-untyped-call]
    cross = torch.linalg.cross(direction, moment, dim=-3)
    nearest: torch.Tensor = cross / direction.square().sum(-3, keepdim=True)
    return nearest
