"""The y-down world that .ply and .splat files are in.

Viewers expect these two as 3DGS training leaves them, in the world of OpenCV and COLMAP: x to the
subject's left, y down, z backwards, out of the back of the head. That is the canonical frame turned
by 180 degrees about x: (x, y, z) -> (x, -y, -z).
"""

from dataclasses import replace

import torch

from pipeline.gaussians import Gaussians

_FLIP = (1.0, -1.0, -1.0)


def turned(gaussians: Gaussians) -> Gaussians:
    """Gaussians on the CPU turned by 180 degrees about x; turning twice gives the same back."""
    w, x, y, z = gaussians.quats.unbind(-1)
    return replace(
        gaussians,
        means=gaussians.means * torch.tensor(_FLIP),
        quats=torch.stack([-x, w, -z, y], -1),
    )
