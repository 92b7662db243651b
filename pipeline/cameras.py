"""Cameras on an orbit round the head.

The canonical frame, used by every module: right-handed world, y up, the head centred at the
origin and facing +z, the subject's left towards +x. Azimuth 0 looks at the face from +z and grows
towards the subject's left (+x); elevation is positive when the camera is above. ``cam_to_world``
has OpenCV camera axes: x right, y down, z forward.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

RADIUS = 2.0
"""Distance of the orbit's cameras from the head's centre, world units."""
FOV_Y_DEG = 38.0
"""Vertical field of view; at RADIUS it sees 0.689 world units above and below the centre."""
ORBIT_VIEWS = 16
RELEASE_AZIMUTHS_DEG = (
    0.0, 4.04, 15.47, 33.22, 56.25, 83.5, 113.91, 146.43,
    180.0, 213.57, 246.09, 276.5, 303.75, 326.78, 344.53, 355.96,
)  # fmt: skip
"""The orbit of the authors' released dataset and weights, as its code lists it: dense in front.
Within 0.01 degrees it is 270 s^2 - 90 s^3 at s = k / 8, and the same on the other side."""

Array = npt.NDArray[np.float32]
MIRROR: Array = np.diag(np.array([-1, 1, 1, 1], np.float32))
"""Swaps left and right, of the world as of a camera."""


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras with square pixels and a centred principal point.

    Attributes:
        cam_to_world: [V, 4, 4] float32, OpenCV camera axes, canonical world.
        fov_y_deg: vertical field of view shared by the batch, degrees.
    """

    cam_to_world: Array
    fov_y_deg: float = FOV_Y_DEG

    def __len__(self) -> int:
        return len(self.cam_to_world)

    def __getitem__(self, index: slice | list[int]) -> Self:
        return type(self)(self.cam_to_world[index], self.fov_y_deg)

    @property
    def world_to_cam(self) -> Array:
        """The inverse poses, [V, 4, 4] float32: gsplat's ``viewmats``."""
        return np.linalg.inv(self.cam_to_world.astype(np.float64)).astype(np.float32)

    @property
    def azimuths_deg(self) -> npt.NDArray[np.float64]:
        """From where they see the head's centre, [V] in (-180, 180]."""
        x, _, z = self.cam_to_world[:, :3, 3].T.astype(np.float64)
        return np.asarray(np.degrees(np.arctan2(x, z)))

    def mirrored(self) -> Self:
        """Where they are in a mirror that swaps the subject's left and right.

        A mirrored picture is what the mirrored camera sees of the mirrored head.
        """
        pose = np.asarray(MIRROR @ self.cam_to_world @ MIRROR, np.float32)
        return type(self)(pose, self.fov_y_deg)

    def intrinsics(self, size_px: int) -> Array:
        """The camera matrices for square images of ``size_px``, [V, 3, 3] float32, in pixels."""
        focal_px = 0.5 * size_px / np.tan(np.radians(self.fov_y_deg) / 2)
        one = np.array(
            [[focal_px, 0, size_px / 2], [0, focal_px, size_px / 2], [0, 0, 1]], np.float32
        )
        return np.repeat(one[None], len(self), 0)

    def project(self, points: Array, size_px: int) -> Array:
        """Project world points [N, 3] into every camera: [V, N, 2] pixels (x right, y down)."""
        homogeneous = np.concatenate([points, np.ones((len(points), 1))], 1)
        in_cam = np.einsum("vij,nj->vni", self.world_to_cam[:, :3], homogeneous)
        in_image = np.einsum("vij,vnj->vni", self.intrinsics(size_px), in_cam)
        pixels: Array = (in_image[..., :2] / in_image[..., 2:]).astype(np.float32)
        return pixels


def look_at_origin(
    azimuth_deg: npt.ArrayLike,
    elevation_deg: npt.ArrayLike,
    radius: npt.ArrayLike = RADIUS,
    roll_deg: npt.ArrayLike = 0.0,
    fov_y_deg: float = FOV_Y_DEG,
) -> Cameras:
    """Place cameras on a sphere, all looking at the origin.

    Args:
        azimuth_deg: [V] or scalar, 0 in front of the face, positive towards the subject's left.
        elevation_deg: [V] or scalar, positive above, in (-90, 90).
        radius: [V] or scalar, world units.
        roll_deg: [V] or scalar; positive turns the camera clockwise about its viewing direction,
            so the head appears turned counter-clockwise.
        fov_y_deg: vertical field of view of all cameras, degrees.

    Returns:
        Cameras with as many views as the broadcast inputs.
    """
    azimuth, elevation, distance, roll = np.broadcast_arrays(
        *(
            np.atleast_1d(np.asarray(value, np.float64))
            for value in (azimuth_deg, elevation_deg, radius, roll_deg)
        )
    )
    a, e, r = np.radians(azimuth), np.radians(elevation), np.radians(roll)
    outward = np.stack([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)], -1)
    right = np.stack([np.cos(a), np.zeros_like(a), -np.sin(a)], -1)
    down = np.cross(-outward, right)
    cos_r, sin_r = np.cos(r)[:, None], np.sin(r)[:, None]
    pose = np.zeros((len(a), 4, 4))
    pose[:, :3, 0] = cos_r * right + sin_r * down
    pose[:, :3, 1] = cos_r * down - sin_r * right
    pose[:, :3, 2] = -outward
    pose[:, :3, 3] = outward * distance[:, None]
    pose[:, 3, 3] = 1
    return Cameras(pose.astype(np.float32), fov_y_deg)


def azimuth_distance_deg(first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The angle between azimuths in degrees, 0 to 180; the arguments broadcast."""
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    return np.asarray(np.abs((difference + 180) % 360 - 180))


def orbit(views: int = ORBIT_VIEWS, elevation_deg: float = 0.0) -> Cameras:
    """``views`` equally spaced cameras, the first in front of the face."""
    return look_at_origin(orbit_azimuths_deg(views), elevation_deg)


def orbit_azimuths_deg(views: int = ORBIT_VIEWS) -> Array:
    """The azimuths of `orbit`, [views] float32 in [0, 360)."""
    return (np.arange(views) * (360.0 / views)).astype(np.float32)
