"""Building blocks of the small convolutional networks.

Nothing here has a stride: moving 2x2 blocks of pixels into channels loses nothing and gives the
matrix units the many channels that they like.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpaceToDepth(nn.Module):
    """[B, C, H, W] to [B, 4 C, H / 2, W / 2]; H and W even, also in exported graphs of any size."""

    def forward(self, x: Tensor) -> Tensor:
        """Stack the four pixels of each 2x2 block along the channels."""
        quarters = [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
        return torch.cat(quarters, 1)


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        channels: in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(conv(channels, channels), conv(channels, channels, act=False))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        return F.relu(x + self.convs(x))


def conv(inputs: int, outputs: int, kernel: int = 3, act: bool = True) -> nn.Sequential:
    """Convolution that keeps the size, batch norm and, if ``act``, ReLU."""
    norm = nn.BatchNorm2d(outputs)
    norm.num_batches_tracked = None  # an integer cannot take part in averaged weights
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        norm,
    ]
    return nn.Sequential(*layers, nn.ReLU()) if act else nn.Sequential(*layers)


def down(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """Half the size: a learnt mix of each 2x2 block."""
    return SpaceToDepth(), conv(4 * inputs, outputs, 1)


def channels_last(model: nn.Module) -> nn.Module:
    """The same network with its weights laid out for channels-last convolutions."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model
