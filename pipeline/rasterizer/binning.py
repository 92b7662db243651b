"""List, for every tile of every view, the Gaussians that touch it, front to back.

Gaussians are sorted once a view by depth, then dealt to their tiles in that order, so that every
tile's list comes out sorted. Each hit also gets a slot by which its Gaussian finds it again: the
backward pass sums hits per Gaussian in a fixed order, without atomics.
"""

import numpy as np

from pipeline.compiled import compiled
from pipeline.rasterizer.layout import F32, I32, I64

_RADIX_BITS = 11
_RADIX = 1 << _RADIX_BITS


@compiled
def count_hits(tiles: I32, columns: int, tile_starts: I32, start: int, stop: int) -> None:
    """Fill ``tile_starts`` [C, tiles + 1] of views start..stop with running counts of hits."""
    for c in range(start, stop):
        counts = tile_starts[c]
        counts[:] = 0
        for n in range(tiles.shape[1]):
            for y in range(tiles[c, n, 2], tiles[c, n, 3]):
                for x in range(tiles[c, n, 0], tiles[c, n, 1]):
                    counts[y * columns + x + 1] += 1
        for t in range(counts.shape[0] - 1):
            counts[t + 1] += counts[t]


@compiled
def _sorted_by_depth(depths: F32, tiles: I32) -> I32:
    """The Gaussians of one view that touch a tile, nearest first; equal depths keep their order.

    A radix sort of the depths' bits, which order like the positive floats they encode.
    """
    bits = depths.view(np.uint32)
    keys = np.empty(tiles.shape[0], np.uint32)
    order = np.empty(tiles.shape[0], np.int32)
    seen = 0
    for n in range(tiles.shape[0]):
        if tiles[n, 1] > tiles[n, 0]:
            keys[seen] = bits[n]
            order[seen] = n
            seen += 1
    other_keys = np.empty(seen, np.uint32)
    other_order = np.empty(seen, np.int32)
    for digit in range(3):
        shift = digit * _RADIX_BITS
        places = np.zeros(_RADIX + 1, np.int32)
        for i in range(seen):
            places[((keys[i] >> shift) & (_RADIX - 1)) + 1] += 1
        for b in range(_RADIX):
            places[b + 1] += places[b]
        for i in range(seen):
            bucket = (keys[i] >> shift) & (_RADIX - 1)
            other_keys[places[bucket]] = keys[i]
            other_order[places[bucket]] = order[i]
            places[bucket] += 1
        keys, other_keys = other_keys, keys
        order, other_order = other_order, order
    return order[:seen]


@compiled
def deal_hits(
    depths: F32,
    tiles: I32,
    columns: int,
    tile_starts: I32,
    view_starts: I64,
    hit_gaussians: I32,
    first_hit: I64,
    hit_slots: I32,
    start: int,
    stop: int,
) -> None:
    """Fill the hit lists of views start..stop.

    Args:
        depths: [C, N] camera z, positive where a tile is touched.
        tiles: [C, N, 4] tile rectangles.
        columns: tiles in a row of the image.
        tile_starts: [C, tiles + 1] from `count_hits`, relative to the view's first hit.
        view_starts: [C] first hit of every view.
        hit_gaussians: [M] out: the Gaussian of every hit, tile by tile, front to back.
        first_hit: [C, N] out: where a Gaussian's slots begin.
        hit_slots: [M] out: the hits of every Gaussian.
        start: first view.
        stop: one past the last view.
    """
    for c in range(start, stop):
        total = view_starts[c]
        for n in range(tiles.shape[1]):
            first_hit[c, n] = total
            total += (tiles[c, n, 1] - tiles[c, n, 0]) * (tiles[c, n, 3] - tiles[c, n, 2])
        cursor = tile_starts[c].copy()
        for n in _sorted_by_depth(depths[c], tiles[c]):
            slot = first_hit[c, n]
            for y in range(tiles[c, n, 2], tiles[c, n, 3]):
                for x in range(tiles[c, n, 0], tiles[c, n, 1]):
                    hit = view_starts[c] + cursor[y * columns + x]
                    cursor[y * columns + x] += 1
                    hit_gaussians[hit] = n
                    hit_slots[slot] = hit
                    slot += 1
