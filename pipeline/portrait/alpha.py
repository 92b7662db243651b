"""Straight and premultiplied alpha: images are kept straight and resampled premultiplied."""

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


def premultiply(rgba: Image) -> Image:
    """Straight RGBA [..., 4] uint8 to premultiplied, which may be resampled without dark edges."""
    alpha = rgba[..., 3:].astype(np.uint16)
    rgb = (rgba[..., :3] * alpha + np.uint16(127)) // np.uint16(255)
    return np.concatenate([rgb.astype(np.uint8), rgba[..., 3:]], -1)


def straight(premultiplied: Image) -> Image:
    """The inverse of `premultiply`; rgb is 0 where alpha is 0."""
    alpha = premultiplied[..., 3:]
    rgb = premultiplied[..., :3].astype(np.uint16) * np.uint16(255) // np.maximum(alpha, 1)
    return np.concatenate([rgb.clip(0, 255).astype(np.uint8), alpha], -1)


def on_white(rgba: Image) -> Image:
    """Composite straight RGBA [..., 4] uint8 on white: [..., 3] uint8."""
    alpha = rgba[..., 3:].astype(np.uint16)
    mixed = rgba[..., :3] * alpha + np.uint16(255) * (np.uint16(255) - alpha) + np.uint16(127)
    return np.asarray(mixed // np.uint16(255), np.uint8)
