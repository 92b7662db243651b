"""Training of both diffusion stages (section 3.3) on the latents of digital humans."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from pipeline.devices import bf16_is_fast
from pipeline.diffusion.conditions import Conditions, IdentityProjection, encode_tokens
from pipeline.diffusion.edm import draw_sigma, frame_order, precondition
from pipeline.diffusion.latents import Autoencoder
from pipeline.diffusion.loading import load_pipeline
from pipeline.diffusion.pipeline import (
    HighResPipeline,
    LowResPipeline,
    OrbitPipeline,
    Portraits,
)
from pipeline.diffusion.samplers import edm_scheduler
from pipeline.diffusion.unet import OrbitUNet
from pipeline.errors import UsageError
from pipeline.images import Bytes, to_bytes, to_signed
from pipeline.reconstruction.lpips import Lpips
from pipeline.training.curves import tiled
from pipeline.training.devices import device_of, to_device
from pipeline.training.diffusion_presets import DiffusionConfig
from pipeline.training.examples import Examples, Floats, Indices, portraits_of
from pipeline.training.image_encoder import TOKEN_DIM, new_image_encoder
from pipeline.training.pixel_losses import PixelLosses, TrueViews, true_views
from pipeline.training.plain_attention import attend_plainly

_DROP = 0.1
_NORM_GROUPS = 8
_SHOWN = 4
"""Held-out people of a sheet."""


@dataclass(frozen=True)
class Batch:
    """B subjects with F views each.

    Attributes:
        views: [B, F, C, h, w] latents of the views.
        lowres: [B, F, C, h, w] latents of the enlarged low-resolution views, or None.
        portraits: the subjects.
        portrait_latents: [B, C, h, w].
        azimuth_deg: [B, F] of the views.
        truth: the views as images, where they are compared, or None.
    """

    views: Tensor
    lowres: Tensor | None
    portraits: Portraits
    portrait_latents: Tensor
    azimuth_deg: Tensor
    truth: TrueViews | None = None


class DiffusionNetworks(nn.Module):
    """The networks of a stage that are trained together."""

    def __init__(
        self,
        unet: OrbitUNet,
        identity_projection: IdentityProjection,
        image_encoder: CLIPVisionModelWithProjection,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.identity_projection = identity_projection
        self.image_encoder = image_encoder

    def tokens(self, portraits: Portraits) -> Tensor:
        """The condition tokens, [B, 2, D]."""
        return encode_tokens(
            self.image_encoder, self.identity_projection, portraits.images, portraits.identity
        )

    def blocks(self) -> list[nn.Module]:
        """What is gathered at a time where the networks are sharded."""
        unet = self.unet
        return [
            *self.image_encoder.vision_model.encoder.layers,
            self.image_encoder,
            self.identity_projection,
            *unet.down_blocks,
            unet.mid_block,
            *unet.up_blocks,
            unet,
        ]


class DiffusionPart:
    """One stage: which latents it sees, what it minimises, how it is judged.

    Args:
        train: digital humans to learn from, with latents; for the second stage also those of
            low-resolution views, and with images where decoded views are compared.
        held_out: digital humans to be judged on, as images; for the second stage with the
            low-resolution views.
        vae: trained autoencoder.
        config: sizes and noise.
        start_from: model folder whose weights of this stage are the first ones; None starts anew.
        image_encoder: folder of a trained image encoder, which outranks that of ``start_from``.
        lpips: the perceptual distance of decoded views; None takes structural dissimilarity.
        identity: the embedder of their identity term; None leaves the term out.
    """

    def __init__(
        self,
        train: Examples,
        held_out: Examples,
        vae: Autoencoder,
        config: DiffusionConfig,
        start_from: Path | None = None,
        image_encoder: Path | None = None,
        *,
        lpips: Lpips | None = None,
        identity: nn.Module | None = None,
    ) -> None:
        self.config, self.people, self.held_out = config, train, held_out
        self.vae: Autoencoder = vae.requires_grad_(False)
        self.pixels = PixelLosses(self.vae, config.pixels, lpips, identity)
        self.start_from, self.image_encoder = start_from, image_encoder
        # strings of `OrbitPipeline`'s choosing, which a model to start from may change
        self.settings: dict[str, Any] = {"guidance_course": "triangular", "orbit_start": "front"}
        self.azimuths_deg = torch.from_numpy(train.orbit_azimuths_deg)
        self.second = bool(config.mix.lowres_weight)

    def build_model(self) -> DiffusionNetworks:
        """The U-Net, the identity projection and the image encoder.

        Raises:
            ModelNotFound: the model to start from lacks the stage.
            UsageError: its stage has other sizes.
        """
        model = self._first_networks()
        if self.image_encoder is not None:
            model.image_encoder = CLIPVisionModelWithProjection.from_pretrained(
                self.image_encoder, torch_dtype=torch.float32
            )
        model.image_encoder.requires_grad_(self.config.train_encoder)
        if self.config.checkpointing:
            model.unet.checkpoint_activations()
        elif bf16_is_fast() and not torch.cuda.is_available():
            attend_plainly(model.unet)
        return model

    def _first_networks(self) -> DiffusionNetworks:
        """Fresh ones, or those of the model to start from."""
        if self.start_from is None:
            return _fresh_networks(self.config, self.people.shape("view_latents")[1])
        stage: Literal["lowres", "highres"] = "highres" if self.second else "lowres"
        trained = load_pipeline(self.start_from, stage, "cpu", self.vae, trains=True)
        self.settings = {name: trained.config[name] for name in self.settings}
        if self.config.channels is None:
            model = DiffusionNetworks(
                trained.unet.train(),
                trained.identity_projection.train(),
                trained.image_encoder.train(),
            )
            model.identity_projection.register_to_config(enabled=self.config.identity_token)
            return model
        model = _fresh_networks(self.config, self.people.shape("view_latents")[1])
        _copy_weights(trained, model, self.start_from / stage)
        return model

    def batch(self, seed: int, step: int) -> Batch:
        """Subjects with a few views each; every eighth batch holds fewer subjects' full orbits."""
        rng = np.random.default_rng((seed, step))
        orbit_views = len(self.azimuths_deg)
        views = orbit_views if step % 8 == 7 else min(self.config.views, orbit_views)
        count = max(1, self.config.batch_views // views)
        who = rng.choice(len(self.people), count, replace=count > len(self.people))
        which = np.stack([_choose_views(rng, orbit_views, views) for _ in who])
        portrait = rng.integers(self.people.shape("portraits")[0], size=count)
        if self.settings["orbit_start"] == "portrait":
            angles = self.people.pick("azimuth_deg", who, portrait)
            which = self._from_portrait(which, angles.numpy())
        lowres = None
        if self.second:
            kinds = self.people.shape("lowres_latents")[0] // orbit_views
            kind = rng.integers(kinds, size=(count, 1))
            lowres = self.people.pick("lowres_latents", who, kind * orbit_views + which)
        return Batch(
            self.people.pick("view_latents", who, which),
            lowres,
            portraits_of(self.people, who, portrait),
            self.people.pick("portrait_latents", who, portrait),
            self.azimuths_deg[torch.from_numpy(which)],
            true_views(self.people, who, which) if self.config.pixels.views else None,
        )

    def _from_portrait(self, which: Indices, portrait_azimuths_deg: Floats) -> Indices:
        """The views [B, F] of each subject, beginning with that next to its portrait."""
        seen = self.azimuths_deg[torch.from_numpy(which)]
        orders = [
            frame_order(azimuths, torch.tensor([one]))[0].numpy()
            for azimuths, one in zip(seen, portrait_azimuths_deg.tolist(), strict=True)
        ]
        return np.take_along_axis(which, np.stack(orders), 1)

    def loss(self, model: DiffusionNetworks, batch: Batch) -> Mapping[str, Tensor]:
        """The v-prediction error at a random noise level for each subject, and Eq. 5's terms."""
        count = len(batch.views)
        drawn = draw_sigma(count, self.config.sigma_mean, self.config.sigma_std)
        sigma = drawn.to(batch.views.device)
        noise = torch.randn_like(batch.views)
        level = sigma[:, None, None, None, None]
        noisy = batch.views + level * self.config.mix(noise, batch.lowres)
        c_skip, c_out, c_in, _ = precondition(level)
        conditions = Conditions(
            model.tokens(batch.portraits), batch.portrait_latents, batch.portraits.time_ids()
        ).dropped(*to_device(_keep(count), batch.views.device))
        portrait = conditions.latents[:, None].expand_as(noisy)
        predicted = model.unet(
            torch.cat([c_in * noisy, portrait], 2),
            0.25 * sigma.log(),
            conditions.tokens,
            conditions.time_ids,
            batch.azimuth_deg,
        )
        target = (batch.views - c_skip * noisy) / c_out
        error = F.mse_loss(predicted.float(), target)
        if batch.truth is None:
            return {"loss": error}
        denoised = c_skip * noisy + c_out * predicted.float()
        compared = self.pixels(denoised, batch.truth, drawn)
        return {"loss": error + compared.total, "latents": error.detach(), **compared.terms}

    def evaluate(self, model: DiffusionNetworks) -> Mapping[str, float]:
        """PSNR in dB of held-out orbits from portraits in one step and in two, unguided.

        For the second stage also that of the low-resolution views it was given, enlarged.
        """
        pipeline = self.pipeline(model).to(device_of(model))
        who = np.arange(len(self.held_out))
        portraits = portraits_of(self.held_out, who, self._judged_by(who))
        scores, given = {}, None
        if self.second:
            given = to_signed(self.held_out.pick("lowres", who).numpy())
            scores["psnr_given"] = self._psnr(given)
        for steps in (1, 2):
            views = pipeline(
                portraits,
                self.azimuths_deg,
                steps=steps,
                guidance=1.0,
                generators=[torch.Generator().manual_seed(int(one)) for one in who],
                lowres_views=given,
            )
            scores[f"psnr_steps_{steps}"] = self._psnr(views.cpu())
        self._made = to_bytes(views.cpu()[:_SHOWN])
        return scores

    def sheet(self) -> Bytes:
        """Some held-out people of the last evaluation: portrait, views, and below them the truth.

        Returns:
            [H, W, 3] uint8; the views are those made in two steps.
        """
        who = np.arange(len(self._made))
        portraits = self.held_out.pick("portraits", who, self._judged_by(who)).numpy()
        orbits = self.held_out.pick("orbit", who).numpy()
        every = max(1, len(self.azimuths_deg) // 8)
        rows = []
        for portrait, made, orbit in zip(portraits, self._made, orbits, strict=True):
            rows.append([portrait, *made[::every]])
            rows.append([np.full_like(portrait, 255), *orbit[::every]])
        return tiled(rows)

    def _judged_by(self, who: Indices) -> Indices:
        """Which portrait of each held-out person the views are made from."""
        return who % min(8, self.held_out.shape("portraits")[0])

    def _psnr(self, views: Tensor) -> float:
        truth = to_signed(self.held_out.pick("orbit", np.arange(len(self.held_out))).numpy())
        error = (views - truth).square().mean((2, 3, 4)) / 4
        return float((-10 * error.log10()).mean())

    def export(self, model: DiffusionNetworks, out: Path) -> None:
        """Write the stage's folder; the autoencoder stays in its own."""
        pipeline = self.pipeline(model.to(torch.float16))
        for name in ("unet", "identity_projection", "image_encoder", "scheduler"):
            getattr(pipeline, name).save_pretrained(out / name)
        pipeline.save_config(out)

    def pipeline(self, model: DiffusionNetworks) -> OrbitPipeline:
        """The stage's pipeline round the networks in training."""
        kind = HighResPipeline if self.second else LowResPipeline
        return kind(
            self.vae,
            model.image_encoder,
            model.identity_projection,
            model.unet,
            edm_scheduler(self.config.sigma_max, self.config.sigma_min),
            noise_weight=self.config.mix.noise_weight,
            lowres_weight=self.config.mix.lowres_weight,
            **self.settings,
        )


def _fresh_networks(config: DiffusionConfig, latent_channels: int) -> DiffusionNetworks:
    """The embedded preset's networks with random weights."""
    assert config.channels is not None, "a preset without networks needs a model to start from"
    unet = OrbitUNet(
        sample_size=config.size_px // 8,
        in_channels=2 * latent_channels,
        out_channels=latent_channels,
        block_out_channels=config.channels,
        num_attention_heads=config.heads,
        layers_per_block=1,
        cross_attention_dim=TOKEN_DIM,
        addition_time_embed_dim=64,
        projection_class_embeddings_input_dim=3 * 64,
        norm_num_groups=_NORM_GROUPS,
    )
    projection = IdentityProjection(512, TOKEN_DIM, enabled=config.identity_token)
    return DiffusionNetworks(unet, projection, new_image_encoder())


def _copy_weights(trained: OrbitPipeline, model: DiffusionNetworks, source: Path) -> None:
    for name, network in model.named_children():
        try:
            network.load_state_dict(getattr(trained, name).state_dict())
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()
            raise UsageError(
                f"{source / name} has other sizes than the {name} in training: {first}"
            ) from None


def _choose_views(rng: np.random.Generator, orbit_views: int, views: int) -> Indices:
    """Evenly spread or random views, in orbit order."""
    if views == orbit_views:
        return np.arange(orbit_views)
    if rng.random() < 0.5:
        spacing = orbit_views // views
        return np.sort((rng.integers(spacing) + spacing * np.arange(views)) % orbit_views)
    return np.sort(rng.choice(orbit_views, views, replace=False))


def _keep(count: int) -> tuple[Tensor, Tensor]:
    """Which tokens [B, 2] and latents [B] of each subject are kept: all, some or none."""
    kept = (torch.rand(count, 3) > _DROP) & (torch.rand(count, 1) > _DROP)
    return kept[:, :2].float(), kept[:, 2].float()
