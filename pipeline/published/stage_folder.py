"""Writing a diffusion stage from networks that were filled with published weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffusers import EulerDiscreteScheduler
from transformers import CLIPVisionModelWithProjection

from pipeline.diffusion.conditions import IdentityProjection
from pipeline.diffusion.latents import Autoencoder
from pipeline.diffusion.pipeline import HighResPipeline, LowResPipeline
from pipeline.diffusion.unet import OrbitUNet


@dataclass(frozen=True, kw_only=True)
class StageNetworks:
    """The components of a stage's folder."""

    unet: OrbitUNet
    image_encoder: CLIPVisionModelWithProjection
    identity_projection: IdentityProjection
    scheduler: EulerDiscreteScheduler


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """What `OrbitPipeline` reads from a stage's folder besides its networks."""

    noise_weight: float
    lowres_weight: float
    guidance_course: Literal["triangular", "linear"]
    orbit_start: Literal["front", "portrait"]


def write_stage(
    stage: Literal["lowres", "highres"],
    networks: StageNetworks,
    vae: Autoencoder,
    settings: StageSettings,
    folder: Path,
) -> None:
    """Write a stage's folder, as training does.

    Args:
        stage: which of the two.
        networks: its components, written to a subfolder each.
        vae: what it works on; only its class is written.
        settings: go into the folder's config.
        folder: is made.
    """
    kind = {"lowres": LowResPipeline, "highres": HighResPipeline}[stage]
    pipeline = kind(vae=vae, **vars(networks), **vars(settings))
    for name, component in vars(networks).items():
        component.save_pretrained(folder / name)
    pipeline.save_config(folder)
