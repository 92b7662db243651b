"""Images to latents and back, whichever of diffusers' autoencoders a model folder holds.

An autoencoder with more than three input channels works on patches: a 2x2 patch of pixels becomes
12 channels, which saves the full-resolution level, the most expensive one on a CPU.
"""

import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from torch import Tensor

Autoencoder: TypeAlias = AutoencoderKL | AutoencoderKLTemporalDecoder


def to_patches(vae: Autoencoder, images: Tensor) -> Tensor:
    """Images [B, 3, H, W] as the autoencoder takes them."""
    return F.pixel_unshuffle(images, _patch_px(vae))


def from_patches(vae: Autoencoder, patches: Tensor) -> Tensor:
    """The inverse of `to_patches`."""
    return F.pixel_shuffle(patches, _patch_px(vae))


def encode(vae: Autoencoder, images: Tensor) -> Tensor:
    """Scaled latents [..., C, h, w] (the distribution's mode) of images [..., 3, H, W] in [-1, 1].

    Stable Video Diffusion leaves its condition latents unscaled; the U-Nets trained here take the
    scaled ones for both, so that one cache of latents serves every purpose.
    """
    flat = images.reshape(-1, *images.shape[-3:])
    latents: Tensor = (
        vae.encode(to_patches(vae, flat)).latent_dist.mode() * vae.config.scaling_factor
    )
    return latents.reshape(*images.shape[:-3], *latents.shape[-3:])


def decode(vae: Autoencoder, latents: Tensor) -> Tensor:
    """Images [F, 3, H, W] in [-1, 1] of the scaled latents [F, C, h, w] of one subject."""
    scaled = latents / vae.config.scaling_factor
    if isinstance(vae, AutoencoderKLTemporalDecoder):
        images = vae.decode(scaled, num_frames=len(scaled)).sample
    else:
        images = vae.decode(scaled).sample
    return torch.clamp(from_patches(vae, images.float()), -1, 1)


def _patch_px(vae: Autoencoder) -> int:
    return math.isqrt(vae.config.in_channels // 3)
