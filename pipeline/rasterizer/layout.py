"""How the kernels lay out what they hand to each other.

Legend: C cameras, N Gaussians, M hits (pairs of a Gaussian and a tile that it touches).
``packed`` [C, N, FIELDS] float32 holds what the tile kernels need of each visible Gaussian.
``tiles`` [C, N, 4] int32 is its tile rectangle (x start, x stop, y start, y stop), empty for what
cannot be seen.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Numbers = tuple[Any, ...]

TILE_WIDTH = 8
TILE_HEIGHT = 16
"""Pixels. 8x16 was 10-25 % faster than 16x16 with AVX2-wide code; images do not depend on it."""

FIELDS = 12
X, Y, CONIC_XX, CONIC_XY, CONIC_YY, OPACITY, CUT, REACH_Y, COLOR = range(9)
DEPTH = 11
"""Fields of ``packed``. The conic is scaled so that alpha = opacity * exp(-8 u) with
u = (xx dx + xy dy) dx + yy dy^2; CUT is the u at which alpha falls under 1/255, and REACH_Y how
far that reaches in y, pixels. COLOR takes three fields."""

HIT_FIELDS = 10
"""Of one hit's gradient row: the sums over its pixels of d loss / d sigma times
(1, dx, dy, dx^2, dx dy, dy^2), then the gradients of three colours and of the depth."""

BLOCK = 1024
"""Gaussians whose share of a camera's gradient is summed in one fixed order."""
