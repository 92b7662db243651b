"""Training of the image encoder on its own, before the diffusion stages begin.

CLIP's weights come from a model hub. Without them the encoder starts from nothing, and a diffusion
loss teaches it next to nothing (docs/log.md): the U-Net learns early to live without its token.
Here it learns in minutes to say in one token what all sides of the head look like, because a small
decoder has to draw the orbit from that token alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from pipeline.diffusion.conditions import clip_pixels
from pipeline.diffusion.latents import Autoencoder, decode
from pipeline.images import to_signed
from pipeline.training.devices import device_of
from pipeline.training.examples import Examples

TOKEN_DIM = 256
_HIDDEN = 768


def new_image_encoder() -> CLIPVisionModelWithProjection:
    """The embedded preset's image encoder, CLIP's architecture at a small size, fresh."""
    config = CLIPVisionConfig(
        hidden_size=160,
        intermediate_size=480,
        projection_dim=TOKEN_DIM,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
    )
    return CLIPVisionModelWithProjection(config)


class OrbitFromToken(nn.Module):
    """The encoder, and the decoder that is thrown away.

    Args:
        orbit_shape: V, C, h, w of an orbit's latents.
    """

    def __init__(self, orbit_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = new_image_encoder()
        self.decoder = nn.Sequential(
            nn.LayerNorm(TOKEN_DIM, elementwise_affine=False),
            nn.Dropout(0.1),
            nn.Linear(TOKEN_DIM, _HIDDEN),
            nn.SiLU(),
            nn.Linear(_HIDDEN, int(np.prod(orbit_shape))),
            nn.Unflatten(1, orbit_shape),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Portraits [B, 3, P, P] in [-1, 1] to the latents of their orbits [B, V, C, h, w]."""
        latents: Tensor = self.decoder(self.tokens(images))
        return latents

    def tokens(self, images: Tensor) -> Tensor:
        """The image tokens, [B, TOKEN_DIM]."""
        pixels = clip_pixels(images, self.encoder.config.image_size)
        tokens: Tensor = self.encoder(pixels).image_embeds
        return tokens


@dataclass(frozen=True)
class Batch:
    """B portraits [B, 3, P, P] in [-1, 1] and the latents of their subjects' orbits."""

    images: Tensor
    orbits: Tensor


class ImageEncoderPart:
    """The image encoder as `pipeline.training.loop` trains it.

    Args:
        train: digital humans to learn from, with latents.
        held_out: digital humans to be judged on, as images.
        vae: trained autoencoder.
        batch_size: portraits a step.
    """

    def __init__(
        self, train: Examples, held_out: Examples, vae: Autoencoder, batch_size: int = 64
    ) -> None:
        self.people, self.held_out, self.vae, self.batch_size = train, held_out, vae, batch_size

    def build_model(self) -> OrbitFromToken:
        """A fresh encoder and decoder."""
        return OrbitFromToken(self.people.shape("view_latents"))

    def batch(self, seed: int, step: int) -> Batch:
        """Random portraits of random subjects."""
        rng = np.random.default_rng((seed, step))
        who = rng.integers(len(self.people), size=self.batch_size)
        which = rng.integers(self.people.shape("portraits")[0], size=self.batch_size)
        images = to_signed(self.people.pick("portraits", who, which).numpy())
        return Batch(images, self.people.pick("view_latents", who))

    def loss(self, model: OrbitFromToken, batch: Batch) -> Mapping[str, Tensor]:
        """Squared error of the latents."""
        return {"loss": F.mse_loss(model(batch.images).float(), batch.orbits)}

    def evaluate(self, model: OrbitFromToken) -> Mapping[str, float]:
        """PSNR in dB of the orbits that one token of a held-out portrait draws."""
        scores = []
        who = np.arange(len(self.held_out))
        which = who % self.held_out.shape("portraits")[0]
        portraits = to_signed(self.held_out.pick("portraits", who, which).numpy())
        orbits = to_signed(self.held_out.pick("orbit", who).numpy())
        for portrait, orbit in zip(portraits, orbits, strict=True):
            latents = model(portrait[None].to(device_of(model)))[0].float().cpu()
            error = (decode(self.vae, latents) - orbit).square() / 4
            scores.append(float((-10 * error.mean((1, 2, 3)).log10()).mean()))
        return {"psnr": float(np.mean(scores))}

    def export(self, model: OrbitFromToken, out: Path) -> None:
        """Write the encoder alone, its tokens scaled to unit variance as the U-Net likes them."""
        with torch.no_grad():
            tokens = model.tokens(self.batch(0, 0).images)
            model.encoder.visual_projection.weight /= tokens.std()
        model.encoder.to(torch.float16).save_pretrained(out)
