"""The blocks of LGM's U-Net: residual convolutions, and attention across all views of a head.

Shapes: X is [B * V, C, H, W], the views of a head next to each other. Module names follow LGM's
published checkpoints, so that those load by name.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

SKIP_SCALE = math.sqrt(0.5)
GROUPS = 32
EPS = 1e-5


class ResnetBlock(nn.Module):
    """norm, SiLU, conv, norm, SiLU, conv; added to the input and scaled by sqrt(1/2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, in_channels, eps=EPS)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels, eps=EPS)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.shortcut: nn.Module = nn.Conv2d(in_channels, out_channels, 1)
        else:
            self.shortcut = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [B * V, C, H, W] to [B * V, C', H, W]."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        out: torch.Tensor = (h + self.shortcut(x)) * SKIP_SCALE
        return out


class SelfAttention(nn.Module):
    """Multi-head attention of tokens [B, L, C] to each other."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [B, L, C] to the same shape."""
        b, length, c = x.shape
        qkv = self.qkv(x).reshape(b, length, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: torch.Tensor = self.proj(mixed.transpose(1, 2).reshape(b, length, c))
        return out


class CrossViewAttention(nn.Module):
    """Attention over all pixels of all views; the rays in the input say which is where."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, eps=EPS)
        self.attn = SelfAttention(channels, heads)

    def forward(self, x: torch.Tensor, views: int) -> torch.Tensor:
        """Map [B * V, C, H, W] to the same shape; ``views`` is V."""
        bv, c, h, w = x.shape
        tokens = self.norm(x).reshape(bv // views, views, c, h * w)
        tokens = tokens.transpose(2, 3).reshape(bv // views, views * h * w, c)
        mixed = self.attn(tokens).reshape(bv, h * w, c).transpose(1, 2).reshape(bv, c, h, w)
        out: torch.Tensor = (x + mixed) * SKIP_SCALE
        return out


class NoAttention(nn.Module):
    """Stands where a level has no attention, so that indices stay those of LGM."""

    def forward(self, x: torch.Tensor, views: int) -> torch.Tensor:
        """Return ``x``."""
        return x


def _attention(wanted: bool, channels: int, heads: int) -> nn.Module:
    return CrossViewAttention(channels, heads) if wanted else NoAttention()


class DownBlock(nn.Module):
    """Residual layers, each result kept for the way up, then half the resolution if wanted."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        layers: int,
        attention: bool,
        heads: int,
        downsample: bool,
    ) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * layers
        self.nets = nn.ModuleList(ResnetBlock(a, b) for a, b in pairwise(widths))
        self.attns = nn.ModuleList(
            _attention(attention, out_channels, heads) for _ in range(layers)
        )
        self.downsample = (
            nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1) if downsample else None
        )

    def forward(self, x: torch.Tensor, views: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the result and, for the way up, those of all layers."""
        kept = []
        for net, attn in zip(self.nets, self.attns, strict=True):
            x = attn(net(x), views)
            kept.append(x)
        if self.downsample is not None:
            x = self.downsample(x)
            kept.append(x)
        return x, kept


class MidBlock(nn.Module):
    """A residual block, attention, and another residual block at the lowest resolution."""

    def __init__(self, channels: int, *, attention: bool, heads: int) -> None:
        super().__init__()
        self.nets = nn.ModuleList(ResnetBlock(channels, channels) for _ in range(2))
        self.attns = nn.ModuleList([_attention(attention, channels, heads)])

    def forward(self, x: torch.Tensor, views: int) -> torch.Tensor:
        """Map [B * V, C, H, W] to the same shape; ``views`` is V."""
        out: torch.Tensor = self.nets[1](self.attns[0](self.nets[0](x), views))
        return out


class UpBlock(nn.Module):
    """Residual layers, each with one kept result, then twice the resolution if wanted."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        layers: int,
        attention: bool,
        heads: int,
        upsample: bool,
    ) -> None:
        super().__init__()
        inputs = [in_channels] + [out_channels] * (layers - 1)
        skips = [out_channels] * (layers - 1) + [skip_channels]
        self.nets = nn.ModuleList(
            ResnetBlock(a + b, out_channels) for a, b in zip(inputs, skips, strict=True)
        )
        self.attns = nn.ModuleList(
            _attention(attention, out_channels, heads) for _ in range(layers)
        )
        self.upsample = nn.Conv2d(out_channels, out_channels, 3, padding=1) if upsample else None

    def forward(self, x: torch.Tensor, kept: list[torch.Tensor], views: int) -> torch.Tensor:
        """``kept`` is a stack: this block takes its layers' results off the end."""
        for net, attn in zip(self.nets, self.attns, strict=True):
            x = attn(net(torch.cat([x, kept.pop()], 1)), views)
        if self.upsample is not None:
            x = self.upsample(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x
