"""The perceptual term of training: LPIPS where its weights are given, else what needs none."""

from torch import Tensor
from torch.nn import functional

from pipeline.reconstruction.losses import dssim
from pipeline.reconstruction.lpips import Lpips


def perceptual_distance(lpips: Lpips | None, shown: Tensor, wanted: Tensor) -> Tensor:
    """How unlike images look, with gradients to the first ones.

    Args:
        lpips: the network, which is moved to the images' device; None takes structural
            dissimilarity, the mean of two scales.
        shown: [N, 3, P, P], of which LPIPS sees what lies in [0, 1].
        wanted: the same shape, in [0, 1].

    Returns:
        [N], 0 where the images are equal.
    """
    if lpips is not None:
        distances: Tensor = lpips.to(shown.device)(shown.clamp(0, 1), wanted)
        return distances
    small, small_wanted = (functional.avg_pool2d(one, 2) for one in (shown, wanted))
    return (dssim(shown, wanted) + dssim(small, small_wanted)) / 2
