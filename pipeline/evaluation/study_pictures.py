"""Pictures of a study, made alike: one size, one format, and nothing left of who made them."""

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from pipeline.errors import UsageError
from pipeline.pictures import TURN_S, animated_webp, webp

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


def read_picture(path: Path, size_px: int) -> Picture:
    """Read a picture and bring it to a square on white, without its metadata.

    Args:
        path: a still picture, or an animation, whose frames share its length evenly.
        size_px: side of the square; a picture that is no square has white beside it.

    Raises:
        UsageError: it is not a picture, or has more than `MOST_FRAMES` frames.
    """
    try:
        with Image.open(path) as image:
            count = getattr(image, "n_frames", 1)
            if count > MOST_FRAMES:
                raise UsageError(f"{path} has {count} frames; {MOST_FRAMES} are the most")
            frames, duration_ms = [], 0.0
            for frame in ImageSequence.Iterator(image):
                frames.append(_square(frame, size_px))
                duration_ms += frame.info.get("duration", 0)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path} cannot be read as a picture: {error}") from error
    if len(frames) == 1:
        return Picture(webp(frames[0]), moves=False)
    return Picture(animated_webp(np.stack(frames), duration_ms / 1000 or TURN_S), moves=True)


def _square(image: Image.Image, size_px: int) -> np.ndarray:
    upright = ImageOps.exif_transpose(image).convert("RGBA")
    fitted = ImageOps.contain(upright, (size_px, size_px), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (size_px, size_px), "white")
    corner = ((size_px - fitted.width) // 2, (size_px - fitted.height) // 2)
    square.alpha_composite(fitted, corner)
    return np.asarray(square.convert("RGB"))
