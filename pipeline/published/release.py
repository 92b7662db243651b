"""The checkpoints of the paper's release: low_stage.pt, high_stage.pt and trained_arcface.pth.

A stage's file holds the whole training module: the U-Net, the autoencoder twice, the image encoder
with its text half, the identity network twice with the projection behind it, and networks that
judged its training. Each tensor is taken, compared or left out by name.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from pipeline.cameras import RELEASE_AZIMUTHS_DEG
from pipeline.diffusion.conditions import IdentityProjection
from pipeline.diffusion.samplers import edm_scheduler
from pipeline.diffusion.unet import OrbitUNet
from pipeline.errors import ModelNotFound
from pipeline.model_config import IDENTITY_FOLDER, ModelConfig, StageConfig
from pipeline.published.autoencoder import VAE_PREFIX, vae_config, vae_origin
from pipeline.published.checkpoint_files import Origin, Published, filled, on_meta
from pipeline.published.folds import (
    AESTHETIC_SCORE,
    aesthetic_features,
    fix_time_ids,
    scale_condition_latents,
    take_unit_identity,
)
from pipeline.published.ir_se50 import IDENTITY_FILE, IrSe, export_identity, ir_se_config
from pipeline.published.open_clip import clip_config, clip_origin
from pipeline.published.parts import Part, network_facts, tensors_digest
from pipeline.published.stable_video import unet_config, unet_origin
from pipeline.published.stage_folder import StageNetworks, StageSettings, write_stage

Stage = Literal["lowres", "highres"]

STAGE_FILES: dict[str, Stage] = {"low_stage.pt": "lowres", "high_stage.pt": "highres"}
ARCFACE_FILE = "trained_arcface.pth"
RECON_FILE = "recon.safetensors"
ORIGIN = "release"
MODEL = ModelConfig(
    preset="paper",
    portrait_px=512,
    lowres=StageConfig(size_px=256, steps=25, guidance=2.5),
    highres=StageConfig(size_px=512, steps=25, guidance=2.5),
    azimuths_deg=RELEASE_AZIMUTHS_DEG,
    identity_input="portrait",
)
"""Sizes, orbit and sampling of the release's inference code."""
_ORDER: dict[str, Any] = {"guidance_course": "linear", "orbit_start": "portrait"}
SETTINGS = {
    "lowres": StageSettings(noise_weight=1.0, lowres_weight=0.0, **_ORDER),
    "highres": StageSettings(noise_weight=0.5, lowres_weight=0.5, **_ORDER),
}
"""The second stage's noise is mixed as the code does it, where the paper says 0.4 and 0.6."""
_CONDITION_VAE_PREFIX = "conditioner.embedders.3.encoder."
_IDENTITY_PREFIX = "conditioner.embedders.5.id_model."
_PROJECTION_PREFIX = "conditioner.embedders.5.mlp."
_LATENT_PX = 8
_TEXT_HALF = "conditioner.embedders.0.open_clip.model."
LEFT_OUT = {
    f"{_TEXT_HALF}positional_embedding": "text half of the image encoder",
    f"{_TEXT_HALF}text_projection": "text half of the image encoder",
    f"{_TEXT_HALF}logit_scale": "text half of the image encoder",
    f"{_TEXT_HALF}token_embedding.": "text half of the image encoder",
    f"{_TEXT_HALF}ln_final.": "text half of the image encoder",
    f"{_TEXT_HALF}attn_mask": "text half of the image encoder",
    "conditioner.embedders.1.": "predictor of the aesthetic score, which is fixed here",
    "lpips.": "perceptual loss of the training",
    "id_model.": "identity loss of the training",
}
"""Names that are left out, and why."""


def stage_parts(path: Path, stage: Stage) -> list[Part]:
    """The components in low_stage.pt or high_stage.pt, checked.

    Args:
        path: the file.
        stage: which of the two it is; its tensors do not say.

    Raises:
        ModelNotFound: a tensor is missing, misshapen, of another type or unknown, or the file's
            two autoencoders differ.
    """
    file = Published(path)
    networks = _stage_networks(file, getattr(MODEL, stage).size_px)
    vae, identity = _autoencoder(file), _identity(file)
    left_out = _leave_out(file)
    file.finish()
    return [
        Part(
            component=stage,
            origin=ORIGIN,
            files={path.name: path},
            write=partial(write_stage, stage, networks, vae, SETTINGS[stage]),
            facts=network_facts(networks.unet) | {"tensors left out": left_out},
        ),
        _shared("vae", path, vae, vae.save_pretrained),
        _identity_part(path, identity),
    ]


def arcface_parts(path: Path) -> list[Part]:
    """The component in trained_arcface.pth, checked.

    Raises:
        ModelNotFound: a tensor is missing, misshapen, of another type or unknown.
    """
    file = Published(path)
    network = _identity(file, "")
    file.finish()
    return [_identity_part(path, network)]


def _leave_out(file: Published) -> dict[str, int]:
    """Leave out what `LEFT_OUT` names; how many tensors for each reason."""
    counts = dict.fromkeys(LEFT_OUT.values(), 0)
    for prefix, count in file.leave(LEFT_OUT).items():
        counts[LEFT_OUT[prefix]] += count
    return counts


def _stage_networks(file: Published, size_px: int) -> StageNetworks:
    config = unet_config(file, size_px // _LATENT_PX)
    unet = on_meta(lambda: OrbitUNet(**config))
    state = file.take(unet, lambda name: unet_origin(name, config["layers_per_block"]))
    features = aesthetic_features(AESTHETIC_SCORE, config["addition_time_embed_dim"])
    fix_time_ids(state, features)
    scale_condition_latents(state, vae_config(file)["scaling_factor"])
    encoder_config = CLIPVisionConfig(**clip_config(file))
    encoder = on_meta(lambda: CLIPVisionModelWithProjection(encoder_config))
    return StageNetworks(
        unet=filled(unet, state),
        image_encoder=filled(encoder, file.take(encoder, clip_origin)),
        identity_projection=_projection(file),
        scheduler=edm_scheduler(sigma_max=700.0, sigma_min=0.002),
    )


def _projection(file: Published) -> IdentityProjection:
    token_dim, embedding_dim = file.shape(_PROJECTION_PREFIX + "0.weight")
    projection = on_meta(
        lambda: IdentityProjection(
            embedding_dim, token_dim, hidden_layers=2, activation="relu", ends="activation"
        )
    )

    def origin(name: str) -> Origin:
        return Origin(_PROJECTION_PREFIX + name.removeprefix("layers."))

    state = file.take(projection, origin)
    take_unit_identity(state)
    whole: IdentityProjection = filled(projection, state)
    return whole


def _autoencoder(file: Published) -> AutoencoderKL:
    """The autoencoder, which a file holds twice: for what is generated and for the condition."""
    config = vae_config(file)
    levels = len(config["block_out_channels"])
    vae = on_meta(lambda: AutoencoderKL(**config))
    state, again = (
        file.take(vae, partial(vae_origin, levels=levels, prefix=prefix))
        for prefix in (VAE_PREFIX, _CONDITION_VAE_PREFIX)
    )
    if tensors_digest(state) != tensors_digest(again):
        raise ModelNotFound(
            f"{file.path} encodes its condition with another autoencoder than its views "
            f"({_CONDITION_VAE_PREFIX}* is not {VAE_PREFIX}*); the release has one for both"
        )
    return filled(vae, state)


def _identity(file: Published, prefix: str = _IDENTITY_PREFIX) -> IrSe:
    config: dict[str, Any] = ir_se_config(file, prefix)
    network = on_meta(lambda: IrSe(**config))
    return filled(network, file.take(network, lambda name: Origin(prefix + name)))


def _identity_part(path: Path, network: IrSe) -> Part:
    return _shared(
        IDENTITY_FOLDER, path, network, lambda out: export_identity(network, out / IDENTITY_FILE)
    )


def _shared(component: str, path: Path, network: nn.Module, write: Callable[[Path], None]) -> Part:
    return Part(
        component=component,
        origin=ORIGIN,
        files={path.name: path},
        write=write,
        facts=network_facts(network),
        tensors=tensors_digest(dict(network.state_dict())),
    )
