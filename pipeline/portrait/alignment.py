"""Similarity transforms between landmark sets, and the crop that ArcFace networks expect."""

import cv2
import numpy as np
import numpy.typing as npt

ARCFACE_SIZE_PX = 112
ARCFACE_TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float64,
)
"""Where the five landmarks lie in ArcFace's 112 px crop: image-left eye, image-right eye, nose,
image-left and image-right mouth corner; pixels, x right, y down."""
MIRRORED_ORDER = [1, 0, 2, 4, 3]
"""Which landmark takes each one's place in a mirror."""

Floats = npt.NDArray[np.float64]


def similarity(
    source: npt.ArrayLike, target: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> Floats:
    """Least-squares rotation, uniform scale and shift that take ``source`` to ``target``.

    In the plane, with points as complex numbers, this is one linear regression; unlike a general
    Umeyama fit it cannot come out mirrored.

    Args:
        source: [N, 2] points, N >= 2, not all equal.
        target: [N, 2] points.
        weights: [N] non-negative, default all one.

    Returns:
        [2, 3] float64 ``A`` with ``target ~ A[:, :2] @ source + A[:, 2]``.
    """
    z = np.asarray(source, np.float64) @ [1, 1j]
    w = np.asarray(target, np.float64) @ [1, 1j]
    mass = np.ones(len(z)) if weights is None else np.asarray(weights, np.float64)
    z_mean, w_mean = np.average(z, weights=mass), np.average(w, weights=mass)
    centred = z - z_mean
    turn = np.sum(mass * centred.conj() * (w - w_mean)) / np.sum(mass * abs(centred) ** 2)
    shift = w_mean - turn * z_mean
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def apply(transform: Floats, points: npt.ArrayLike) -> Floats:
    """Transform [N, 2] points by a [2, 3] matrix."""
    return np.asarray(points, np.float64) @ transform[:, :2].T + transform[:, 2]


def invert(transform: Floats) -> Floats:
    """The inverse of a [2, 3] similarity or affine transform."""
    linear = np.linalg.inv(transform[:, :2])
    return np.concatenate([linear, -linear @ transform[:, 2:]], 1)


def warp(
    image: npt.NDArray[np.uint8],
    transform: Floats,
    size_px: tuple[int, int],
    border: tuple[int, ...] | None = (0, 0, 0, 0),
) -> npt.NDArray[np.uint8]:
    """Resample an image, antialiased when it shrinks.

    ``warpAffine`` samples four source pixels whatever the scale, so an image that shrinks is
    first reduced by area averaging to at most 1.5 times the wanted resolution.

    Args:
        image: [H, W, C] uint8; alpha, if any, premultiplied by the caller.
        transform: [2, 3] from image pixels to output pixels, pixel centres at integers + 0.5.
        size_px: (width, height) of the output.
        border: value outside the image; None continues the image's edge.

    Returns:
        [height, width, C] uint8.
    """
    scale = float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))
    if scale < 1 / 1.5:
        height, width = image.shape[:2]
        reduced = (max(1, round(width * scale * 1.25)), max(1, round(height * scale * 1.25)))
        shrink = np.array([width / reduced[0], height / reduced[1]])
        image = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA)
        transform = np.concatenate([transform[:, :2] * shrink, transform[:, 2:]], 1)
    half = np.array([0.5, 0.5])  # cv2 puts pixel centres at integers
    shifted = transform.copy()
    shifted[:, 2] += transform[:, :2] @ half - half
    result: npt.NDArray[np.uint8] = cv2.warpAffine(
        image,
        shifted,
        size_px,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE if border is None else cv2.BORDER_CONSTANT,
        borderValue=border or 0,
    )
    return result


def arcface_crop(rgb: npt.NDArray[np.uint8], landmarks: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """The aligned crop that ArcFace networks are fed.

    Args:
        rgb: [H, W, 3] uint8.
        landmarks: [5, 2] pixels, in the order of ARCFACE_TEMPLATE.

    Returns:
        [112, 112, 3] uint8.
    """
    transform = similarity(landmarks, ARCFACE_TEMPLATE)
    return warp(rgb, transform, (ARCFACE_SIZE_PX, ARCFACE_SIZE_PX))
