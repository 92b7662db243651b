"""A small convolutional network that says from where a head is seen, and how it is framed."""

from itertools import pairwise

from torch import Tensor, nn

from pipeline.portrait.pose_network import CROP_PX, OUTPUTS
from pipeline.training.layers import Residual, conv, down


class PoseRegressor(nn.Module):
    """Convolutions down to 4 x 4 places, all of which the answers look at.

    Args:
        width: channels at half resolution.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        channels = (width, 2 * width, 4 * width, 6 * width, 8 * width)
        self.enter = nn.Sequential(*down(3, width), conv(width, width))
        self.encoders = nn.Sequential(
            *(nn.Sequential(*down(a, b), Residual(b)) for a, b in pairwise(channels))
        )
        places = (CROP_PX >> len(channels)) ** 2
        self.answer = nn.Sequential(
            conv(channels[-1], 4 * width, 1),
            nn.Flatten(),
            nn.Linear(4 * width * places, 8 * width),
            nn.ReLU(),
            nn.Linear(8 * width, OUTPUTS),
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, 128, 128] float32 in -1..1 to [B, 16], see `pipeline.portrait.pose_network`."""
        result: Tensor = self.answer(self.encoders(self.enter(images)))
        return result
