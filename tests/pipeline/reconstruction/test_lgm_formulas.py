"""LGM's blocks against its formulas, written out as slowly and plainly as they can be."""

import math

import pytest
import torch
import torch.nn.functional as F
from small_lgm import on_meta, small_lgm
from torch import nn

from pipeline.reconstruction.blocks import CrossViewAttention, ResnetBlock, UpBlock
from pipeline.reconstruction.lgm import LargeGaussianModel, Preset, lgm_config
from pipeline.reconstruction.unet import UNet


def _unlike_fresh(module: nn.Module) -> nn.Module:
    """Give norms weights and biases that matter, as trained ones do."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for one in module.modules():
            if isinstance(one, nn.GroupNorm):
                one.weight.copy_(1 + 0.3 * torch.randn(one.weight.shape, generator=generator))
                one.bias.copy_(0.3 * torch.randn(one.bias.shape, generator=generator))
    return module.double()


def group_norm(x: torch.Tensor, norm: nn.GroupNorm) -> torch.Tensor:
    out = torch.empty_like(x)
    width = x.shape[1] // 32
    for image in range(len(x)):
        for first in range(0, x.shape[1], width):
            part = x[image, first : first + width]
            centred = part - part.mean()
            out[image, first : first + width] = centred / (centred.square().mean() + 1e-5).sqrt()
    return out * norm.weight[:, None, None] + norm.bias[:, None, None]


def silu(x: torch.Tensor) -> torch.Tensor:
    return x / (1 + (-x).exp())


def residual(x: torch.Tensor, block: ResnetBlock) -> torch.Tensor:
    h = F.conv2d(silu(group_norm(x, block.norm1)), block.conv1.weight, block.conv1.bias, padding=1)
    h = F.conv2d(silu(group_norm(h, block.norm2)), block.conv2.weight, block.conv2.bias, padding=1)
    if block.conv1.in_channels != block.conv1.out_channels:
        x = F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    return (h + x) / math.sqrt(2)


def attention(x: torch.Tensor, block: CrossViewAttention, views: int, heads: int) -> torch.Tensor:
    out = torch.empty_like(x)
    normed = group_norm(x, block.norm)
    channels, height, width = x.shape[1:]
    places = [(v, r, c) for v in range(views) for r in range(height) for c in range(width)]
    for head_of_data in range(0, len(x), views):
        tokens = torch.stack([normed[head_of_data + v, :, r, c] for v, r, c in places])
        q, k, v_ = (tokens @ block.attn.qkv.weight.T).split(channels, 1)
        size = channels // heads
        mixed = []
        for first in range(0, channels, size):
            part = slice(first, first + size)
            weights = (q[:, part] @ k[:, part].T / math.sqrt(size)).softmax(1)
            mixed.append(weights @ v_[:, part])
        made = torch.cat(mixed, 1) @ block.attn.proj.weight.T + block.attn.proj.bias
        for (v, r, c), token in zip(places, made, strict=True):
            out[head_of_data + v, :, r, c] = (x[head_of_data + v, :, r, c] + token) / math.sqrt(2)
    return out


@pytest.mark.parametrize("out_channels", [32, 64])
def test_residual_block(out_channels: int) -> None:
    block = _unlike_fresh(ResnetBlock(32, out_channels))
    x = torch.randn(2, 32, 3, 5, dtype=torch.double)
    assert torch.allclose(block(x), residual(x, block))


@pytest.mark.parametrize("views", [1, 2, 3])
def test_attention_sees_all_pixels_of_all_views_of_a_head(views: int) -> None:
    block = _unlike_fresh(CrossViewAttention(64, 4))
    x = torch.randn(6, 64, 2, 3, dtype=torch.double)
    assert torch.allclose(block(x, views), attention(x, block, views, 4))


def test_enlarging_repeats_pixels_before_the_convolution() -> None:
    block = _unlike_fresh(UpBlock(32, 32, 64, layers=1, attention=False, heads=4, upsample=True))
    x, skip = torch.randn(2, 1, 32, 2, 3, dtype=torch.double)
    small = residual(torch.cat([x, skip], 1), block.nets[0])
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    wanted = F.conv2d(large, block.upsample.weight, block.upsample.bias, padding=1)
    assert torch.allclose(block(x, [skip], 1), wanted)


def test_the_unet_written_out() -> None:
    """Three levels down, two up: the results of the finest level are not used again."""
    net = _unlike_fresh(
        UNet((32, 32, 64), (False, False, True), True, (64, 32), (True, False), 1, 4)
    )
    x = torch.randn(2, 9, 8, 8, dtype=torch.double)
    d, m, u = net.down_blocks, net.mid_block, net.up_blocks
    first = d[0].downsample(residual(net.conv_in(x), d[0].nets[0]))
    second = d[1].downsample(residual(first, d[1].nets[0]))
    third = attention(residual(second, d[2].nets[0]), d[2].attns[0], 2, 4)
    y = attention(residual(third, m.nets[0]), m.attns[0], 2, 4)
    y = residual(y, m.nets[1])
    for net_, attn, skip in zip(u[0].nets, u[0].attns, (third, second), strict=True):
        y = attention(residual(torch.cat([y, skip], 1), net_), attn, 2, 4)
    y = u[0].upsample(y.repeat_interleave(2, 2).repeat_interleave(2, 3))
    kept = (residual(first, d[1].nets[0]), first)
    for net_, skip in zip(u[1].nets, kept, strict=True):
        y = residual(torch.cat([y, skip], 1), net_)
    assert torch.allclose(net(x, 2), net.conv_out(silu(group_norm(y, net.norm_out))))


def test_every_channel_of_every_gaussian() -> None:
    model = small_lgm()
    with torch.no_grad():
        model.conv.weight *= 8  # so that some positions are outside the cube
        inputs = torch.randn(2, 3, 9, 16, 16)
        raw = model.conv(model.unet(inputs.flatten(0, 1), 3)).reshape(2, 3, 14, 8, 8)
        out = model(inputs)
    assert raw[:, :, :3].abs().max() > 1
    for head, view, row, column in torch.cartesian_prod(*map(torch.arange, (2, 3, 8, 8))).tolist():
        r = raw[head, view, :, row, column].tolist()
        length = math.hypot(*r[7:11])
        wanted = [
            *(min(max(value, -1), 1) for value in r[:3]),
            1 / (1 + math.exp(-r[3])),
            *(0.1 * math.log1p(math.exp(value)) for value in r[4:7]),
            *(value / length for value in r[7:11]),
            *(0.5 * math.tanh(value) + 0.5 for value in r[11:]),
        ]
        found = out[head, view * 64 + row * 8 + column]
        assert found.tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("preset", ["tiny", "small", "big"])
def test_lgms_networks_have_sixteen_attention_heads(preset: Preset) -> None:
    model: LargeGaussianModel = on_meta(lgm_config(preset))
    heads = [one.attn.heads for one in model.modules() if isinstance(one, CrossViewAttention)]
    assert heads == [16] * {"tiny": 2 + 1 + 3, "small": 6 + 1 + 9, "big": 6 + 1 + 9}[preset]
