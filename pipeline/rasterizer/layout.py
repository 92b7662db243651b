"""How the kernels lay out what they hand to each other.

Legend: C cameras, N Gaussians, M hits (pairs of a Gaussian and a tile that it touches).
``ellipses`` [C, N, ELLIPSE_FIELDS] float32 holds the shape of every visible Gaussian on the
screen, ``channels`` [C, N, D] float32 what it shows, D three or CHANNELS. ``tiles`` [C, N, 4] int32
is its tile rectangle (x start, x stop, y start, y stop), empty for what cannot be seen.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.rasterizer import lanes

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Numbers = tuple[Any, ...]

TILE_WIDTH = lanes.COUNT
TILE_HEIGHT = 16
"""Pixels. A row is one `lanes`; 24 and 32 rows were no faster. Images do not depend on it."""

CHANNELS = 4
"""Blended at once at most: colour and depth. More channels take more passes; fewer than three do
not pay for kernels of their own."""

ELLIPSE_FIELDS = 8
X, Y, CONIC_XX, CONIC_XY, CONIC_YY, DIM, OPACITY, REACH_X = range(ELLIPSE_FIELDS)
"""Fields of ``ellipses``, half a cache line. The conic is scaled so that alpha = exp(-8 u) with
u = DIM + (xx dx + xy dy) dx + yy dy^2; REACH_X is how far alpha stays at 1/255 or more in x,
pixels."""

FAINTEST = math.log(255) / 8
"""The u at which alpha falls under 1/255."""

HIT_FIELDS = 4
GAUSSIAN, SLOT, FIRST_ROW, PAST_ROW = range(HIT_FIELDS)
"""Fields of ``hits`` [M, HIT_FIELDS] int32, sorted by tile and then front to back: which Gaussian,
the row of its gradients, and which rows of the tile it reaches."""

MOMENTS = 6
"""One hit's gradients are a row: the sums over its pixels of d loss / d sigma times
(1, dx, dy, dx^2, dx dy, dy^2), then the gradients of the channels. All rows of a Gaussian stand
together, so that they are summed in a fixed order, without atomics."""

BLOCK = 1024
"""Gaussians whose share of a camera's gradient is summed in one fixed order."""

VIEWS_AT_ONCE = 4
"""At 16 views of 65k Gaussians the gradient rows of all views together fall out of the cache:
measured 1.3 times slower than this."""


def as_array(tensor: torch.Tensor) -> F32:
    """The numbers of a CPU tensor, float32 and contiguous; shared where they already are."""
    return np.ascontiguousarray(tensor.detach().float().numpy())
