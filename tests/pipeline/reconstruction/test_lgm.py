"""LGM's network: the shape of the published checkpoints, and what a small one does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.cameras import orbit
from pipeline.reconstruction.lgm import (
    LargeGaussianModel,
    Preset,
    lgm_config,
    network_inputs,
    reconstruct,
)
from pipeline.reconstruction.rays import plucker_rays


def _on_meta(preset: Preset) -> LargeGaussianModel:
    with torch.device("meta"):
        return LargeGaussianModel(**lgm_config(preset))


def _small(**changes: object) -> LargeGaussianModel:
    torch.manual_seed(0)
    config = {
        "input_px": 16,
        "down_channels": (32, 64),
        "down_attention": (False, True),
        "up_channels": (64,),
        "up_attention": (True,),
        "layers": 1,
        "heads": 4,
    }
    return LargeGaussianModel(**{**config, **changes}).eval()


@pytest.mark.parametrize(
    ("preset", "millions", "gaussians"),
    [("tiny", 59.743, 16384), ("small", 412.958, 16384), ("big", 415.043, 65536)],
)
def test_presets_have_the_published_sizes(preset: Preset, millions: float, gaussians: int) -> None:
    model = _on_meta(preset)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=1e-3)
    assert 4 * model.splat_px**2 == gaussians


def test_embedded_is_small() -> None:
    model = _on_meta("embedded")
    assert sum(p.numel() for p in model.parameters()) < 6e6
    assert 4 * model.splat_px**2 == 16384


def test_big_has_the_names_and_shapes_of_lgms_checkpoint() -> None:
    state = _on_meta("big").state_dict()
    assert len([name for name in state if name.startswith("unet.")]) == 374
    assert {name for name in state if not name.startswith("unet.")} == {"conv.weight", "conv.bias"}
    inputs = [
        [2048, 2048, 2048],
        [2048, 2048, 1536],
        [1536, 1024, 768],
        [768, 512, 384],
        [384, 256, 192],
    ]
    for block, wanted in enumerate(inputs):
        names = [f"unet.up_blocks.{block}.nets.{net}.conv1.weight" for net in range(3)]
        assert [state[name].shape[1] for name in names] == wanted
    for name in (
        "unet.conv_in.weight",
        "unet.down_blocks.1.nets.0.shortcut.weight",
        "unet.down_blocks.3.attns.1.norm.weight",
        "unet.down_blocks.3.attns.1.attn.qkv.weight",
        "unet.down_blocks.3.attns.1.attn.proj.bias",
        "unet.down_blocks.4.downsample.bias",
        "unet.mid_block.nets.1.norm2.bias",
        "unet.mid_block.attns.0.attn.proj.weight",
        "unet.up_blocks.2.attns.2.attn.qkv.weight",
        "unet.up_blocks.3.upsample.weight",
        "unet.norm_out.bias",
        "unet.conv_out.weight",
    ):
        assert name in state
    for name in (
        "unet.down_blocks.5.downsample.weight",
        "unet.up_blocks.4.upsample.weight",
        "unet.down_blocks.3.attns.0.attn.qkv.bias",
        "unet.up_blocks.3.attns.0.norm.weight",
    ):
        assert name not in state


@pytest.mark.parametrize("views", [1, 2, 5])
def test_any_number_of_views(views: int) -> None:
    out = _small()(torch.randn(2, views, 9, 16, 16))
    assert out.shape == (2, views * 64, 14)
    assert out[..., :3].abs().max() <= 1
    assert 0 < out[..., 3].min() < out[..., 3].max() < 1
    assert out[..., 4:7].min() > 0
    assert torch.allclose(out[..., 7:11].norm(dim=-1), torch.ones(2, views * 64))
    assert 0 < out[..., 11:].min() < out[..., 11:].max() < 1


def test_views_of_a_head_see_each_other_and_heads_do_not() -> None:
    model = _small()
    inputs = torch.randn(2, 3, 9, 16, 16)
    changed = inputs.clone()
    changed[0, 2] += 1
    before, after = model(inputs), model(changed)
    assert not torch.allclose(before[0, :64], after[0, :64], atol=1e-6)
    assert torch.equal(before[1], after[1])


def test_order_is_view_then_row_then_column() -> None:
    """A Gaussian of a ``ray`` network lies near the ray of its own pixel."""
    model = _small(positions="ray")
    cameras = orbit(2)
    rays = plucker_rays(cameras, 16)
    with torch.no_grad():
        means = model(network_inputs(torch.rand(2, 3, 16, 16), rays)[None])[0, :, :3]
    pixels = cameras.project(means.numpy(), 8).reshape(2, 2, 8, 8, 2)
    rows, columns = np.mgrid[:8, :8] + 0.5
    for view in range(2):
        assert np.abs(pixels[view, view, ..., 0] - columns).max() < 0.5
        assert np.abs(pixels[view, view, ..., 1] - rows).max() < 0.5


def test_widths_that_do_not_fit_are_both_shown() -> None:
    with pytest.raises(ValueError, match=r"up_channels \(32,\) .* \(64, 32\)"):
        _small(up_channels=(32,))


def test_saved_and_loaded_is_the_same_network(tmp_path: Path) -> None:
    model = _small(positions="ray")
    model.save_pretrained(tmp_path)
    again = LargeGaussianModel.from_pretrained(tmp_path).eval()
    inputs = torch.randn(1, 2, 9, 16, 16)
    assert torch.equal(model(inputs), again(inputs))


def test_reconstruct_takes_views_of_any_size() -> None:
    views = np.random.default_rng(0).integers(0, 255, (4, 40, 40, 3), np.uint8)
    gaussians = reconstruct(_small(), views, orbit(4))
    assert len(gaussians) == 4 * 64
    assert not gaussians.means.requires_grad
