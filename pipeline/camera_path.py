"""Camera paths: keyframes or poses in a JSON file, as `Cameras`.

Either ``{"keyframes": [{"azimuth_deg": 0, "elevation_deg": 0, "radius": 2}, ...]}``, which are
equally far apart in time and interpolated linearly (azimuths may go past 360, so a turn is from 0
to 360), or ``{"cam_to_world": [[4x4], ...], "fov_y_deg": 38}`` with a pose a frame. The ``views``
of an ``avatar.json`` are such poses, so that file is a camera path too.
"""

import json
from typing import Any

import numpy as np

from pipeline.cameras import FOV_Y_DEG, RADIUS, Cameras, look_at_origin
from pipeline.errors import UnreadableSource, UsageError

MAX_FRAMES = 3600
_DEFAULTS = {"azimuth_deg": 0.0, "elevation_deg": 0.0, "radius": RADIUS}
_RANGES = {"azimuth_deg": (-36000, 36000), "elevation_deg": (-89.9, 89.9), "radius": (0.1, 100)}


def read_camera_path(data: bytes, frames: int | None = None) -> Cameras:
    """The cameras of a file in one of the forms above.

    Args:
        data: JSON text in UTF-8.
        frames: cameras to interpolate from keyframes, 48 by default; poses are as many as they are.

    Raises:
        UnreadableSource: the data is no camera path.
        UsageError: ``frames`` is given and the file has poses.
    """
    try:
        path = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnreadableSource(f"The camera path is not JSON: {error}.") from error
    if not isinstance(path, dict):
        raise UnreadableSource('The camera path must be an object with "keyframes" or poses.')
    path = path.get("views", path)
    try:
        if "keyframes" in path:
            return _interpolated(path["keyframes"], 48 if frames is None else frames)
        poses = _poses(path)
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise UnreadableSource(
            f'The camera path has neither "keyframes" nor "cam_to_world" that can be used: {error}.'
        ) from error
    if frames is not None:
        raise UsageError(f"frames is {frames}, but the camera path has {len(poses)} poses; drop it")
    return poses


def _interpolated(keyframes: list[dict[str, Any]], frames: int) -> Cameras:
    unknown = {name for keyframe in keyframes for name in keyframe} - set(_DEFAULTS)
    if unknown or not 1 <= len(keyframes) <= MAX_FRAMES:
        raise ValueError(
            f"1 to {MAX_FRAMES} keyframes of {', '.join(_DEFAULTS)} are expected, not "
            f"{len(keyframes)} with {', '.join(sorted(unknown)) or 'those'}"
        )
    times = np.linspace(0, len(keyframes) - 1, frames)
    azimuths, elevations, radii = (
        np.interp(times, range(len(keyframes)), [_number(k, name) for k in keyframes])
        for name in _DEFAULTS
    )
    return look_at_origin(azimuths, elevations, radii)


def _number(keyframe: dict[str, Any], name: str) -> float:
    value = float(keyframe.get(name, _DEFAULTS[name]))
    least, most = _RANGES[name]
    if not least <= value <= most:
        raise ValueError(f"{name} is {value:g}; it must be {least:g} to {most:g}")
    return value


def _poses(path: dict[str, Any]) -> Cameras:
    poses = np.array(path["cam_to_world"], np.float32)
    if poses.shape[1:] != (4, 4) or not 1 <= len(poses) <= MAX_FRAMES:
        raise ValueError(f"cam_to_world has shape {poses.shape}, not [1 to {MAX_FRAMES}, 4, 4]")
    turns = poses[:, :3, :3].astype(np.float64)
    straight = np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).max(initial=0) < 1e-3
    if not straight or not (np.linalg.det(turns) > 0).all() or not np.isfinite(poses).all():
        raise ValueError("cam_to_world holds matrices that are no rotations")
    fov_y_deg = float(path.get("fov_y_deg", FOV_Y_DEG))
    if not 1 <= fov_y_deg <= 150:
        raise ValueError(f"fov_y_deg is {fov_y_deg:g}; it must be 1 to 150")
    return Cameras(poses, fov_y_deg)
