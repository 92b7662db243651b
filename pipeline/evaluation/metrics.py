"""Image metrics, each on 8-bit sRGB images over white, and their mean over subjects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_ROUNDING_ERROR = 1 / 12
PSNR_CEILING_DB = float(10 * np.log10(255.0**2 / _ROUNDING_ERROR))
"""What rounding to 8 bits alone leaves, 58.9 dB: identical images get this, so that a mean over
views stays finite."""

_SSIM_SIGMA_PX = 1.5
_SSIM_WINDOW_RADIUS_PX = 5
SSIM_LEAST_PX = 2 * _SSIM_WINDOW_RADIUS_PX + 1
"""Side of SSIM's window, and so of the smallest image that it can compare."""
_WHITE_LEVEL = 250
_FACE_PER_LANDMARKS = 2.5
"""Side of the square that shows a face, in sides of the box round its five landmarks: from the
brows to the chin, a little less than ArcFace's crop."""


@dataclass(frozen=True)
class Estimate:
    """A mean over subjects, how they differ, and how far chance may have moved it.

    Attributes:
        mean: over the subjects.
        standard_error: the standard deviation divided by the root of the number of subjects.
        standard_deviation: over subjects, n - 1; NaN for one subject.
        subjects: how many there were.
    """

    mean: float
    standard_error: float
    standard_deviation: float
    subjects: int

    def __str__(self) -> str:
        return f"{self.mean:.3g} +- {self.standard_error:.2g}"


def estimate(values: Sequence[float]) -> Estimate:
    """Average one value per subject; NaN marks a subject that has none and is left out."""
    known = np.asarray([value for value in values if not np.isnan(value)], np.float64)
    if len(known) == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    deviation = float(known.std(ddof=1)) if len(known) > 1 else float("nan")
    return Estimate(float(known.mean()), deviation / len(known) ** 0.5, deviation, len(known))


def psnr(image: Image, target: Image, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio of one image, dB, at most `PSNR_CEILING_DB`.

    Args:
        image: [H, W, 3] uint8.
        target: [H, W, 3] uint8.
        mask: [H, W]; only its true pixels count. None counts all.

    Raises:
        ValueError: the shapes differ, or the mask is empty.
    """
    _check_pair(image, target)
    difference = image.astype(np.float64) - target
    if mask is not None:
        if not mask.any():
            raise ValueError("the mask has no true pixel, so there is nothing to compare")
        difference = difference[mask]
    error = max(float(np.mean(difference**2)), _ROUNDING_ERROR)
    return float(10 * np.log10(255.0**2 / error))


def head_mask(image: Image, target: Image) -> Mask:
    """Where either of two images on white [H, W, 3] uint8 shows something other than white.

    Returns:
        [H, W]; all true if both images are white throughout.
    """
    _check_pair(image, target)
    mask: Mask = np.minimum(image, target).min(-1) < _WHITE_LEVEL
    return mask if mask.any() else np.ones_like(mask)


def face_box(landmarks: npt.ArrayLike, size_px: int) -> tuple[slice, slice]:
    """The rows and columns of a square round a face, as far as they are in the image.

    Args:
        landmarks: [5, 2] pixels, the middle of the face in the image.
        size_px: side of the image.
    """
    points = np.asarray(landmarks, np.float64)
    low, high = points.min(0), points.max(0)
    centre, half = (low + high) / 2, _FACE_PER_LANDMARKS / 2 * (high - low).max()
    first = np.clip(np.round(centre - half), 0, size_px - 1).astype(int)
    last = np.clip(np.round(centre + half), first + 1, size_px).astype(int)
    return slice(first[1], last[1]), slice(first[0], last[0])


def ssim(image: Image, target: Image) -> float:
    """Structural similarity (Wang et al. 2004) of one image, -1 to 1; mean over the channels.

    Gaussian window of sigma 1.5 and 11 pixels, K1 0.01, K2 0.03, population covariance, borders
    of half a window left out.

    Args:
        image: [H, W, 3] uint8, at least 11 pixels a side.
        target: [H, W, 3] uint8.

    Raises:
        ValueError: the shapes differ or a side is too short.
    """
    _check_pair(image, target)
    if min(image.shape[:2]) < SSIM_LEAST_PX:
        sides = image.shape[:2]
        raise ValueError(f"SSIM needs sides of {SSIM_LEAST_PX} pixels or more, got {sides}")
    x, y = image.astype(np.float64), target.astype(np.float64)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variance_x = _window_mean(x * x) - mean_x**2
    variance_y = _window_mean(y * y) - mean_y**2
    covariance = _window_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    inside = slice(_SSIM_WINDOW_RADIUS_PX, -_SSIM_WINDOW_RADIUS_PX)
    return float((luminance * structure)[inside, inside].mean())


def _window_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    averaged: npt.NDArray[np.float64] = ndimage.gaussian_filter(
        values, _SSIM_SIGMA_PX, radius=_SSIM_WINDOW_RADIUS_PX, axes=(0, 1)
    )
    return averaged


def _check_pair(image: Image, target: Image) -> None:
    for name, array in (("image", image), ("target", target)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
            raise ValueError(f"{name} must be [H, W, 3] uint8, got {array.dtype} {array.shape}")
    if image.shape != target.shape:
        raise ValueError(f"image {image.shape} and target {target.shape} differ in shape")
