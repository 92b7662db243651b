"""Pictures of a study, made alike: one size, one format, and nothing left of who made them."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from pipeline.errors import UsageError
from pipeline.pictures import TURN_S, Pixels, animated_webp, webp

MOST_FRAMES = 120


@dataclass(frozen=True)
class Picture:
    """One picture as the page shows it.

    Attributes:
        data: a WebP file.
        moves: whether it is an animation.
    """

    data: bytes
    moves: bool

    @cached_property
    def sha256(self) -> str:
        """Of ``data``, in hex digits."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def uri(self) -> str:
        """The picture as a ``data:`` URI."""
        return f"data:image/webp;base64,{b64encode(self.data).decode()}"


def read_picture(paths: Sequence[Path], size_px: int) -> Picture:
    """Read a picture and bring it to a square on white, without its metadata.

    Args:
        paths: a still picture or an animation, whose frames share its length evenly; or the
            frames of one, which takes `TURN_S`.
        size_px: side of the square; a picture that is no square has white beside it.

    Raises:
        UsageError: a file is not a picture, or there are more than `MOST_FRAMES` frames.
    """
    frames: list[Pixels] = []
    duration_ms = 0.0
    for path in paths:
        try:
            with Image.open(path) as image:
                for frame in ImageSequence.Iterator(image):
                    if len(frames) == MOST_FRAMES:
                        raise UsageError(f"{path}: more than {MOST_FRAMES} frames; give fewer")
                    frames.append(_square(frame, size_px))
                    duration_ms += frame.info.get("duration", 0)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UsageError(f"{path} cannot be read as a picture: {error}") from error
    if len(frames) == 1:
        return Picture(webp(frames[0]), moves=False)
    return Picture(animated_webp(np.stack(frames), duration_ms / 1000 or TURN_S), moves=True)


def _square(image: Image.Image, size_px: int) -> Pixels:
    upright = ImageOps.exif_transpose(image).convert("RGBA")
    fitted = ImageOps.contain(upright, (size_px, size_px), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (size_px, size_px), "white")
    corner = ((size_px - fitted.width) // 2, (size_px - fitted.height) // 2)
    square.alpha_composite(fitted, corner)
    return np.asarray(square.convert("RGB"))
