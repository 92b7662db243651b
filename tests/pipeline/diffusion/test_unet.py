import pytest
import torch
from tiny_diffusion import tiny_unet
from torch.nn import GroupNorm

from pipeline.diffusion.unet import OrbitUNet, circular_features


def call(unet: OrbitUNet, azimuth_deg: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    views = azimuth_deg.shape[1]
    with torch.no_grad():
        return unet(
            torch.randn((1, views, 8, 4, 4), generator=generator),
            torch.zeros(1),
            torch.randn((1, 2, 32), generator=generator),
            torch.zeros((1, 3)),
            azimuth_deg,
        )


def test_full_circle_is_no_turn():
    angles = torch.tensor([0.0, 90.0, -45.0])
    torch.testing.assert_close(
        circular_features(angles), circular_features(angles + 360), atol=1e-4, rtol=0
    )


def test_views_are_told_apart_by_azimuth():
    unet = tiny_unet()
    here = call(unet, torch.tensor([[0.0, 90.0]]))
    there = call(unet, torch.tensor([[0.0, 180.0]]))
    assert (here - there)[:, 1].abs().max() > 1e-3


def test_even_orbit_without_embedding_is_the_stock_video_network():
    unet = tiny_unet(azimuth_embedding=False)
    told = call(unet, torch.tensor([[0.0, 90.0, 180.0, 270.0]]))
    for module in unet.modules():
        module._forward_pre_hooks.clear()
    stock = call(unet, torch.tensor([[0.0, 1.0, 2.0, 3.0]]))
    torch.testing.assert_close(told, stock)


@pytest.mark.parametrize(("azimuth_embedding", "groups"), [(True, 8), (False, 32)])
def test_saved_and_loaded_network_answers_the_same(tmp_path, azimuth_embedding, groups):
    unet = tiny_unet(azimuth_embedding=azimuth_embedding, norm_num_groups=groups)
    unet.save_pretrained(tmp_path)
    loaded = OrbitUNet.from_pretrained(tmp_path).eval()
    orbit = torch.tensor([[0.0, 90.0, 180.0]])
    torch.testing.assert_close(call(loaded, orbit), call(unet, orbit))


def test_every_group_norm_has_the_groups_that_are_asked_for():
    norms = [one for one in tiny_unet(norm_num_groups=8).modules() if isinstance(one, GroupNorm)]
    assert {norm.num_groups for norm in norms} == {8}
    assert len(norms) > 10
