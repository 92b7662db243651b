"""A small U-Net that says which pixels of a framed portrait belong to the bust."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.training.layers import Residual, conv, down

MATTING_SIZE_PX = 192
"""Side of the network's input and output."""


class MattingNetwork(nn.Module):
    """U-Net on 2x2 pixel blocks that also sees where in the frame a pixel is.

    The bust ends at an ellipsoid fixed in the head's frame, which no edge in a photo shows; the
    two coordinate planes let the network learn where that is.

    Args:
        width: channels at half resolution.
    """

    def __init__(self, width: int = 20) -> None:
        super().__init__()
        line = torch.linspace(-1, 1, MATTING_SIZE_PX)
        planes = torch.stack(torch.meshgrid(line, line, indexing="ij"))[None]
        self.register_buffer("planes", planes, persistent=False)
        self.planes: Tensor
        channels = (width, 2 * width, 3 * width, 4 * width, 5 * width)
        self.enter = nn.Sequential(*down(6, width), conv(width, width))
        self.encoders = nn.ModuleList(
            nn.Sequential(*down(a, b), Residual(b)) for a, b in pairwise(channels)
        )
        self.middle = Residual(channels[-1])
        self.decoders = nn.ModuleList(
            nn.Sequential(conv(a + b, b, 1), Residual(b))
            for a, b in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.predict = nn.Conv2d(width, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of alpha.

        Args:
            images: [B, 4, 192, 192] float32: RGB in -1..1 on white, and 1 where there is a photo.

        Returns:
            [B, 1, 192, 192].
        """
        planes = self.planes.expand(images.shape[0], -1, -1, -1)
        features = self.enter(torch.cat([images, planes], 1))
        skips = [features]
        for encode in self.encoders:
            skips.append(features := encode(features))
        features = self.middle(skips.pop())
        for decode in self.decoders:
            larger = F.interpolate(features, scale_factor=2.0, mode="nearest")
            features = decode(torch.cat([larger, skips.pop()], 1))
        result: Tensor = F.pixel_shuffle(self.predict(features), 2)
        return result


class MattingOutput(nn.Module):
    """The network as it is exported: alpha in 0..1."""

    def __init__(self, network: MattingNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """[B, 4, 192, 192] as for `MattingNetwork` to [B, 1, 192, 192] alpha."""
        result: Tensor = self.network(images).sigmoid()
        return result
