"""Cutting the head out of a photo the way the training camera would have seen it."""

import numpy as np
import numpy.typing as npt

from pipeline.portrait.alignment import Floats, warp
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
