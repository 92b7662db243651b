"""Pictures that show an avatar: contact sheets, turntables, and their files.

Encoders get fixed settings, so the same pixels give the same bytes.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.cameras import orbit
from pipeline.gaussians import Gaussians
from pipeline.rendering import render_u8

Pixels = npt.NDArray[np.uint8]
TURN_S = 4.0
"""How long one turn round the head takes."""
_WEBP_QUALITY = 85
_WEBP_EFFORT = 4


def contact_sheet(views: Pixels, columns: int = 4) -> Pixels:
    """Lay views [V, H, W, 3] out row by row, [rows * H, columns * W, 3]; white where none is left.

    Args:
        views: uint8 images.
        columns: images in a row.
    """
    count, height, width, channels = views.shape
    rows = -(-count // columns)
    cells = np.full((rows * columns, height, width, channels), 255, np.uint8)
    cells[:count] = views
    grid = cells.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(rows * height, columns * width, channels))


def turntable(
    gaussians: Gaussians,
    frames: int,
    size_px: int,
    elevation_deg: float = 0.0,
    threads: int | None = None,
) -> Pixels:
    """Render one turn round the head on white, [frames, size_px, size_px, 3], starting in front.

    Args:
        gaussians: the head.
        frames: pictures of the turn, evenly spaced.
        size_px: side of the pictures.
        elevation_deg: of the camera, positive above.
        threads: CPU threads of the rasteriser.
    """
    return render_u8(gaussians, orbit(frames, elevation_deg), size_px, threads=threads)


def webp(image: Pixels) -> bytes:
    """Encode one RGB image [H, W, 3] as lossy WebP."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", quality=_WEBP_QUALITY, method=_WEBP_EFFORT)
    return stream.getvalue()


def animated_webp(frames: Pixels, seconds: float = TURN_S) -> bytes:
    """Encode frames [T, H, W, 3 or 4] as a WebP that loops for ever, one turn in ``seconds``."""
    stream = io.BytesIO()
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(
        stream,
        "WEBP",
        save_all=True,
        append_images=rest,
        duration=round(1000 * seconds / len(frames)),
        loop=0,
        quality=_WEBP_QUALITY,
        method=2,
        minimize_size=False,
    )
    return stream.getvalue()


def png(image: Pixels) -> bytes:
    """Encode an RGB or RGBA image losslessly."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=6)
    return stream.getvalue()
