"""Where the camera stood relative to the head, from five landmarks.

The mean head of the digital humans is projected by the training camera at every azimuth and
elevation; the pose is the one whose projection matches the landmarks best after the best
similarity transform. That transform is what framing then undoes, roll included. The nose against
the eyes and mouth is what tells azimuth and elevation; faces differ in that, so a mild prior keeps
the elevation near eye level.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.cameras import look_at_origin
from pipeline.portrait.alignment import Floats, similarity

MEAN_LANDMARKS = np.array(
    [
        [-0.0872, 0.0356, 0.2804],
        [0.0872, 0.0356, 0.2804],
        [0.0, -0.0738, 0.3691],
        [-0.0746, -0.1535, 0.2990],
        [0.0746, -0.1535, 0.2990],
    ],
    np.float32,
)
"""The digital humans' mean landmarks in the canonical frame, made symmetric; world units, in the
order of `alignment.ARCFACE_TEMPLATE`."""
MAX_YAW_DEG = 75.0
MIN_ELEVATION_DEG, MAX_ELEVATION_DEG = -30.0, 40.0
_SPREAD = 0.014
"""How far landmarks of one person lie from the mean's projection, in widths of the portrait."""
_ELEVATION_PRIOR_DEG = 12.0
_USUAL_ELEVATION_DEG = 2.0


@dataclass(frozen=True)
class HeadPose:
    """The camera that the portrait is framed for.

    Attributes:
        yaw_deg: the camera's azimuth: positive where it stood on the subject's left.
        elevation_deg: positive where the camera stood above the head's level.
        roll_deg: clockwise turn of the head in the photo, undone by framing.
        photo_to_portrait: [2, 3] similarity from photo pixels to a portrait of size 1 x 1.
    """

    yaw_deg: float
    elevation_deg: float
    roll_deg: float
    photo_to_portrait: Floats


def fit_pose(landmarks: npt.ArrayLike) -> HeadPose:
    """Estimate the pose from [5, 2] landmarks in photo pixels, in ArcFace's order."""
    points = np.asarray(landmarks, np.float64)
    yaws, elevations = np.meshgrid(np.arange(-60, 61, 20.0), [-8.0, 12.0])
    starts = np.stack([yaws.ravel(), elevations.ravel()], 1)
    angles = starts[np.argmin([_cost(_residuals(points, start)) for start in starts])]
    angles = _gauss_newton(points, angles)
    projected = project_mean_landmarks(angles)
    to_portrait = similarity(points, projected)
    return HeadPose(
        yaw_deg=float(angles[0]),
        elevation_deg=float(angles[1]),
        roll_deg=float(-np.degrees(np.arctan2(to_portrait[1, 0], to_portrait[0, 0]))),
        photo_to_portrait=to_portrait,
    )


def _gauss_newton(points: Floats, angles: Floats, rounds: int = 12) -> Floats:
    """Minimise over yaw and elevation; the similarity is solved for inside."""
    for _ in range(rounds):
        here = _residuals(points, angles)
        slope = np.stack(
            [(_residuals(points, angles + step) - here) / 0.05 for step in 0.05 * np.eye(2)], 1
        )
        step = np.linalg.lstsq(slope, -here, rcond=None)[0].clip(-15, 15)
        size = 1.0
        while size > 0.05 and _cost(_residuals(points, _clamp(angles + size * step))) > _cost(here):
            size /= 2
        angles = _clamp(angles + size * step)
        if abs(size * step).max() < 0.01:
            break
    return angles


def _residuals(points: Floats, angles: Floats) -> Floats:
    """Landmark errors and the prior's, all in standard deviations: [11]."""
    projected = project_mean_landmarks(angles)
    to_points = similarity(projected, points)
    scale = np.hypot(to_points[0, 0], to_points[1, 0])
    moved = projected @ to_points[:, :2].T + to_points[:, 2]
    errors = (moved - points).ravel() / (scale * _SPREAD)
    prior = (angles[1] - _USUAL_ELEVATION_DEG) / _ELEVATION_PRIOR_DEG
    return np.asarray(np.append(errors, prior), np.float64)


def project_mean_landmarks(angles: Floats) -> Floats:
    """The mean landmarks as the training camera sees them: [5, 2] in an image of size 1 x 1.

    Args:
        angles: [2] azimuth and elevation, degrees.
    """
    camera = look_at_origin(float(angles[0]), float(angles[1]))
    return np.asarray(camera.project(MEAN_LANDMARKS, 1)[0], np.float64)


def _clamp(angles: Floats) -> Floats:
    low, high = (-MAX_YAW_DEG, MIN_ELEVATION_DEG), (MAX_YAW_DEG, MAX_ELEVATION_DEG)
    return np.asarray(np.clip(angles, low, high))


def _cost(residuals: Floats) -> float:
    return float(np.sum(residuals**2))
