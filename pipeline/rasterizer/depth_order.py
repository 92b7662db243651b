"""Sort the Gaussians of a view by depth."""

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.layout import F32, I32

_RADIX_BITS = 12
_RADIX = 1 << _RADIX_BITS


@compiled
def sorted_by_depth(depths: F32, tiles: I32) -> I32:
    """The Gaussians of one view that touch a tile, nearest first; equal depths keep their order.

    A radix sort of the depths' bits, which order like the positive floats they encode; digits
    that no two depths differ in are skipped.

    Args:
        depths: [N] float32, positive where a tile is touched.
        tiles: [N, 4] int32 tile rectangles.

    Returns:
        int32, at most N.
    """
    bits = depths.view(np.int32)
    keys = np.empty(tiles.shape[0], np.int32)
    order = np.empty(tiles.shape[0], np.int32)
    seen, low, high = 0, np.int32(2**31 - 1), np.int32(0)
    for n in range(tiles.shape[0]):
        if tiles[n, 1] > tiles[n, 0]:
            keys[seen] = bits[n]
            order[seen] = n
            low, high = min(low, bits[n]), max(high, bits[n])
            seen += 1
    other_keys, other_order = np.empty(seen, np.int32), np.empty(seen, np.int32)
    shift = 0
    while seen and (high - low) >> shift:
        places = np.zeros(_RADIX + 1, np.int32)
        for i in range(seen):
            places[(((keys[i] - low) >> shift) & (_RADIX - 1)) + 1] += 1
        for b in range(_RADIX):
            places[b + 1] += places[b]
        for i in range(seen):
            bucket = ((keys[i] - low) >> shift) & (_RADIX - 1)
            other_keys[places[bucket]] = keys[i]
            other_order[places[bucket]] = order[i]
            places[bucket] += 1
        keys, other_keys = other_keys, keys
        order, other_order = other_order, order
        shift += _RADIX_BITS
    return order[:seen]
