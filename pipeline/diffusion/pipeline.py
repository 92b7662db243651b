"""The diffusion pipelines: portrait in, views of the orbit out.

`LowResPipeline` starts from pure noise. `HighResPipeline` starts from the mix of noise and the
enlarged low-resolution views that it was trained on (Eq. 2-3) and restores the detail.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from pipeline.diffusion.conditions import Conditions, IdentityProjection, encode_tokens
from pipeline.diffusion.denoiser import Denoiser
from pipeline.diffusion.edm import GUIDANCE, PAPER_MIX, PURE_NOISE, NoiseMix, frame_order
from pipeline.diffusion.latents import Autoencoder, decode, encode
from pipeline.diffusion.samplers import (
    Sampler,
    ShiftedProcess,
    advance,
    is_stochastic,
    load_sampler,
)
from pipeline.diffusion.unet import OrbitUNet

NOISE_AUGMENTATION = 0.02
"""Noise added to the condition image, as the release does at inference."""
_SETTINGS = (
    "noise_weight",
    "lowres_weight",
    "guidance_course",
    "guidance_interval",
    "orbit_start",
)


@dataclass(frozen=True)
class Portraits:
    """A batch of subjects as the diffusion stages see them.

    Attributes:
        images: [B, 3, H, W] float32 in [-1, 1], on white, at the stage's size.
        identity: [B, E] L2-normalised face embeddings.
        azimuth_deg: [B] the camera's azimuth, positive towards the subject's left.
        elevation_deg: [B] the camera's elevation, positive above.
    """

    images: Tensor
    identity: Tensor
    azimuth_deg: Tensor
    elevation_deg: Tensor

    def time_ids(self) -> Tensor:
        """The U-Net's added time ids, [B, 3]."""
        augmentation = torch.full_like(self.azimuth_deg, NOISE_AUGMENTATION)
        return torch.stack([self.azimuth_deg, self.elevation_deg, augmentation], 1)


class OrbitPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Base of both stages: encode the conditions, denoise all views together, decode.

    Args:
        vae: of the latents.
        image_encoder: CLIP's image half.
        identity_projection: from face embedding to token.
        unet: the stage's network.
        scheduler: its sampler; the noise mix it was trained with is in the U-Net's folder.
        noise_weight: share of fresh noise, see `NoiseMix`.
        lowres_weight: share of the low-resolution latents.
        guidance_course: how guidance changes over the views, a key of `GUIDANCE`.
        guidance_interval: the lowest and the highest sigma with guidance, which doubles a step's
            cost; None guides every step.
        orbit_start: which view the network has learnt to see first: that in front of the face, or
            the one next to the portrait.
    """

    default_mix: ClassVar[NoiseMix] = PURE_NOISE
    model_cpu_offload_seq = "image_encoder->identity_projection->unet->vae"

    def __init__(
        self,
        vae: Autoencoder,
        image_encoder: CLIPVisionModelWithProjection,
        identity_projection: IdentityProjection,
        unet: OrbitUNet,
        scheduler: Sampler,
        noise_weight: float | None = None,
        lowres_weight: float | None = None,
        guidance_course: Literal["triangular", "linear"] = "triangular",
        guidance_interval: tuple[float, float] | None = None,
        orbit_start: Literal["front", "portrait"] = "front",
    ) -> None:
        super().__init__()
        mix = self.default_mix
        self.register_modules(
            vae=vae,
            image_encoder=image_encoder,
            identity_projection=identity_projection,
            unet=unet,
            scheduler=scheduler,
        )
        self.register_to_config(
            noise_weight=mix.noise_weight if noise_weight is None else noise_weight,
            lowres_weight=mix.lowres_weight if lowres_weight is None else lowres_weight,
            guidance_course=guidance_course,
            guidance_interval=guidance_interval,
            orbit_start=orbit_start,
        )
        self.set_progress_bar_config(disable=True)

    @classmethod
    def from_model_folder(
        cls, folder: Path, vae: Autoencoder, dtype: torch.dtype = torch.float32
    ) -> Self:
        """Load a stage's folder, next to the autoencoder that both stages share.

        The classes are named here rather than looked up in the folder, so that a folder can never
        choose what code runs.

        Args:
            folder: ``lowres`` or ``highres`` of a model folder.
            vae: the model's autoencoder.
            dtype: of the networks.

        Raises:
            OSError: a component is missing, or the sampler is not one of `SAMPLERS`.
        """
        classes = {
            "unet": OrbitUNet,
            "identity_projection": IdentityProjection,
            "image_encoder": CLIPVisionModelWithProjection,
        }
        networks = {
            name: kind.from_pretrained(
                folder / name, torch_dtype=dtype, local_files_only=True
            ).eval()
            for name, kind in classes.items()
        }
        scheduler = load_sampler(folder / "scheduler")
        config = cls.load_config(folder)
        settings: dict[str, Any] = {name: config[name] for name in _SETTINGS if name in config}
        return cls(vae, scheduler=scheduler, **networks, **settings)

    @torch.no_grad()
    def __call__(
        self,
        portraits: Portraits,
        azimuths_deg: Tensor,
        *,
        steps: int,
        guidance: float,
        generators: list[torch.Generator],
        lowres_views: Tensor | None = None,
        on_step: Callable[[int, int], None] = lambda step, steps: None,
        decode_views: int | None = None,
    ) -> Tensor:
        """Generate the views of a batch of subjects.

        Args:
            portraits: B subjects.
            azimuths_deg: [F] the orbit's views, in its order.
            steps: denoising steps.
            guidance: the strongest of any view; 1 runs without guidance.
            generators: one a subject, so that a subject's views do not depend on its batch.
            lowres_views: [B, F, 3, h, w] in [-1, 1], only for the second stage.
            on_step: called before each step with its index and their number; decoding counts as
                one step for each ``decode_views``. What it raises ends the call.
            decode_views: views decoded at once, which sets the peak of memory; None takes F.

        Returns:
            [B, F, 3, H, W] in [-1, 1], in the order of ``azimuths_deg``.
        """
        device = self._execution_device
        portrait_azimuths_deg = portraits.azimuth_deg.to(device)
        order = self._order(azimuths_deg.to(device), portrait_azimuths_deg)
        views = azimuths_deg.to(device)[order]
        conditions = self.encode_conditions(portraits)
        lowres_latents = self._lowres_latents(lowres_views, portraits.images.shape[-1])
        if lowres_latents is not None:
            lowres_latents = _take(lowres_latents, order)
        self.scheduler.set_timesteps(steps, device=device)
        latents = self._initial_latents(conditions, len(azimuths_deg), generators, lowres_latents)
        scale = GUIDANCE[self.config.guidance_course](views, portrait_azimuths_deg, guidance)
        chunk = decode_views or len(azimuths_deg)
        total = steps + len(generators) * math.ceil(len(azimuths_deg) / chunk)
        latents = self._denoise(
            latents,
            Denoiser(self.unet, conditions, views, scale, self.config.guidance_interval),
            generators,
            lowres_latents,
            lambda step: on_step(step, total),
        )
        pieces = [
            piece for subject in _take(latents, order.argsort(1)) for piece in subject.split(chunk)
        ]
        decoded = []
        for index, piece in enumerate(pieces):
            on_step(steps + index, total)
            decoded.append(decode(self.vae, piece))
        images = torch.cat(decoded)
        return images.view(*order.shape, *images.shape[1:])

    def _denoise(
        self,
        latents: Tensor,
        denoiser: Denoiser,
        generators: list[torch.Generator],
        lowres_latents: Tensor | None,
        on_step: Callable[[int], None],
    ) -> Tensor:
        """Take the latents from the first noise level to none, [B, F, C, h, w]."""
        sampler, shifted = self.scheduler, None
        if is_stochastic(sampler):
            lowres = torch.zeros_like(latents) if lowres_latents is None else lowres_latents
            shifted = ShiftedProcess(self._mix(), lowres)
            latents = shifted.enter(latents, sampler.sigmas[0])
        for step, timestep in enumerate(sampler.timesteps):
            on_step(step)
            sigma = sampler.sigmas[step]
            scaled = sampler.scale_model_input(latents, timestep)
            if shifted:
                scaled = shifted.network_input(scaled, sigma)
            predicted = denoiser(scaled, timestep, float(sigma))
            if shifted:
                predicted = shifted.prediction(predicted, sigma)
            latents = advance(sampler, predicted, timestep, latents, generators)
        return shifted.leave(latents) if shifted else latents

    def _order(self, azimuths_deg: Tensor, portrait_azimuths_deg: Tensor) -> Tensor:
        """For each subject, [B, F], the order in which the network sees the orbit's views."""
        if self.config.orbit_start == "portrait":
            return frame_order(azimuths_deg, portrait_azimuths_deg)
        frames = torch.arange(len(azimuths_deg), device=azimuths_deg.device)
        return frames.expand(len(portrait_azimuths_deg), -1)

    def encode_conditions(self, portraits: Portraits) -> Conditions:
        """Encode what does not change from step to step."""
        device = self._execution_device
        images = portraits.images.to(device)
        tokens = encode_tokens(
            self.image_encoder, self.identity_projection, images, portraits.identity.to(device)
        )
        return Conditions(tokens, encode(self.vae, images), portraits.time_ids().to(device))

    def _lowres_latents(self, lowres_views: Tensor | None, size_px: int) -> Tensor | None:
        if (lowres_views is None) == (self.config.lowres_weight > 0):
            raise ValueError("low-resolution views belong to the second stage, and only there")
        if lowres_views is None:
            return None
        enlarged = enlarge(lowres_views.to(self._execution_device).flatten(0, 1), size_px)
        latents = encode(self.vae, enlarged)
        return latents.reshape(*lowres_views.shape[:2], *latents.shape[1:])

    def _initial_latents(
        self,
        conditions: Conditions,
        views: int,
        generators: list[torch.Generator],
        lowres_latents: Tensor | None,
    ) -> Tensor:
        shape = (views, *conditions.latents.shape[1:])
        noise = torch.stack([torch.randn(shape, generator=one) for one in generators])
        start: Tensor = self._mix()(noise.to(self._execution_device), lowres_latents)
        return start * float(self.scheduler.init_noise_sigma)

    def _mix(self) -> NoiseMix:
        return NoiseMix(
            noise_weight=self.config.noise_weight, lowres_weight=self.config.lowres_weight
        )


class LowResPipeline(OrbitPipeline):
    """The first stage: the orbit at low resolution from pure noise."""


class HighResPipeline(OrbitPipeline):
    """The second stage: the orbit at full resolution from mixed noise (Eq. 2-3)."""

    default_mix = PAPER_MIX


def _take(frames: Tensor, order: Tensor) -> Tensor:
    """The frames [B, F, ...] of each subject in an order [B, F]."""
    subject = torch.arange(len(frames), device=frames.device)[:, None]
    return frames[subject, order]


def enlarge(images: Tensor, size_px: int) -> Tensor:
    """Bicubic enlargement of [N, 3, h, w] images in [-1, 1] to ``size_px``."""
    large = F.interpolate(images, (size_px, size_px), mode="bicubic", align_corners=False)
    return large.clamp(-1, 1)
