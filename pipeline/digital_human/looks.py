"""Looks other than a photo's: what an illustrator would make of a rendered head.

The paper's stylised application takes any portrait style in and gives a head of that style out. A
look is a function of a view's pixels and ground truth alone, so it agrees between the views of a
sequence as well as shading and outlines do.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.digital_human.parts import HAIR
from pipeline.digital_human.scene import NOTHING, Frame
from pipeline.errors import UsageError

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

OUTLINE = np.array([38, 30, 34], np.float32)
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
FLAT_TONES = 3
CARTOON_TONES = 4


def stylise(frame: Frame, look: str) -> Image:
    """Redraw a view in one of `LOOKS`.

    Args:
        frame: of `HeadScene.frame`.
        look: ``natural`` (as rendered), ``flat`` (few tones, no texture), ``painted`` (broad
            strokes, rich colours) or ``cartoon`` (few tones and dark outlines).

    Returns:
        [H, W, 4] uint8 straight alpha, rgb 0 where alpha is 0; the outline of the head is kept.

    Raises:
        UsageError: there is no such look.
    """
    if look not in LOOKS:
        raise UsageError(f"look {look!r} is none of {', '.join(LOOKS)}")
    redrawn = LOOKS[look](frame)
    redrawn[frame.rgba[..., 3] == 0] = 0
    return np.concatenate([redrawn, frame.rgba[..., 3:]], 2)


def _natural(frame: Frame) -> Image:
    return frame.rgba[..., :3].copy()


def _flat(frame: Frame) -> Image:
    return _toned(_smoothed(frame, 5), frame.parts, FLAT_TONES, 1.25)


def _painted(frame: Frame) -> Image:
    size = len(frame.rgba)
    strokes = cv2.edgePreservingFilter(_filled(frame), None, 1, size / 20, 0.45)
    rng = np.random.default_rng(size)
    canvas = cv2.GaussianBlur(rng.standard_normal((size, size)).astype(np.float32), (0, 0), 1.2)
    tooth = np.clip(strokes * (1 + 0.04 * canvas[..., None]), 0, 255).astype(np.uint8)
    return _richer(tooth, 1.35)


def _cartoon(frame: Frame) -> Image:
    toned = _toned(_smoothed(frame, 3), frame.parts, CARTOON_TONES, 1.4)
    lines = _outlines(frame)[..., None]
    return (toned * (1 - lines) + OUTLINE * lines).astype(np.uint8)


LOOKS: dict[str, Callable[[Frame], Image]] = {
    "natural": _natural,
    "flat": _flat,
    "painted": _painted,
    "cartoon": _cartoon,
}


def _filled(frame: Frame) -> Image:
    """The view with its mean colour behind it, so that filters do not pull black into its edge."""
    inside = frame.rgba[..., 3] > 0
    behind = frame.rgba[inside][:, :3].mean(0) if inside.any() else np.zeros(3)
    return np.where(inside[..., None], frame.rgba[..., :3], behind.astype(np.uint8))


def _smoothed(frame: Frame, rounds: int) -> Image:
    image, reach = _filled(frame), max(3, len(frame.rgba) // 64)
    for _ in range(rounds):
        image = np.asarray(cv2.bilateralFilter(image, 2 * reach + 1, 28, reach), np.uint8)
    return image


def _toned(image: Image, parts: Image, tones: int, saturation: float) -> Image:
    """Reduce each part's lightness to a few tones with soft steps between them."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    for part in np.unique(parts[parts != NOTHING]):
        here = parts == part
        low, high = np.percentile(lab[here][:, 0], [4, 96])
        place = np.clip((lab[here][:, 0] - low) / max(high - low, 1), 0, 1) * (tones - 1)
        step = np.floor(place)
        # A ramp over a fifth of a tone keeps the steps from flickering between views.
        eased = step + np.clip((place - step - 0.5) * 5 + 0.5, 0, 1)
        lab[here, 0] = low + eased / (tones - 1) * (high - low)
    flat = cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
    return _richer(np.asarray(flat, np.uint8), saturation)


def _richer(image: Image, saturation: float) -> Image:
    grey = image.astype(np.float32) @ _GREY
    colour = grey[..., None] + saturation * (image - grey[..., None])
    return np.clip(colour, 0, 255).astype(np.uint8)


def _outlines(frame: Frame) -> Floats:
    """Strength in [0, 1] of lines at creases, depth steps and borders between parts."""
    drawn = frame.parts != NOTHING
    depth = np.where(drawn, frame.depth, frame.depth.max() + 0.3).astype(np.float32)
    step = np.abs(cv2.Laplacian(depth, cv2.CV_32F, ksize=3)) > 0.06
    # Hair is drawn as one mass: its strands would fill it with ink.
    masses = cv2.medianBlur(frame.parts, 7)
    hair = cv2.dilate((masses == HAIR).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    kernel = np.ones((3, 3), np.uint8)
    border = cv2.dilate(masses, kernel) != cv2.erode(masses, kernel)
    lines = ((step & ~hair) | border) & drawn
    width = max(1.0, len(lines) / 256)
    thick = cv2.GaussianBlur(lines.astype(np.float32), (0, 0), 0.6 * width)
    return np.asarray(np.clip(1.6 * thick, 0, 0.92), np.float32)
