"""Alpha of views that stand on white."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

SURELY_BACKGROUND, SURELY_HEAD = 0.04, 0.14
"""Distance of a pixel's darkest channel from white, in [0, 1]: a generated background is white
to within a few grey levels, and hair and skin are darker than this everywhere but in highlights."""


def alpha_from_white(views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Estimate how much of each pixel the head covers.

    What differs from white is head, and so is white that the head encloses (eyes, teeth,
    highlights); specks are dropped. At the edge, alpha is how far the pixel has gone from white
    to the colour next to it.

    Args:
        views: [V, H, W, 3] on white.

    Returns:
        [V, H, W] float32 in [0, 1].
    """
    distance = 1 - views.min(-1).astype(np.float32) / 255
    return np.stack([_alpha(view) for view in distance])


def _alpha(distance: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Alpha of one view from its distance to white, both [H, W]."""
    soft = np.clip((distance - SURELY_BACKGROUND) / (SURELY_HEAD - SURELY_BACKGROUND), 0, 1)
    labels, count = ndimage.label(soft > 0.5)
    if count == 0:
        return np.zeros_like(soft)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    filled = ndimage.binary_fill_holes(labels == sizes.argmax())
    inside = ndimage.binary_erosion(filled, iterations=2, border_value=1)
    near = ndimage.binary_dilation(filled)
    beside = np.maximum(ndimage.maximum_filter(distance, 5), SURELY_HEAD)
    edge = np.clip(distance / beside, 0, 1) * (soft > 0)
    return np.where(inside, 1, np.where(near, edge, 0)).astype(np.float32)
