"""The visual hull: where in space almost no view shows background."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.cameras import Cameras
from pipeline.compiled import compiled
from pipeline.rasterizer.threads import default_threads, run_ranges

F32 = npt.NDArray[np.float32]

HALF_EXTENT = 0.66
"""Of the carved cube, world units; the cameras see 0.689 from the centre."""
GRID = 96
"""Points a side; the surface has about as many vertices as a head has Gaussians."""
DISSENTERS = 1 / 12
"""Share of the views that may show background at a point of the hull: generated views disagree
by a pixel or two, and one wrong view must not cut into the head."""


def hull_field(alphas: F32, cameras: Cameras, *, threads: int | None = None) -> F32:
    """How far the views agree that a point is head.

    Args:
        alphas: [V, H, W] in [0, 1].
        cameras: their V cameras.
        threads: CPU threads; the result does not depend on it.

    Returns:
        [GRID, GRID, GRID] float32 over x, y, z in [-HALF_EXTENT, HALF_EXTENT], slightly blurred:
        the alpha that all but the `DISSENTERS` exceed. What a view would show beside or above its
        image is background; what it would show below is unknown, as the bust is cut there, and a
        point that is unknown to more than half of the views counts as outside.
    """
    size_px = alphas.shape[-1]
    to_pixels = np.einsum(
        "vij,vjk->vik", cameras.intrinsics(size_px), cameras.world_to_cam[:, :3]
    ).astype(np.float32)
    field = np.empty((GRID, GRID, GRID), np.float32)
    allowed = int(len(cameras) * DISSENTERS)
    args = (np.ascontiguousarray(alphas, np.float32), to_pixels, HALF_EXTENT, allowed, field)
    run_ranges(_carve, args, GRID, threads or default_threads())
    return np.asarray(ndimage.gaussian_filter(field, 1.0), np.float32)


@compiled
def _carve(
    alphas: F32, to_pixels: F32, half_extent: float, allowed: int, field: F32, start: int, stop: int
) -> None:
    """Fill the slices start..stop of ``field``; see `hull_field`."""
    views, height, width = alphas.shape
    step = 2 * half_extent / (field.shape[0] - 1)
    lowest = np.empty(allowed + 1, np.float32)
    for i in range(start, stop):
        x = i * step - half_extent
        for j in range(field.shape[1]):
            y = j * step - half_extent
            for k in range(field.shape[2]):
                z = k * step - half_extent
                lowest[:] = 1
                looking = 0
                for v in range(views):
                    m = to_pixels[v]
                    depth = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
                    column = int((m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) / depth)
                    row = int((m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) / depth)
                    if row < height:
                        looking += 1
                        inside = row >= 0 and 0 <= column < width
                        value = alphas[v, row, column] if inside else 0
                        for n in range(allowed + 1):
                            if value < lowest[n]:
                                lowest[n], value = value, lowest[n]
                field[i, j, k] = lowest[allowed] if 2 * looking >= views else 0
