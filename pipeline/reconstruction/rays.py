"""Pluecker rays: what tells the network where each pixel looks.

Rays are in the canonical frame of `pipeline.cameras`. A ray in the world does not depend on how
camera axes are named, so nothing here converts between OpenCV and OpenGL. LGM's published weights
expect the world turned so that the first camera stands on +z; our own networks do not, and are
given the canonical frame as it is.
"""

import numpy as np
import torch

from pipeline.cameras import Cameras


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
