"""Subjects as a picture: portrait, truth and what was made of them, one below the other."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pipeline.images import resize

Views = npt.NDArray[np.uint8]
_LABEL_WIDTH_PX = 130
_TITLE_HEIGHT_PX = 22


def sheet(
    blocks: Sequence[tuple[str, npt.NDArray[np.uint8], Mapping[str, Views]]], thumb_px: int = 96
) -> Image.Image:
    """A picture that shows subjects one below the other.

    Args:
        blocks: for each subject a title, its portrait [H, W, 3] uint8, and its rows: label ->
            views [V, H, W, 3] uint8.
        thumb_px: side of each small view.
    """
    strips = [strip for block in blocks for strip in _block(*block, thumb_px)]
    picture = Image.new(
        "RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white"
    )
    top = 0
    for strip in strips:
        picture.paste(strip, (0, top))
        top += strip.height
    return picture


def _block(
    title: str, portrait: npt.NDArray[np.uint8], rows: Mapping[str, Views], thumb_px: int
) -> list[Image.Image]:
    strips = [_text(title, 60 + 8 * len(title), _TITLE_HEIGHT_PX)]
    for index, (label, views) in enumerate(rows.items()):
        first = portrait[None] if index == 0 else np.full((1, 1, 1, 3), 255, np.uint8)
        thumbs = np.concatenate([resize(first, thumb_px), resize(views, thumb_px)])
        strip = np.concatenate(list(thumbs), axis=1)
        picture = Image.new("RGB", (_LABEL_WIDTH_PX + strip.shape[1], thumb_px), "white")
        picture.paste(_text(label, _LABEL_WIDTH_PX, thumb_px), (0, 0))
        picture.paste(Image.fromarray(strip), (_LABEL_WIDTH_PX, 0))
        strips.append(picture)
    return strips


def _text(text: str, width: int, height: int) -> Image.Image:
    label = Image.new("RGB", (width, height), "white")
    font = ImageFont.load_default(14)
    ImageDraw.Draw(label).text((6, height / 2), text, "black", font, anchor="lm")
    return label
