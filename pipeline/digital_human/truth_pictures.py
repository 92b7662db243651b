"""Pictures of what is known of a view: colour, depth, normals, parts and landmarks."""

import colorsys

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.digital_human.parts import PART_NAMES
from pipeline.digital_human.scene import NOTHING
from pipeline.portrait.alpha import on_white

Pixels = npt.NDArray[np.uint8]
_NEAR, _FAR = 250, 40
_VISIBLE, _HIDDEN = (230, 30, 30), (40, 90, 230)
_HUE_STEP = 0.445
"""Share of the colour circle between parts: skin and hair, first and last, come out far apart."""


def truth_strip(
    rgba: Pixels,
    depth: npt.NDArray[np.float32],
    normals: npt.NDArray[np.float32],
    parts: Pixels,
    landmarks: npt.NDArray[np.float32],
    visible: npt.NDArray[np.bool_],
) -> Pixels:
    """Colour, depth, normals, parts and landmarks of one view, [5, H, W, 3] on white.

    Args:
        rgba: [H, W, 4] straight alpha.
        depth: [H, W] world units, 0 for background; near is drawn bright.
        normals: [H, W, 3] unit, 0 for background.
        parts: [H, W] index into `PART_NAMES`, 255 for background.
        landmarks: [5, 2] pixels.
        visible: [5], drawn in red; hidden ones are blue.
    """
    color = on_white(rgba)
    return np.stack(
        [
            color,
            depth_picture(depth),
            normals_picture(normals),
            parts_picture(parts),
            _with_landmarks(color, landmarks, visible),
        ]
    )


def depth_picture(depth: npt.NDArray[np.float32]) -> Pixels:
    """Depths [H, W] as grey, [H, W, 3]: from the nearest, bright, to the farthest, dark."""
    shown = depth > 0
    if not shown.any():
        return np.full((*depth.shape, 3), 255, np.uint8)
    near, far = depth[shown].min(), depth[shown].max()
    share = (depth - near) / max(float(far - near), 1e-6)
    grey = np.where(shown, _NEAR + (_FAR - _NEAR) * share, 255)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, -1)


def normals_picture(normals: npt.NDArray[np.float32]) -> Pixels:
    """World normals [H, W, 3] as colours: x red, y green, z blue."""
    shown = normals.any(-1, keepdims=True)
    return np.where(shown, (normals + 1) * 127.5, 255).clip(0, 255).astype(np.uint8)


def parts_picture(parts: Pixels) -> Pixels:
    """A part mask [H, W] in one colour a part, [H, W, 3]."""
    palette = np.full((256, 3), 255, np.uint8)
    for index in range(len(PART_NAMES)):
        color = colorsys.hsv_to_rgb(index * _HUE_STEP % 1, 0.55, 0.7 if index % 2 else 0.95)
        palette[index] = [int(255 * channel) for channel in color]
    palette[NOTHING] = 255
    return palette[parts]


def _with_landmarks(
    color: Pixels, landmarks: npt.NDArray[np.float32], visible: npt.NDArray[np.bool_]
) -> Pixels:
    picture = color.copy()
    radius = max(1, len(color) // 85)
    for point, seen in zip(landmarks.tolist(), visible.tolist(), strict=True):
        center = (round(point[0] - 0.5), round(point[1] - 0.5))  # cv2 counts pixel centres
        cv2.circle(picture, center, radius, _VISIBLE if seen else _HIDDEN, -1, cv2.LINE_AA)
    return picture
