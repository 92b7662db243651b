"""Colours of calibrated cameras: a polynomial in linear RGB (Cheung et al. 2004)."""

import numpy as np
import numpy.typing as npt

from pipeline.errors import UnreadableSource

_CROSS = ("rg", "rb", "gb")
_SQUARES = ("rr", "gg", "bb")
_CUBES = ("rrr", "ggg", "bbb")
_THIRDS = ("rrg", "ggb", "bbr")
_OTHER_THIRDS = ("rrb", "ggr", "bbg")
_LINEAR = ("r", "g", "b")
_UP_TO_TWO = (*_LINEAR, *_CROSS, *_SQUARES)
_UP_TO_RGB = (*_UP_TO_TWO, "rgb")
_UP_TO_THIRDS = (*_UP_TO_RGB, *_THIRDS)
_UP_TO_THREE = (*_UP_TO_THIRDS, *_OTHER_THIRDS, *_CUBES)
_MONOMIALS = {
    len(terms): terms
    for terms in (
        _LINEAR,
        (*_LINEAR, "rgb", ""),
        (*_LINEAR, *_CROSS, ""),
        (*_LINEAR, *_CROSS, "rgb", ""),
        (*_UP_TO_TWO, ""),
        (*_UP_TO_RGB, ""),
        (*_UP_TO_RGB, *_CUBES, ""),
        (*_UP_TO_THIRDS, *_CUBES),
        (*_UP_TO_THIRDS, *_CUBES, ""),
        _UP_TO_THREE,
        (*_UP_TO_THREE, ""),
        (*_UP_TO_THREE, "rrgb", "rggb", "rgbb"),
    )
}
"""What a matrix of so many columns multiplies: "rrg" is the square of red times green, "" is 1."""


def correct_colors(
    rgb: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """Apply a camera's colour calibration.

    Args:
        rgb: [..., 3] uint8 sRGB.
        matrix: [3, n], n one of 3, 5, 7, 8, 10, 11, 14, 16, 17, 19, 20, 22.

    Returns:
        [..., 3] uint8 sRGB.

    Raises:
        UnreadableSource: the matrix has another shape.
    """
    if matrix.ndim != 2 or matrix.shape[0] != 3 or matrix.shape[1] not in _MONOMIALS:
        raise UnreadableSource(
            f"a colour calibration of shape {matrix.shape} is not known; it must be 3 x one of "
            f"{', '.join(map(str, _MONOMIALS))}"
        )
    linear = _TO_LINEAR[rgb]
    corrected = np.zeros(rgb.shape, np.float64)
    for weights, monomial in zip(matrix.T, _MONOMIALS[matrix.shape[1]], strict=True):
        term = np.ones(rgb.shape[:-1])
        for channel in monomial:
            term = term * linear[..., "rgb".index(channel)]
        corrected += term[..., None] * weights
    return np.round(255 * _to_srgb(corrected.clip(0, 1))).astype(np.uint8)


def _to_srgb(linear: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """IEC 61966-2-1, 0 to 1."""
    curved = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(linear <= 0.0031308, 12.92 * linear, curved))


def _from_srgb(encoded: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    curved = ((np.maximum(encoded, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.asarray(np.where(encoded <= 0.04045, encoded / 12.92, curved))


_TO_LINEAR = _from_srgb(np.arange(256) / 255)
