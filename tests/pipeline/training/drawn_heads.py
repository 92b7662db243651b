"""Heads drawn with a few ellipses: the same kind of data as rendered ones, made in no time."""

import cv2
import numpy as np

from pipeline.cameras import look_at_origin
from pipeline.portrait.pose import MEAN_LANDMARKS
from pipeline.training.head_views import HeadSequence, HeadViews

AZIMUTHS_DEG = (0.0, -30.0, 30.0, 60.0, 180.0)


def drawn_sequence(identity: int, size_px: int = 96, expression: str = "neutral") -> HeadSequence:
    """A coloured oval on a bust with dots at the landmarks, seen from `AZIMUTHS_DEG`.

    Any expression but the neutral one opens the mouth.
    """
    rng = np.random.default_rng(identity)
    skin, cloth = rng.integers(60, 230, (2, 3))
    cameras = look_at_origin(AZIMUTHS_DEG, 0.0)
    landmarks = cameras.project(MEAN_LANDMARKS, size_px)
    mouth_px = 0 if expression == "neutral" else size_px // 10
    views = [_draw(size_px, skin, cloth, points, mouth_px) for points in landmarks]
    return HeadSequence(
        np.stack(views), landmarks, cameras.cam_to_world, cameras.fov_y_deg, identity, expression
    )


def drawn_views(
    identities: int = 4, size_px: int = 96, expressions: tuple[str, ...] = ("neutral",)
) -> HeadViews:
    return HeadViews(
        [
            drawn_sequence(number, size_px, expression)
            for number in range(identities)
            for expression in expressions
        ]
    )


def _draw(
    size_px: int, skin: np.ndarray, cloth: np.ndarray, points: np.ndarray, mouth_px: int
) -> np.ndarray:
    rgba = np.zeros((size_px, size_px, 4), np.uint8)
    unit = size_px / 96
    for centre, axes, colour in (((48, 84), (30, 10), cloth), ((48, 48), (20, 30), skin)):
        scaled = [int(v * unit) for v in (*centre, *axes)]
        colour = (*colour.tolist(), 255)
        cv2.ellipse(rgba, scaled[:2], scaled[2:], 0, 0, 360, colour, -1)
    for x, y in points:
        cv2.circle(rgba, (int(x), int(y)), max(1, int(2 * unit)), (20, 20, 20, 255), -1)
    if mouth_px:
        centre = points[3:].mean(0).astype(int).tolist()
        cv2.circle(rgba, centre, mouth_px, (120, 0, 0, 255), -1)
    return rgba
