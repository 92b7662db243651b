"""``headsplat render``: pictures and videos of an avatar."""

import json as json_module
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jobs.gaussian_files import gaussian_file, load_gaussians
from pipeline.errors import UsageError
from pipeline.storage import locate

if TYPE_CHECKING:
    from pipeline.cameras import Cameras

_MAX_PX, _MAX_FRAMES, _MAX_FPS = 4096, 3600, 120
_TURN_FRAMES = 48
_MAX_WEBP_PIXELS = 2**28
"""Of all frames; they are in memory together, since each is packed as what changed."""
_ENDINGS = (".png", ".webp", ".mp4", "")


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """Render an avatar from any side, turning, or along a path.

    Example: headsplat render avatars/0123 -o side.png --azimuth-deg 90 --background transparent
    Example: headsplat render avatar.spz -o turn.mp4 --elevation-deg 15 --frames 96 --fps 24
    Example: headsplat render avatars/0123 -o frames --camera-path path.json

    Attributes:
        avatar: an avatar's folder or a file of Gaussians: .ply, .spz, .splat or .glb.
        output: .png for one view; .webp, .mp4 or a name without ending, a folder of .png, for a
            turn round the head or a camera path. A file that is there is replaced.
        azimuth_deg: of the camera; 0 is the front, positive towards the subject's left. A turn
            starts here.
        elevation_deg: of the camera, positive above.
        size_px: side of the picture.
        frames: pictures of the turn or of a path of keyframes; by default 48.
        fps: pictures a second; by default all take four seconds.
        camera_path: JSON file of keyframes or poses, in place of a turn; see docs/formats.md.
        background: white, black, transparent (.png and .webp) or a grey level from 0 to 1.
        json: print one JSON object.
    """

    avatar: tyro.conf.Positional[Path]
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    azimuth_deg: float = 0.0
    elevation_deg: float = 0.0
    size_px: int = 512
    frames: int | None = None
    fps: float | None = None
    camera_path: Path | None = None
    background: str = "white"
    json: bool = False


def render(options: RenderOptions) -> int:
    """Write the pictures.

    Raises:
        UsageError: there is no avatar, or an option is out of its range or does not fit the output.
        UnreadableSource: the avatar or the camera path is damaged.
        BackendUnavailable: a video is asked for and its extra is not installed.
    """
    _check(options)
    background = _background(options)
    gaussian_file(options.avatar)
    cameras = _cameras(options)
    _check_encoder(options, len(cameras))
    # here, because torch takes a second
    from pipeline.rendering import render_each

    gaussians = load_gaussians(options.avatar)
    views = render_each(gaussians, cameras, options.size_px, background=background)
    _write(options, views, len(cameras))
    record = {"output": str(options.output), "frames": len(cameras)}
    print(json_module.dumps(record) if options.json else options.output)
    return 0


def _check(options: RenderOptions) -> None:
    output = options.output
    if output.suffix not in _ENDINGS:
        raise UsageError(
            f"{output} is neither .png (one view) nor .webp, .mp4 or a folder (a turn or a path)"
        )
    for name, value, least, most in (
        ("size-px", options.size_px, 16, _MAX_PX),
        ("frames", options.frames, 1, _MAX_FRAMES),
        ("fps", options.fps, 1, _MAX_FPS),
        ("elevation-deg", options.elevation_deg, -89.9, 89.9),
        ("azimuth-deg", options.azimuth_deg, -36000, 36000),
    ):
        if value is not None and not least <= value <= most:
            raise UsageError(f"{name} is {value:g}; it must be {least} to {most}")
    moving = (options.frames, options.fps, options.camera_path)
    if output.suffix == ".png" and moving != (None, None, None):
        raise UsageError(
            f"{output} is one view; frames, fps and camera-path are for .webp, .mp4 or a folder"
        )
    if options.camera_path and (options.azimuth_deg, options.elevation_deg) != (0, 0):
        raise UsageError("azimuth-deg and elevation-deg are in the camera path; drop them")
    if output.suffix == "" and any(output.glob("frame_*.png")):
        raise UsageError(f"{output} has frames already; name another folder")


def _background(options: RenderOptions) -> float | None:
    """The grey level, or None for transparency."""
    if options.background == "transparent":
        if options.output.suffix == ".mp4":
            raise UsageError("an .mp4 cannot be transparent; name a .webp or a folder of .png")
        return None
    try:
        grey = float({"white": "1", "black": "0"}.get(options.background, options.background))
    except ValueError:
        grey = -1.0
    if not 0 <= grey <= 1:
        raise UsageError(
            f"background is {options.background!r}; it must be white, black, transparent or a "
            "grey level from 0 to 1"
        )
    return grey


def _cameras(options: RenderOptions) -> "Cameras":
    from pipeline.camera_path import read_camera_path
    from pipeline.cameras import look_at_origin, orbit_azimuths_deg

    path = options.camera_path
    if path is not None:
        if not path.is_file():
            raise UsageError(f"{path} does not exist; give a JSON file of keyframes or poses")
        return read_camera_path(path.read_bytes(), options.frames)
    single = options.output.suffix == ".png"
    turn = orbit_azimuths_deg(1 if single else options.frames or _TURN_FRAMES)
    return look_at_origin(options.azimuth_deg + turn, options.elevation_deg)


def _check_encoder(options: RenderOptions, frames: int) -> None:
    """Refuse what cannot be encoded before it is rendered."""
    size_px, ending = options.size_px, options.output.suffix
    if ending == ".webp" and frames * size_px**2 > _MAX_WEBP_PIXELS:
        raise UsageError(
            f"{frames} frames of {size_px} px are {frames * size_px**2:,} pixels, and a .webp may "
            f"have {_MAX_WEBP_PIXELS:,}; give fewer or smaller ones, or name an .mp4 or a folder"
        )
    if ending == ".mp4":
        from pipeline.video import check_video

        check_video()
        if size_px % 2:
            raise UsageError(f"size-px is {size_px}; the pictures of an .mp4 need an even size")


def _write(options: RenderOptions, views: Iterator[Any], frames: int) -> None:
    # here, because torch takes a second
    import numpy as np

    from pipeline import pictures
    from pipeline.video import mp4

    output = locate(str(options.output))
    seconds = pictures.TURN_S if options.fps is None else frames / options.fps
    if options.output.suffix == ".png":
        output.write(pictures.png(next(views)))
    elif options.output.suffix == ".webp":
        output.write(pictures.animated_webp(np.stack(list(views)), seconds))
    elif options.output.suffix == ".mp4":
        output.write(mp4(views, options.size_px, frames / seconds))
    else:
        for k, view in enumerate(views):
            output.child(f"frame_{k:04d}.png").write(pictures.png(view))
