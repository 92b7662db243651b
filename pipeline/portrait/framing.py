"""Cutting the head out of a photo the way the training camera would have seen it."""

import numpy as np
import numpy.typing as npt

from pipeline.cameras import RADIUS
from pipeline.portrait.alignment import Floats, apply, warp
from pipeline.portrait.alpha import premultiply, straight
from pipeline.portrait.pose import HeadPose

Image = npt.NDArray[np.uint8]


def frame(rgba: Image, pose: HeadPose, size_px: int) -> Image:
    """Warp a photo so that the head sits, upright, where it sits in the training views.

    Args:
        rgba: [H, W, 4] uint8 straight alpha.
        pose: of the head in this photo's pixels.
        size_px: side of the portrait.

    Returns:
        [size_px, size_px, 4] uint8 straight alpha; transparent outside the photo.
    """
    return warp_straight(rgba, portrait_transform(pose, size_px), size_px)


def portrait_transform(pose: HeadPose, size_px: int) -> Floats:
    """[2, 3] from photo pixels to pixels of a portrait with side ``size_px``."""
    return pose.photo_to_portrait * size_px


def warp_straight(rgba: Image, transform: Floats, size_px: int) -> Image:
    """Resample straight RGBA [H, W, 4] through a [2, 3] transform into a square."""
    return straight(warp(premultiply(rgba), transform, (size_px, size_px)))


def frame_render(
    rgba: Image, cam_to_world: npt.NDArray[np.float32], landmarks: npt.NDArray[np.float32]
) -> tuple[Image, npt.NDArray[np.float32]]:
    """Undo a camera's roll and distance, which is what `frame` does to a photo.

    Args:
        rgba: [H, H, 4] uint8 straight alpha, rendered by a camera that looks at the origin.
        cam_to_world: [4, 4] of that camera.
        landmarks: [N, 2] pixels in ``rgba``.

    Returns:
        The image as a camera at `RADIUS` without roll would see it, but for perspective, and the
        landmarks in it.
    """
    size_px = rgba.shape[0]
    transform = render_to_portrait(cam_to_world, size_px) * size_px
    moved = apply(transform, landmarks).astype(np.float32)
    return warp_straight(rgba, transform, size_px), moved


def render_to_portrait(cam_to_world: npt.NDArray[np.float32], size_px: int) -> Floats:
    """[2, 3] from a render's pixels to a portrait of size 1 x 1, without roll at `RADIUS`.

    Args:
        cam_to_world: [4, 4] of a camera that looks at the origin.
        size_px: side of the render.
    """
    scale = float(np.linalg.norm(cam_to_world[:3, 3])) / RADIUS / size_px
    right, down, forward = cam_to_world[:3, :3].T.astype(np.float64)
    level_right = np.cross(forward, [0.0, 1.0, 0.0])
    level_right /= np.linalg.norm(level_right)
    cos_roll, sin_roll = level_right @ right, level_right @ down
    linear = scale * np.array([[cos_roll, sin_roll], [-sin_roll, cos_roll]])
    shift = 0.5 - linear @ np.full(2, size_px / 2)
    return np.concatenate([linear, shift[:, None]], 1)
