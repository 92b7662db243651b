"""What the U-Net is told of a subject: image token, identity token, camera and portrait latents."""

from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU}


class IdentityProjection(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The MLP that turns an ArcFace embedding into one cross-attention token (section 3.3).

    Args:
        embedding_dim: of the face embedding.
        token_dim: of the U-Net's cross-attention.
        hidden_layers: linear layers before the last one.
        activation: after each of them.
        ends: what follows the last one. ``norm``: a layer norm, without which the token's scale and
            the image token's would have nothing in common. ``activation``: the same as before, as
            in the paper's release. ``residual``: the image token is added, and the last layer
            starts at zero. A network that only ever had an image token then answers as before:
            attention to two equal tokens is attention to one.
        enabled: False gives a zero token whoever it is, which is the paper's ablation -ID.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        embedding_dim: int = 512,
        token_dim: int = 1024,
        hidden_layers: int = 1,
        activation: Literal["silu", "relu"] = "silu",
        ends: Literal["norm", "activation", "residual"] = "norm",
        enabled: bool = True,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (embedding_dim, *[token_dim] * (hidden_layers - 1)):
            layers += [nn.Linear(width, token_dim), _ACTIVATIONS[activation]()]
        last = nn.Linear(token_dim, token_dim)
        layers.append(last)
        if ends == "norm":
            layers.append(nn.LayerNorm(token_dim))
        elif ends == "activation":
            layers.append(_ACTIVATIONS[activation]())
        else:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers)

    def forward(self, identity: Tensor, image_token: Tensor) -> Tensor:
        """The identity tokens.

        Args:
            identity: [B, embedding_dim] L2-normalised embeddings.
            image_token: [B, 1, token_dim], which counts where ``ends`` is ``residual``.

        Returns:
            [B, 1, token_dim].
        """
        if not self.config.enabled:
            return torch.zeros_like(image_token)
        tokens: Tensor = self.layers(identity * identity.shape[-1] ** 0.5)[:, None]
        return tokens + image_token if self.config.ends == "residual" else tokens


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
    image_token = image_encoder(pixels.to(image_encoder.dtype)).image_embeds[:, None]
    identity_token = projection(identity.to(projection.dtype), image_token)
    return torch.cat([image_token, identity_token], 1)
