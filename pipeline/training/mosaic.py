"""Pictures of several photo-mode heads, with boxes and landmarks, for the face detector."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.digital_human.photo import over, relight, take_photo
from pipeline.digital_human.photo_backdrop import backdrop, random_colour, sample_photo_crop
from pipeline.digital_human.photo_body import add_body
from pipeline.portrait import alignment
from pipeline.portrait.alpha import premultiply, straight
from pipeline.portrait.framing import warp_straight
from pipeline.training.head_views import HeadView, HeadViews

Image = npt.NDArray[np.uint8]

SMALLEST_FACE_PX = 9.0
HIDDEN_SHARE = 0.45
"""A face of which more than this share is covered is left out of the loss."""


@dataclass(frozen=True)
class Mosaic:
    """A picture with known faces.

    Attributes:
        rgb: [S, S, 3] uint8.
        boxes: [N, 4] left, top, right, bottom, pixels.
        landmarks: [N, 5, 2] pixels, ArcFace's order.
        ignored: [M, 4] boxes of what may or may not be taken for a face.
    """

    rgb: Image
    boxes: npt.NDArray[np.float32]
    landmarks: npt.NDArray[np.float32]
    ignored: npt.NDArray[np.float32]


@dataclass
class _Placed:
    view: HeadView
    to_canvas: npt.NDArray[np.float64]
    box: npt.NDArray[np.float64]


def draw_mosaic(views: HeadViews, size_px: int, rng: np.random.Generator) -> Mosaic:
    """Compose a picture of 0 to 6 heads of all sizes, some turned away, some partly hidden.

    Args:
        views: where the heads come from.
        size_px: side of the square picture.
        rng: source of every choice.
    """
    placed: list[_Placed] = []
    count = int(rng.choice(7, p=(0.16, 0.24, 0.19, 0.15, 0.11, 0.09, 0.06)))
    # without heads a real photo is the hardest negative there is
    canvas = (backdrop if count else sample_photo_crop)(size_px, size_px, rng)
    for _ in range(count):
        view = views.draw(rng, with_face=rng.random() > 0.18)
        head = _place(view, size_px, count, rng)
        if all(_overlap(head.box, other.box) < 0.15 for other in placed):
            canvas = _paint(canvas, head, rng)
            placed.append(head)
    covered = _occlude(canvas, placed, rng)
    return _label(take_photo(canvas, rng), placed, covered)


def vary(mosaic: Mosaic, rng: np.random.Generator) -> Mosaic:
    """The same picture in other light, mirrored half of the time."""
    rgb = take_photo(mosaic.rgb, rng, 0.5)
    if rng.random() < 0.5:
        return replace(mosaic, rgb=rgb)
    side = mosaic.rgb.shape[0]
    mirrored = [
        np.stack([side - b[:, 2], b[:, 1], side - b[:, 0], b[:, 3]], 1)
        for b in (mosaic.boxes, mosaic.ignored)
    ]
    landmarks = mosaic.landmarks[:, alignment.MIRRORED_ORDER] * (-1, 1) + (side, 0)
    return Mosaic(
        np.ascontiguousarray(rgb[:, ::-1]), mirrored[0], landmarks.astype(np.float32), mirrored[1]
    )


def _place(view: HeadView, size_px: int, count: int, rng: np.random.Generator) -> _Placed:
    largest = size_px * (0.75 if count == 1 else 0.45)
    face_px = np.exp(rng.uniform(np.log(SMALLEST_FACE_PX), np.log(largest)))
    extent = view.face_box[2:] - view.face_box[:2]
    scale = face_px / np.sqrt(extent.prod())
    roll = np.radians(np.clip(rng.normal(0, 14), -42, 42))
    turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    margin = 0.35 * face_px
    target = rng.uniform(margin, size_px - margin, 2)
    centre = (view.face_box[:2] + view.face_box[2:]) / 2
    to_canvas = np.concatenate([turn, (target - turn @ centre)[:, None]], 1)
    half = extent * scale / 2 * (1 + 0.15 * abs(np.sin(2 * roll)))
    return _Placed(view, to_canvas, np.concatenate([target - half, target + half]))


def _overlap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Intersection over the smaller box's area."""
    sides = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0)
    smaller = min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod())
    return float(sides.prod() / smaller)


def _paint(canvas: Image, head: _Placed, rng: np.random.Generator) -> Image:
    """Draw the head, often with a body, at the resolution it will have on the canvas."""
    size_px = head.view.rgba.shape[0]
    scale = float(np.sqrt(np.linalg.det(head.to_canvas[:, :2])))
    # large heads are mostly drawn soft: quicker, and photos are often soft too
    sharpest_px = size_px if rng.random() < 0.35 else 112
    work_px = max(12, min(round(size_px * scale), sharpest_px))
    pad = int(work_px * 0.4)
    tile = np.zeros((work_px + 2 * pad, work_px + 2 * pad, 4), np.uint8)
    shrink = np.array([[1.0, 0, 0], [0, 1, 0]]) * (work_px / size_px)
    tile[:work_px, pad : pad + work_px] = warp_straight(head.view.rgba, shrink, work_px)
    tile = relight(tile, rng, 0.7)
    if rng.random() < 0.9:
        tile = add_body(tile, rng)
    tile = premultiply(tile)
    per_work_px = size_px / work_px
    from_tile = head.to_canvas.copy()
    from_tile[:, 2] -= per_work_px * from_tile[:, :2] @ [pad, 0]
    from_tile[:, :2] *= per_work_px
    return _paste(canvas, tile, from_tile, rng)


def _paste(
    canvas: Image,
    tile: Image,
    to_canvas: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Image:
    """Composite a tile onto the part of the canvas that it touches."""
    side, last = tile.shape[0], canvas.shape[0]
    corners = alignment.apply(to_canvas, [[0, 0], [side, 0], [0, side], [side, side]])
    left, top = np.floor(corners.min(0)).clip(0, last).astype(int)
    right, bottom = np.ceil(corners.max(0)).clip(0, last).astype(int)
    if right <= left or bottom <= top:
        return canvas
    local = to_canvas.copy()
    local[:, 2] -= (left, top)
    size = (int(right - left), int(bottom - top))
    warped = straight(alignment.warp(tile, local, size))
    canvas[top:bottom, left:right] = over(warped, canvas[top:bottom, left:right], rng)
    return canvas


def _occlude(
    canvas: Image, placed: list[_Placed], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Lay hands, cups, signs and the like over some faces; returns the covered mask."""
    cover: Image = np.zeros(canvas.shape[:2], np.uint8)
    for head in placed:
        if rng.random() < 0.18:
            shape = np.zeros_like(cover)
            width, height = head.box[2:] - head.box[:2]
            x, y = rng.uniform(head.box[:2], head.box[2:])
            size = rng.uniform(0.1, 0.5, 2) * (width, height)
            axes = (max(1, int(size[0])), max(1, int(size[1])))
            if rng.random() < 0.5:
                angle = float(rng.uniform(0, 180))
                cv2.ellipse(shape, (int(x), int(y)), axes, angle, 0, 360, 255, -1, cv2.LINE_AA)
            else:
                corner = (int(x + axes[0]), int(y + axes[1]))
                cv2.rectangle(shape, (int(x - axes[0]), int(y - axes[1])), corner, 255, -1)
            share = shape[..., None] / np.float32(255)
            canvas[:] = canvas * (1 - share) + random_colour(rng) * share
            cover = np.maximum(cover, shape)
    return np.asarray(cover / 255, np.float32)


def _label(rgb: Image, placed: list[_Placed], covered: npt.NDArray[np.float32]) -> Mosaic:
    size_px = rgb.shape[0]
    boxes, landmarks, ignored = [], [], []
    for head in placed:
        left, top = np.maximum(head.box[:2], 0).astype(int)
        right, bottom = np.minimum(np.ceil(head.box[2:]), size_px).astype(int)
        area = (head.box[2:] - head.box[:2]).prod()
        visible = (right - left) * (bottom - top) - covered[top:bottom, left:right].sum()
        if head.view.is_turned_away:
            continue
        if head.view.shows_face and visible >= (1 - HIDDEN_SHARE) * area:
            boxes.append(head.box)
            landmarks.append(alignment.apply(head.to_canvas, head.view.landmarks))
        else:
            ignored.append(head.box)
    return Mosaic(
        rgb,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(landmarks, np.float32).reshape(-1, 5, 2),
        np.array(ignored, np.float32).reshape(-1, 4),
    )
