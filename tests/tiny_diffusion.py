"""A real pipeline with networks of 32 channels."""

import torch
from diffusers import AutoencoderKL
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from pipeline.diffusion.conditions import IdentityProjection
from pipeline.diffusion.pipeline import (
    HighResPipeline,
    LowResPipeline,
    OrbitPipeline,
    Portraits,
)
from pipeline.diffusion.samplers import edm_scheduler
from pipeline.diffusion.unet import OrbitUNet


def tiny_vae() -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        in_channels=12,
        out_channels=12,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        latent_channels=4,
        mid_block_add_attention=False,
        scaling_factor=0.5,
    ).eval()


def tiny_unet(
    *,
    azimuth_embedding: bool = True,
    azimuth_index: bool = True,
    norm_num_groups: int = 32,
    layers_per_block: int = 1,
) -> OrbitUNet:
    torch.manual_seed(2)
    unet = OrbitUNet(
        azimuth_embedding=azimuth_embedding,
        azimuth_index=azimuth_index,
        orbit_views=4,
        sample_size=4,
        in_channels=8,
        out_channels=4,
        block_out_channels=(32, 64),
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=48,
        layers_per_block=layers_per_block,
        cross_attention_dim=32,
        num_attention_heads=(1, 2),
        norm_num_groups=norm_num_groups,
    )
    if unet.azimuth_mlp is not None:
        torch.nn.init.normal_(unet.azimuth_mlp.linear_2.weight, std=0.1)
    return unet.eval()


def tiny_image_encoder() -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=32,
            projection_dim=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
        )
    ).eval()


def tiny_pipeline(kind: type[OrbitPipeline] = LowResPipeline) -> OrbitPipeline:
    torch.manual_seed(3)
    encoder = tiny_image_encoder()
    projection = IdentityProjection(16, 32).eval()
    sigma_max = 10.0 if kind is HighResPipeline else 40.0
    return kind(tiny_vae(), encoder, projection, tiny_unet(), edm_scheduler(sigma_max))


def tiny_portraits(count: int) -> Portraits:
    generator = torch.Generator().manual_seed(4)
    return Portraits(
        torch.rand((count, 3, 32, 32), generator=generator) * 2 - 1,
        torch.nn.functional.normalize(torch.randn((count, 16), generator=generator)),
        torch.linspace(-30, 30, count),
        torch.linspace(0, 10, count),
    )
