"""LGM's network: the shape of the published checkpoints, and what a small one does."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from small_lgm import large_lgm, on_meta, small_lgm

from pipeline.cameras import orbit
from pipeline.formats.ply import read_ply, write_ply
from pipeline.reconstruction.lgm import (
    LargeGaussianModel,
    Preset,
    lgm_config,
    network_inputs,
    reconstruct,
)
from pipeline.reconstruction.rays import as_trained, half_extent, plucker_rays
from pipeline.rendering import render_u8


@pytest.mark.parametrize(
    ("preset", "millions", "gaussians"),
    [("tiny", 59.743, 16384), ("small", 412.958, 16384), ("big", 415.043, 65536)],
)
def test_presets_have_the_published_sizes(preset: Preset, millions: float, gaussians: int) -> None:
    model = on_meta(lgm_config(preset))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=1e-3)
    assert 4 * model.splat_px**2 == gaussians


def test_embedded_issmall_lgm() -> None:
    model = on_meta(lgm_config("embedded"))
    assert sum(p.numel() for p in model.parameters()) < 6e6
    assert 4 * model.splat_px**2 == 16384


def test_big_has_the_names_and_shapes_of_lgms_checkpoint() -> None:
    state = on_meta(lgm_config("big")).state_dict()
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
    out = small_lgm()(torch.randn(2, views, 9, 16, 16))
    assert out.shape == (2, views * 64, 14)
    assert out[..., :3].abs().max() <= 1
    assert 0 < out[..., 3].min() < out[..., 3].max() < 1
    assert out[..., 4:7].min() > 0
    assert torch.allclose(out[..., 7:11].norm(dim=-1), torch.ones(2, views * 64))
    assert 0 < out[..., 11:].min() < out[..., 11:].max() < 1


def test_views_of_a_head_see_each_other_and_heads_do_not() -> None:
    model = small_lgm()
    inputs = torch.randn(2, 3, 9, 16, 16)
    changed = inputs.clone()
    changed[0, 2] += 1
    before, after = model(inputs), model(changed)
    assert not torch.allclose(before[0, :64], after[0, :64], atol=1e-6)
    assert torch.equal(before[1], after[1])


def test_order_is_view_then_row_then_column() -> None:
    """A Gaussian of a ``ray`` network lies near the ray of its own pixel."""
    model = small_lgm(positions="ray")
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
        small_lgm(up_channels=(32,))


def test_saved_and_loaded_is_the_same_network(tmp_path: Path) -> None:
    model = small_lgm(positions="ray")
    model.save_pretrained(tmp_path)
    again = LargeGaussianModel.from_pretrained(tmp_path).eval()
    inputs = torch.randn(1, 2, 9, 16, 16)
    assert torch.equal(model(inputs), again(inputs))


def _views(size_px: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (4, size_px, size_px, 3), np.uint8)


def test_reconstruct_takes_views_of_any_size() -> None:
    gaussians = reconstruct(small_lgm(), _views(40), orbit(4))
    assert len(gaussians) == 4 * 64
    assert not gaussians.means.requires_grad


def test_on_our_orbit_nothing_is_converted() -> None:
    model = small_lgm(positions="ray")
    images = torch.from_numpy(_views(16)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        rows = model(network_inputs(images, plucker_rays(orbit(4), 16))[None])
    assert np.array_equal(reconstruct(model, _views(16), orbit(4)).to_array(), rows[0].numpy())


@pytest.mark.parametrize(("radius", "fov_y_deg"), [(1.5, 49.1), (1.5, 10.0), (7.0, 20.0)])
def test_a_network_sees_its_own_cameras_and_answers_at_our_size(
    radius: float, fov_y_deg: float
) -> None:
    network = as_trained(orbit(4), radius, fov_y_deg)
    size = half_extent(2.0, 38.0) / half_extent(radius, fov_y_deg)
    images = torch.from_numpy(_views(16)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        rows = small_lgm()(network_inputs(images, plucker_rays(network, 16))[None])[0]
    rows[:, :3] *= size
    rows[:, 4:7] *= size
    model = small_lgm(camera_radius=radius, fov_y_deg=fov_y_deg)
    found = reconstruct(model, _views(16), orbit(4)).to_array()
    assert np.allclose(found, rows, atol=1e-6)


@pytest.mark.parametrize(("radius", "fov_y_deg"), [(2.0, 38.0), (1.5, 49.1), (1.5, 10.0)])
def test_gaussians_of_a_pixel_land_there_whatever_the_network_was_trained_with(
    radius: float, fov_y_deg: float
) -> None:
    """With raw channels of zero a Gaussian is where its ray is nearest to the head's centre."""
    model = small_lgm(positions="ray", camera_radius=radius, fov_y_deg=fov_y_deg)
    torch.nn.init.zeros_(model.conv.weight)
    torch.nn.init.zeros_(model.conv.bias)
    means = reconstruct(model, _views(16), orbit(4)).means.numpy()
    pixels = orbit(4).project(means, 8).reshape(4, 4, 8, 8, 2)
    rows, columns = np.mgrid[:8, :8] + 0.5
    for view in range(4):
        own = pixels[view, view]
        # These points leave the plane through the centre by up to a fifth of the field of view.
        assert np.abs(own[..., 0] - columns).max() < 0.35
        assert np.abs(own[..., 1] - rows).max() < 0.35
        assert np.abs(own[3:5, 3:5, 0] - columns[3:5, 3:5]).max() < 0.01


def test_bf16_is_near_float32_and_positions_are_not_rounded_to_it() -> None:
    model, cameras = small_lgm(), orbit(4)
    exact = reconstruct(model, _views(16), cameras)
    rounded = reconstruct(model, _views(16), cameras, bf16=True)
    assert rounded.means.dtype == rounded.colors.dtype == torch.float32
    for name in ("means", "scales", "opacities", "colors"):
        difference = getattr(exact, name) - getattr(rounded, name)
        assert 0 < difference.abs().max() < 0.03, name
    on_grid = rounded.means == rounded.means.bfloat16().float()
    assert on_grid.float().mean() < 0.1


def test_big_goes_from_views_to_a_picture() -> None:
    model = large_lgm(lgm_config("big") | {"input_px": 32})
    gaussians = read_ply(write_ply(reconstruct(model, _views(32), orbit(4))))
    assert len(gaussians) == 4 * 16 * 16
    picture = render_u8(gaussians, orbit(1), 64)
    assert picture.shape == (1, 64, 64, 3)
    assert picture.min() < 250
