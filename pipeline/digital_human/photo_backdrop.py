"""Procedural backgrounds for photo mode: what may stand behind a head in a photo."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

Image = npt.NDArray[np.uint8]

SAMPLE_PHOTOS = (
    "brick.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "color.png",
    "grass.png",
    "gravel.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
"""Photos in the scikit-image wheel without a human face; the astronaut stays a test photo."""


def backdrop(height: int, width: int, rng: np.random.Generator) -> Image:
    """Draw a random background.

    Args:
        height: pixels.
        width: pixels.
        rng: source of every choice.

    Returns:
        [height, width, 3] uint8 RGB.
    """
    kinds = (_gradient, _noise, _shapes, _room, _bricks, sample_photo_crop)
    kind = kinds[rng.choice(len(kinds), p=(0.17, 0.1, 0.16, 0.19, 0.05, 0.33))]
    image = kind(height, width, rng)
    if rng.random() < 0.25:
        other = kinds[rng.integers(len(kinds))](height, width, rng)
        mask = smooth_field(height, width, rng, cells=int(rng.integers(2, 5)))[..., None] > 0
        image = np.where(mask, image, other)
    if rng.random() < 0.45:
        sigma = float(np.exp(rng.uniform(np.log(0.005), np.log(0.06)))) * height
        image = _blur(image, sigma)
    return image


def smooth_field(
    height: int, width: int, rng: np.random.Generator, cells: int = 3
) -> npt.NDArray[np.float32]:
    """Smooth noise of about unit variance with ``cells`` bumps a side, [height, width] float32."""
    knots = rng.standard_normal((cells + 1, cells + 1)).astype(np.float32)
    field: npt.NDArray[np.float32] = cv2.resize(
        knots, (width, height), interpolation=cv2.INTER_CUBIC
    )
    return field


def random_colour(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """An RGB colour in 0..255, often dull as walls and cloth are."""
    grey = rng.uniform(10, 250)
    hue = rng.uniform(0, 255, 3)
    vividness = rng.beta(1.2, 2.5)
    return np.asarray(grey + (hue - hue.mean()) * vividness).clip(0, 255)


def _blur(image: Image, sigma: float) -> Image:
    """Gaussian blur; wide ones at reduced size, where they cost nothing."""
    height, width = image.shape[:2]
    shrink = max(1, int(sigma / 2))
    small = (max(2, width // shrink), max(2, height // shrink))
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    reduced = cv2.GaussianBlur(reduced, (0, 0), max(sigma / shrink, 0.3))
    result: Image = cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR)
    return result


def _gradient(height: int, width: int, rng: np.random.Generator) -> Image:
    corners = np.stack([random_colour(rng)] * 4)
    corners += rng.normal(0, rng.uniform(0, 60), (4, 3))
    knots = corners.reshape(2, 2, 3).clip(0, 255).astype(np.float32)
    image: Image = cv2.resize(knots, (width, height)).astype(np.uint8)
    return image


def _noise(height: int, width: int, rng: np.random.Generator) -> Image:
    image = np.tile(random_colour(rng).astype(np.float32), (height, width, 1))
    for cells in (2, 4, 8, 16, 32, 64)[: int(rng.integers(1, 7))]:
        tint = rng.normal(0, 1, 3) * 0.4 + 1
        amplitude = rng.uniform(5, 45) / np.sqrt(cells / 2)
        image += amplitude * smooth_field(height, width, rng, cells)[..., None] * tint
    return image.clip(0, 255).astype(np.uint8)


def _shapes(height: int, width: int, rng: np.random.Generator) -> Image:
    image = _gradient(height, width, rng)
    for _ in range(int(rng.integers(3, 22))):
        colour = random_colour(rng).tolist()
        x, y = (int(v) for v in rng.integers((0, 0), (width, height)))
        size = float(np.exp(rng.uniform(np.log(0.02), np.log(0.5)))) * height
        if rng.random() < 0.5:
            axes = (int(size * rng.uniform(0.3, 1)) + 1, int(size * rng.uniform(0.3, 1)) + 1)
            cv2.ellipse(image, (x, y), axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corners = np.array([x, y]) + rng.normal(0, size, (int(rng.integers(3, 6)), 2))
            cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    return image


def _room(height: int, width: int, rng: np.random.Generator) -> Image:
    """Walls, shelves, windows: upright boxes with frames and inner detail."""
    image = _gradient(height, width, rng)
    for _ in range(int(rng.integers(2, 14))):
        left, top = rng.integers((-width // 4, -height // 4), (width, height))
        box_w, box_h = (np.exp(rng.uniform(np.log(0.04), np.log(0.7), 2)) * height).astype(int)
        corner, opposite = (int(left), int(top)), (int(left + box_w), int(top + box_h))
        cv2.rectangle(image, corner, opposite, random_colour(rng).tolist(), -1)
        if rng.random() < 0.6:
            thickness = max(1, int(rng.uniform(0.003, 0.03) * height))
            cv2.rectangle(image, corner, opposite, random_colour(rng).tolist(), thickness)
        if rng.random() < 0.3:
            for x in range(corner[0], opposite[0], max(3, int(rng.uniform(0.02, 0.1) * width))):
                cv2.line(image, (x, corner[1]), (x, opposite[1]), random_colour(rng).tolist(), 1)
    return image


def _bricks(height: int, width: int, rng: np.random.Generator) -> Image:
    image = np.tile(random_colour(rng), (height, width, 1)).astype(np.uint8)
    colour = random_colour(rng)
    brick_h = max(3, int(rng.uniform(0.04, 0.15) * height))
    brick_w = int(brick_h * rng.uniform(1.5, 3.5))
    joint = max(1, int(brick_h * rng.uniform(0.05, 0.2)))
    for row, top in enumerate(range(0, height, brick_h)):
        for left in range(-(row % 2) * brick_w // 2, width, brick_w):
            shade = (colour + rng.normal(0, 14)).clip(0, 255).tolist()
            end = (left + brick_w - joint, top + brick_h - joint)
            cv2.rectangle(image, (left, top), end, shade, -1)
    return image


def sample_photo_crop(height: int, width: int, rng: np.random.Generator) -> Image:
    """A piece of one of `SAMPLE_PHOTOS`, sometimes mirrored, turned or recoloured.

    Shapes are drawn instead where the installed scikit-image carries none of them.
    """
    photos = _sample_photos()
    if not photos:
        return _shapes(height, width, rng)
    photo = photos[rng.integers(len(photos))]
    side = rng.uniform(0.15, 1.0) * min(photo.shape[:2])
    tall, wide = max(8, int(side)), max(8, int(side * min(1, width / height)))
    top = rng.integers(photo.shape[0] - tall + 1)
    left = rng.integers(photo.shape[1] - wide + 1)
    piece = photo[top : top + tall, left : left + wide]
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    if rng.random() < 0.2:
        piece = np.rot90(piece)
    shrinks = piece.shape[0] > height
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    image: Image = cv2.resize(np.ascontiguousarray(piece), (width, height), interpolation=method)
    if rng.random() < 0.4:
        image = image[..., rng.permutation(3)]
    return image


@lru_cache(maxsize=1)
def _sample_photos() -> list[Image]:
    """The sample photos that the installed scikit-image carries; it is never asked to download."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    photos = []
    for name in SAMPLE_PHOTOS:
        if (folder / name).is_file():
            with PIL.Image.open(folder / name) as photo:
                photo.thumbnail((600, 400))
                photos.append(np.array(photo.convert("RGB")))
    return photos
