"""The paper's networks at full size, on the meta device: no weights, all shapes."""

import pytest
import torch
from diffusers import StableVideoDiffusionPipeline, UNetSpatioTemporalConditionModel
from torch import nn

from pipeline.diffusion.conditions import encode_tokens
from pipeline.diffusion.latents import decode, encode
from pipeline.diffusion.paper_sizes import (
    HIGHRES_PX,
    LOWRES_PX,
    paper_identity_projection,
    paper_image_encoder,
    paper_unet,
    paper_vae,
)
from pipeline.diffusion.pipeline import LowResPipeline
from pipeline.diffusion.samplers import edm_scheduler
from pipeline.diffusion.unet import OrbitUNet


@pytest.fixture(scope="module")
def unet() -> OrbitUNet:
    with torch.device("meta"):
        return paper_unet(LOWRES_PX).to("meta").eval()  # diffusers leaves mix factors on the CPU


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def millions(network: nn.Module) -> float:
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (paper_vae, 97.7),
        (paper_image_encoder, 632.1),
        (paper_identity_projection, 2.6),
    ],
)
def test_each_network_has_as_many_parameters_as_published(build, expected):
    with torch.device("meta"):
        assert millions(build()) == pytest.approx(expected, abs=0.06)


def test_azimuths_are_all_that_is_added_to_stable_video_diffusion(unet):
    with torch.device("meta"):
        stock = UNetSpatioTemporalConditionModel(num_attention_heads=(5, 10, 20, 20))
    told, plain = shapes(unet), shapes(stock)
    assert millions(stock) == pytest.approx(1524.6, abs=0.06)
    assert {name.rpartition(".")[0] for name in told.keys() - plain.keys()} == {
        "azimuth_mlp.linear_1",
        "azimuth_mlp.linear_2",
    }
    assert {name: told[name] for name in plain} == plain


@pytest.mark.parametrize("size_px", [LOWRES_PX, HIGHRES_PX])
def test_sixteen_views_go_through_a_stage(unet, size_px):
    latent_px = size_px // 8
    with torch.device("meta"), torch.no_grad():
        vae, encoder = paper_vae().to("meta").eval(), paper_image_encoder().eval()
        portrait = torch.empty(1, 3, size_px, size_px)
        tokens = encode_tokens(encoder, paper_identity_projection(), portrait, torch.empty(1, 512))
        assert tokens.shape == (1, 2, 1024)
        condition = encode(vae, portrait)
        assert condition.shape == (1, 4, latent_px, latent_px)
        noisy = torch.empty(1, 16, 8, latent_px, latent_px)
        predicted = unet(noisy, torch.empty(1), tokens, torch.empty(1, 3), torch.empty(1, 16))
        assert predicted.shape == (1, 16, 4, latent_px, latent_px)
        assert decode(vae, predicted[0]).shape == (16, 3, size_px, size_px)


def test_a_stage_is_made_of_the_parts_of_the_stock_pipeline(unet):
    with torch.device("meta"):
        networks = paper_vae(), paper_image_encoder(), paper_identity_projection()
    ours = LowResPipeline(*networks, unet, edm_scheduler(sigma_max=700, sigma_min=0.002))
    stock = StableVideoDiffusionPipeline._get_signature_types()
    for name in ("vae", "image_encoder", "unet", "scheduler"):
        assert isinstance(getattr(ours, name), stock[name]), name
