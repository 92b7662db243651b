"""``headsplat render``: pictures of an avatar."""

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.errors import UsageError

_MAX_PX = 4096


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """Render an avatar from any side.

    Example: headsplat render avatars/0123 -o side.png --azimuth-deg 90
    Example: headsplat render avatar.ply -o turn.webp --frames 48

    Attributes:
        avatar: an avatar's folder or a .ply file of Gaussians.
        output: the picture: .png for one view, .webp for a turn round the head.
        azimuth_deg: of the camera; 0 is the front, positive towards the subject's left.
        elevation_deg: of the camera, positive above.
        size_px: side of the picture.
        frames: pictures of the turn.
        json: print one JSON object.
    """

    avatar: tyro.conf.Positional[Path]
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    azimuth_deg: float = 0.0
    elevation_deg: float = 0.0
    size_px: int = 512
    frames: int = 48
    json: bool = False


def render(options: RenderOptions) -> int:
    """Write the picture.

    Raises:
        UsageError: there is no avatar, or the output is neither .png nor .webp.
        UnreadableSource: the file is not one of Gaussians.
    """
    if options.output.suffix not in (".png", ".webp"):
        raise UsageError(f"{options.output} is neither .png (one view) nor .webp (a turn)")
    if not 16 <= options.size_px <= _MAX_PX or not 1 <= options.frames <= 360:
        raise UsageError(f"size-px must be 16 to {_MAX_PX} and frames 1 to 360")
    path = options.avatar / "avatar.ply" if options.avatar.is_dir() else options.avatar
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give an avatar's folder or a .ply file")
    data = _picture(path.read_bytes(), options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(data)
    print(json_module.dumps({"output": str(options.output)}) if options.json else options.output)
    return 0


def _picture(ply: bytes, options: RenderOptions) -> bytes:
    from pipeline import pictures
    from pipeline.cameras import look_at_origin
    from pipeline.formats.ply import read_ply
    from pipeline.rendering import render_u8

    gaussians = read_ply(ply)
    if options.output.suffix == ".png":
        camera = look_at_origin(options.azimuth_deg, options.elevation_deg)
        return pictures.png(render_u8(gaussians, camera, options.size_px)[0])
    frames = pictures.turntable(gaussians, options.frames, options.size_px, options.elevation_deg)
    return pictures.animated_webp(frames)
