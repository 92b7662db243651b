"""Clothes and shoulders for photo mode: what continues where a digital human's bust is cut.

A bust ends at an ellipsoid; a person does not. The body drawn here takes up the bust's own colours
across the cut, so that nothing but the pose of the head tells a matting network where to cut.
"""

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.digital_human.photo_backdrop import random_colour, smooth_field

Image = npt.NDArray[np.uint8]


def add_body(rgba: Image, rng: np.random.Generator) -> Image:
    """Draw a body under and beside a bust, down to the image's lower border.

    Args:
        rgba: [H, W, 4] uint8 straight alpha, the head upright with room below or beside it.
        rng: source of every choice.

    Returns:
        [H, W, 4] uint8 straight alpha: the bust as it was, over a body. The input where nothing
        is visible in its lower half.
    """
    mask = _body_mask(rgba[..., 3], rng)
    if mask is None:
        return rgba
    body = _continue_colours(rgba, rng)
    if rng.random() < 0.3:
        body = _recolour(body, rng)
    alpha = rgba[..., 3:].astype(np.uint16)
    below = np.uint16(255) - alpha
    covered = mask[..., None].astype(np.uint16) * below // 255
    total = alpha + covered
    colour = rgba[..., :3] * alpha + body * covered
    result = np.concatenate([colour // np.maximum(total, 1), total], 2).astype(np.uint8)
    if rng.random() < 0.3:
        _draw_lapels(result, rgba[..., 3], rng)
    return result


def _body_mask(alpha: Image, rng: np.random.Generator) -> Image | None:
    """Where the body is: [H, W] uint8, a shoulder line that starts at the bust's widest row."""
    height, width = alpha.shape
    rows = np.nonzero((alpha > 128).any(1))[0]
    if len(rows) == 0:
        return None
    top, bottom = int(rows[0]), int(rows[-1])
    low = alpha[top + (bottom - top) * 2 // 3 : bottom + 1] > 128
    spans = low.sum(1)
    widest = int(spans.argmax())
    columns = np.nonzero(low[widest])[0]
    if len(columns) < 3:
        return None
    y = top + (bottom - top) * 2 // 3 + widest
    left, right = float(columns[0]), float(columns[-1])
    tall = bottom - top
    mask = np.zeros((height, width), np.uint8)
    outline = [*_shoulder(left, y, -1, tall, height, rng)[::-1]]
    outline += _shoulder(right, y, 1, tall, height, rng)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 255, cv2.LINE_AA)
    return mask


def _shoulder(
    x: float, y: float, side: int, tall: int, height: int, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Points from the bust's edge over the shoulder down to below the image."""
    reach, drop = tall * rng.uniform(0.02, 0.65), tall * rng.uniform(0.05, 0.35)
    start = (x - side * 0.06 * tall, y - tall * rng.uniform(-0.02, 0.05))
    end = (x + side * reach, y + drop)
    bend = (x + side * reach * rng.uniform(0.5, 1.0), y + drop * rng.uniform(0.0, 0.5))
    points = [start]
    for t in (0.25, 0.5, 0.75, 1.0):
        points.append(
            (
                (1 - t) ** 2 * start[0] + 2 * t * (1 - t) * bend[0] + t * t * end[0],
                (1 - t) ** 2 * start[1] + 2 * t * (1 - t) * bend[1] + t * t * end[1],
            )
        )
    points.append((end[0] + side * tall * rng.uniform(0, 0.3), max(height, end[1]) + 2.0))
    return points


def _continue_colours(rgba: Image, rng: np.random.Generator) -> Image:
    """Each pixel outside the bust takes the colour of the nearest one inside, softly shaded."""
    height, width = rgba.shape[:2]
    inside = (rgba[..., 3] > 250).astype(np.uint8)
    if not inside.any():
        inside = (rgba[..., 3] > 0).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        1 - inside, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    ys, xs = np.nonzero(inside)
    nearest = np.zeros(int(labels.max()) + 1, np.int64)
    nearest[labels[ys, xs]] = ys * width + xs
    body = rgba[..., :3].reshape(-1, 3)[nearest[labels]]
    sigma = max(0.6, height * rng.uniform(0.005, 0.03))
    body = np.where(inside[..., None] > 0, body, cv2.GaussianBlur(body, (0, 0), sigma))
    distance = np.linspace(0, rng.uniform(0, 0.6), height, dtype=np.float32)[:, None]
    folds = 1 + distance * smooth_field(height, width, rng, int(rng.integers(2, 9)))
    return np.asarray(body * folds[..., None]).clip(0, 255).astype(np.uint8)


def _recolour(body: Image, rng: np.random.Generator) -> Image:
    """Another garment over the shoulders."""
    height, width = body.shape[:2]
    shade = 1 + 0.15 * smooth_field(height, width, rng, int(rng.integers(2, 9)))
    plain = (random_colour(rng) * shade[..., None]).clip(0, 255)
    share = rng.uniform(0.3, 1.0)
    return np.asarray(body * (1 - share) + plain * share).astype(np.uint8)


def _draw_lapels(rgba: Image, bust: Image, rng: np.random.Generator) -> None:
    """Paint a jacket or scarf across the cut, so that clothes do not end where the bust does."""
    rows = np.nonzero((bust > 128).any(1))[0]
    columns = np.nonzero((bust > 128).any(0))[0]
    tall, middle = rows[-1] - rows[0], (columns[0] + columns[-1]) / 2
    neck = rows[-1] - tall * rng.uniform(0.06, 0.16)
    paint = np.zeros(bust.shape, np.uint8)
    for side in (-1, 1):
        if rng.random() < 0.85:
            gap, flare = rng.uniform(0.02, 0.3) * tall, rng.uniform(0.2, 0.5) * tall
            inner = (middle + side * gap, neck + tall * rng.uniform(0.0, 0.12))
            low = (middle + side * gap * rng.uniform(0, 1), bust.shape[0] + 2)
            outer = (middle + side * (gap + flare), neck + tall * rng.uniform(0.05, 0.2))
            corner = (middle + side * (gap + 3 * flare), bust.shape[0] + 2)
            points = np.array([inner, outer, corner, low])
            cv2.fillPoly(paint, [points.astype(np.int32)], 255, cv2.LINE_AA)
    share = (paint * (rgba[..., 3] > 128))[..., None] / np.float32(255)
    shade = 1 + 0.12 * smooth_field(bust.shape[0], bust.shape[1], rng, 5)[..., None]
    cloth = (random_colour(rng) * shade).clip(0, 255)
    rgba[..., :3] = (rgba[..., :3] * (1 - share) + cloth * share).astype(np.uint8)
