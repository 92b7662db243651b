"""LGM's asymmetric U-Net: it ends at a lower resolution than it starts.

Shapes: B heads, V views of each, H = W input pixels, S output pixels.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from pipeline.gaussians import CHANNELS
from pipeline.reconstruction.blocks import EPS, GROUPS, DownBlock, MidBlock, UpBlock

INPUT_CHANNELS = 9
"""ImageNet-normalised red, green, blue, then the Pluecker ray."""


class UNet(nn.Module):
    """The U-Net proper, [B * V, 9, H, W] -> [B * V, 14, S, S]."""

    def __init__(
        self,
        down_channels: tuple[int, ...],
        down_attention: tuple[bool, ...],
        mid_attention: bool,
        up_channels: tuple[int, ...],
        up_attention: tuple[bool, ...],
        layers: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(INPUT_CHANNELS, down_channels[0], 3, padding=1)
        last = len(down_channels) - 1
        self.down_blocks = nn.ModuleList(
            DownBlock(
                down_channels[max(i - 1, 0)],
                channels,
                layers=layers,
                attention=down_attention[i],
                heads=heads,
                downsample=i < last,
            )
            for i, channels in enumerate(down_channels)
        )
        self.mid_block = MidBlock(down_channels[-1], attention=mid_attention, heads=heads)
        widths = (down_channels[-1], *up_channels)
        self.up_blocks = nn.ModuleList(
            UpBlock(
                widths[i],
                down_channels[max(-2 - i, -len(down_channels))],
                channels,
                layers=layers + 1,
                attention=up_attention[i],
                heads=heads,
                upsample=i < len(up_channels) - 1,
            )
            for i, channels in enumerate(up_channels)
        )
        self.norm_out = nn.GroupNorm(GROUPS, up_channels[-1], eps=EPS)
        self.conv_out = nn.Conv2d(up_channels[-1], CHANNELS, 3, padding=1)

    def forward(self, x: torch.Tensor, views: int) -> torch.Tensor:
        """Map views and rays to raw Gaussians; ``views`` is V."""
        x = self.conv_in(x)
        kept = [x]
        for down in self.down_blocks:
            x, more = down(x, views)
            kept += more
        x = self.mid_block(x, views)
        for up in self.up_blocks:
            x = up(x, kept, views)
        # Rounded to bfloat16, positions would lie on a grid of 0.004 world units.
        with full_precision(x.device):
            x = x.to(self.conv_out.weight.dtype)
            out: torch.Tensor = self.conv_out(nn.functional.silu(self.norm_out(x)))
        return out


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Autocast off; the meta device, on which memory is planned, does not know it."""
    if device.type == "meta":
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
