"""Colours of generated views, brought into line with the portrait's.

A small model gets the shape of hair and clothes right long before their exact colours, and the
portrait knows those. The view nearest to the portrait's side says which generated colour stands
for which true one; that change of colours, smooth in colour space, is applied to every view, so
the back of the head follows the front.
"""

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from pipeline.images import Bytes
from pipeline.portrait.alpha import on_white

Floats = npt.NDArray[np.float64]

_CELLS = 16
"""Cells a side in which colours are compared: coarse enough to forgive a slightly other pose."""
_GRID = 17
_BANDWIDTH = 25.0
"""How far a comparison reaches in colour space, of 255."""
_PRIOR = 0.03
"""Share of all cells that must vote for a change before it is half believed."""
_DOUBT = 100.0
"""Differences much beyond this, of 255, rather show another shape than another colour."""
_BACKGROUND_LEVEL = 230
_WHITE_REACH = 60.0


def match_colors(
    views: Bytes, azimuths_deg: npt.NDArray[np.float32], portrait: Bytes, yaw_deg: float
) -> Bytes:
    """Change the colours of all views so that the one on the portrait's side agrees with it.

    Args:
        views: [V, H, H, 3] uint8 on white.
        azimuths_deg: [V] of the views.
        portrait: [P, P, 4] uint8 straight alpha, framed as the views are.
        yaw_deg: azimuth of the portrait's camera.

    Returns:
        [V, H, H, 3] uint8; white stays white.
    """
    apart_deg = np.abs((azimuths_deg - yaw_deg + 180) % 360 - 180)
    made = _cells(views[int(apart_deg.argmin())])
    true = _cells(on_white(portrait))
    shown = (made.min(1) < _BACKGROUND_LEVEL) & (true.min(1) < _BACKGROUND_LEVEL)
    table = _color_table(made[shown], true[shown])
    lookup = ImageFilter.Color3DLUT(_GRID, table.ravel().tolist())
    return np.stack([np.asarray(Image.fromarray(view).filter(lookup)) for view in views])


def _cells(image: Bytes) -> Floats:
    """Mean colours of an image's cells, [_CELLS ** 2, 3]."""
    small = cv2.resize(image, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float64).reshape(-1, 3)


def _color_table(made: Floats, true: Floats) -> Floats:
    """Where each colour of the grid goes, [_GRID ** 3, 3] in [0, 1], from N pairs of colours."""
    grid = _color_grid()
    change = true - made
    credible = np.exp(-np.square(change).sum(1) / (2 * _DOUBT**2))
    squared = np.square(grid[:, None] - made).sum(2)
    votes = np.exp(-squared / (2 * _BANDWIDTH**2)) * credible
    mean = votes @ change / (votes.sum(1, keepdims=True) + _PRIOR * max(len(made), 1))
    fade = ((255 - grid.min(1, keepdims=True)) / _WHITE_REACH).clip(0, 1)
    table: Floats = ((grid + fade * mean) / 255).clip(0, 1)
    return table


@cache
def _color_grid() -> Floats:
    """The colours of a lookup table in Pillow's order, red fastest: [_GRID ** 3, 3], 0 to 255."""
    line = np.linspace(0, 255, _GRID)
    blue, green, red = np.meshgrid(line, line, line, indexing="ij")
    return np.stack([red, green, blue], -1).reshape(-1, 3)
