"""A diffusers folder laid out as Stable Video Diffusion's, with narrow networks."""

from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from tiny_diffusion import tiny_image_encoder


def write_video_diffusion(folder: Path) -> Path:
    """Save the three networks with random numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(8)
        unet = UNetSpatioTemporalConditionModel(
            sample_size=16,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            block_out_channels=(32, 64),
            addition_time_embed_dim=16,
            projection_class_embeddings_input_dim=48,
            layers_per_block=1,
            cross_attention_dim=32,
            num_attention_heads=(1, 2),
        )
        vae = AutoencoderKLTemporalDecoder(
            down_block_types=("DownEncoderBlock2D",) * 2, block_out_channels=(32, 32)
        )
        encoder = tiny_image_encoder()
    for name, network in (("unet", unet), ("vae", vae), ("image_encoder", encoder)):
        network.save_pretrained(folder / name)
    return folder
