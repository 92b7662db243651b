"""Z-buffer rasterisation of triangles and tapered strands into an id image.

``screen`` arrays hold (x pixels, y pixels, 1 / depth); a bigger third value is nearer. ``depth``
starts at 0 and ``ids`` at -1. Pixel centres are at half integers.
"""

import math

import numpy as np
import numpy.typing as npt

from pipeline.compiled import compiled

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Index = npt.NDArray[np.int32]


@compiled
def pixel_box(
    x0: float, y0: float, x1: float, y1: float, width: int, height: int
) -> tuple[int, int, int, int]:
    """First and last pixel whose centres lie in the box, cut to the image."""
    return (
        max(0, math.ceil(x0 - 0.5)),
        min(width - 1, math.floor(x1 - 0.5)),
        max(0, math.ceil(y0 - 0.5)),
        min(height - 1, math.floor(y1 - 0.5)),
    )


@compiled
def rasterize_triangles(
    screen: Array, triangles: Index, clip: Array, ids: Index, depth: Image, first: int, last: int
) -> None:
    """Draw triangles ``first`` to ``last``; fragments whose interpolated ``clip`` < 0 are cut."""
    height, width = depth.shape
    for t in range(first, last):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        c0, c1, c2 = clip[a], clip[b], clip[c]
        if c0 < 0 and c1 < 0 and c2 < 0:
            continue
        x0, y0, x1, y1 = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1]
        x2, y2 = screen[c, 0], screen[c, 1]
        left, right, top, bottom = pixel_box(
            min(x0, x1, x2), min(y0, y1, y2), max(x0, x1, x2), max(y0, y1, y2), width, height
        )
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if left > right or top > bottom or area == 0.0:
            continue
        scale = 1.0 / area
        for y in range(top, bottom + 1):
            py = y + 0.5
            for x in range(left, right + 1):
                px = x + 0.5
                w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * scale
                w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * scale
                w2 = 1.0 - w0 - w1
                if w0 >= 0.0 and w1 >= 0.0 and w2 >= 0.0:
                    near = w0 * screen[a, 2] + w1 * screen[b, 2] + w2 * screen[c, 2]
                    if near > depth[y, x] and w0 * c0 + w1 * c1 + w2 * c2 >= 0:
                        depth[y, x] = near
                        ids[y, x] = t


@compiled
def rasterize_segments(
    screen: Array, segments: Index, half_width: Array, ids: Index, depth: Image, first_id: int
) -> None:
    """Draw round-ended tapered segments [S, 2]; ``half_width`` in pixels per point."""
    height, width = depth.shape
    for s in range(segments.shape[0]):
        a, b = segments[s, 0], segments[s, 1]
        x0, y0, x1, y1 = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1]
        ra, rb = half_width[a], half_width[b]
        r = max(ra, rb)
        left, right, top, bottom = pixel_box(
            min(x0, x1) - r, min(y0, y1) - r, max(x0, x1) + r, max(y0, y1) + r, width, height
        )
        dx, dy = x1 - x0, y1 - y0
        squared = dx * dx + dy * dy + 1e-9
        length, scale = math.sqrt(squared), 1.0 / squared
        nearest = max(screen[a, 2], screen[b, 2])
        for y in range(top, bottom + 1):
            py = y + 0.5 - y0
            xa, xb = left, right
            if abs(dy) > 0.05 * length:
                q0 = (py * dx - r * length) / dy + x0 - 0.5
                q1 = (py * dx + r * length) / dy + x0 - 0.5
                xa = max(left, math.ceil(min(q0, q1)))
                xb = min(right, math.floor(max(q0, q1)))
            for x in range(xa, xb + 1):
                if nearest <= depth[y, x]:
                    continue
                px = x + 0.5 - x0
                t = min(1.0, max(0.0, (px * dx + py * dy) * scale))
                ex, ey = px - t * dx, py - t * dy
                radius = ra + (rb - ra) * t
                if ex * ex + ey * ey <= radius * radius:
                    near = screen[a, 2] + (screen[b, 2] - screen[a, 2]) * t
                    if near > depth[y, x]:
                        depth[y, x] = near
                        ids[y, x] = first_id + s


@compiled
def resolve(linear: Image, samples: int, tone: Array, image: npt.NDArray[np.uint8]) -> None:
    """Average ``samples`` x ``samples`` linear RGBA blocks into straight-alpha 8-bit sRGB.

    ``tone`` maps linear values times 1365 to display values in [0, 1].
    """
    last = tone.shape[0] - 1
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            red, green, blue, alpha = 0.0, 0.0, 0.0, 0.0
            for j in range(y * samples, (y + 1) * samples):
                for i in range(x * samples, (x + 1) * samples):
                    weight = linear[j, i, 3]
                    if weight > 0:
                        alpha += weight
                        red += weight * tone[min(last, max(0, int(linear[j, i, 0] * 1365.0)))]
                        green += weight * tone[min(last, max(0, int(linear[j, i, 1] * 1365.0)))]
                        blue += weight * tone[min(last, max(0, int(linear[j, i, 2] * 1365.0)))]
            coverage = int(alpha / (samples * samples) * 255 + 0.5)
            if coverage > 0:
                image[y, x, 0] = int(red / alpha * 255 + 0.5)
                image[y, x, 1] = int(green / alpha * 255 + 0.5)
                image[y, x, 2] = int(blue / alpha * 255 + 0.5)
                image[y, x, 3] = min(255, coverage)
