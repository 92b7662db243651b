"""What the U-Net is told of a subject: image token, identity token, camera and portrait latents."""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class IdentityProjection(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The MLP that turns an ArcFace embedding into one cross-attention token (section 3.3).

    It ends in a layer norm: without one its scale and CLIP's would have nothing in common.

    Args:
        embedding_dim: of the face embedding.
        token_dim: of the U-Net's cross-attention.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, embedding_dim: int = 512, token_dim: int = 1024) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(embedding_dim, token_dim),
            nn.SiLU(),
            nn.Linear(token_dim, token_dim),
            nn.LayerNorm(token_dim),
        )

    def forward(self, identity: Tensor) -> Tensor:
        """[B, embedding_dim] L2-normalised embeddings to [B, 1, token_dim] tokens."""
        tokens: Tensor = self.layers(identity * identity.shape[-1] ** 0.5)
        return tokens[:, None]


@dataclass(frozen=True)
class Conditions:
    """Everything a U-Net call takes besides the noisy latents.

    Attributes:
        tokens: [B, T, D] image and identity tokens.
        latents: [B, C, h, w] the portrait's latents.
        time_ids: [B, 3] portrait azimuth and elevation in degrees, and the noise augmentation.
    """

    tokens: Tensor
    latents: Tensor
    time_ids: Tensor

    def dropped(self, keep_tokens: Tensor, keep_latents: Tensor) -> Self:
        """Zero the tokens and the latents of some subjects, for guidance-free training.

        Args:
            keep_tokens: [B, T] of 0 and 1.
            keep_latents: [B] of 0 and 1.
        """
        return type(self)(
            self.tokens * keep_tokens[..., None],
            self.latents * keep_latents[:, None, None, None],
            self.time_ids,
        )

    def unconditional(self) -> Self:
        """The same cameras with nothing known of the subject."""
        return type(self)(
            torch.zeros_like(self.tokens), torch.zeros_like(self.latents), self.time_ids
        )

    def joined(self, other: Self) -> Self:
        """Both batches one after the other."""
        return type(self)(
            torch.cat([self.tokens, other.tokens]),
            torch.cat([self.latents, other.latents]),
            torch.cat([self.time_ids, other.time_ids]),
        )


def clip_pixels(images: Tensor, size_px: int) -> Tensor:
    """Scale images [B, 3, H, W] in [-1, 1] for a CLIP image encoder of ``size_px``."""
    small = F.interpolate(
        images, (size_px, size_px), mode="bicubic", antialias=True, align_corners=False
    )
    mean = torch.tensor(CLIP_MEAN, device=images.device)[:, None, None]
    std = torch.tensor(CLIP_STD, device=images.device)[:, None, None]
    return (small.clamp(-1, 1) * 0.5 + 0.5 - mean) / std


def encode_tokens(
    image_encoder: CLIPVisionModelWithProjection,
    projection: IdentityProjection,
    images: Tensor,
    identity: Tensor,
) -> Tensor:
    """The cross-attention tokens [B, 2, D]: CLIP image embedding, then ArcFace identity.

    Args:
        image_encoder: CLIP's image half.
        projection: of the identity.
        images: [B, 3, H, W] portraits on white, in [-1, 1].
        identity: [B, E] L2-normalised face embeddings.
    """
    pixels = clip_pixels(images, image_encoder.config.image_size)
    image_token = image_encoder(pixels).image_embeds[:, None]
    return torch.cat([image_token, projection(identity)], 1)
