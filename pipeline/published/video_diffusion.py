"""A diffusers folder of Stable Video Diffusion, as a start for training a stage.

Its U-Net knows neither azimuth nor identity. What is added for them starts at zero, so that
the untrained stage answers as the published network does.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from pipeline.diffusion.conditions import IdentityProjection
from pipeline.diffusion.edm import PAPER_MIX, PURE_NOISE
from pipeline.diffusion.samplers import edm_scheduler
from pipeline.diffusion.unet import OrbitUNet
from pipeline.errors import ModelNotFound
from pipeline.model_config import ModelConfig, StageConfig
from pipeline.published.checkpoint_files import Origin, Published, State, filled, on_meta
from pipeline.published.folds import (
    SVD_FRAME_RATE_ID,
    SVD_MOTION_BUCKET,
    fix_time_ids,
    scale_condition_latents,
    time_features,
)
from pipeline.published.parts import Part, network_facts, tensors_digest
from pipeline.published.stage_folder import StageNetworks, StageSettings, write_stage

ORIGIN = "stable-video-diffusion"
MODEL = ModelConfig(
    preset="paper",
    portrait_px=512,
    lowres=StageConfig(size_px=256, steps=25, guidance=2.5),
    highres=StageConfig(size_px=512, steps=25, guidance=2.5),
)
"""The paper's sizes, on an even orbit, guided least where the portrait was taken."""
EMBEDDING_DIM = 512
UNET, VAE, ENCODER = "unet", "vae", "image_encoder"
_CLASSES = {
    UNET: "UNetSpatioTemporalConditionModel",
    VAE: "AutoencoderKLTemporalDecoder",
    ENCODER: "CLIPVisionModelWithProjection",
}
_FILES = {
    UNET: "diffusion_pytorch_model{}.safetensors",
    VAE: "diffusion_pytorch_model{}.safetensors",
    ENCODER: "model{}.safetensors",
}
_VARIANTS = ("", ".fp16")
_UNET_ARGUMENTS = (
    "in_channels",
    "out_channels",
    "block_out_channels",
    "addition_time_embed_dim",
    "projection_class_embeddings_input_dim",
    "layers_per_block",
    "cross_attention_dim",
    "num_attention_heads",
)
_MIX = {"lowres": PURE_NOISE, "highres": PAPER_MIX}
_LATENT_PX = 8


def is_video_diffusion(folder: Path) -> bool:
    """Whether a folder has the components of a Stable Video Diffusion pipeline."""
    return all((folder / name / "config.json").is_file() for name in _CLASSES)


def video_diffusion_parts(folder: Path, stage: Literal["lowres", "highres"]) -> list[Part]:
    """The components of the folder, checked, as one stage of a model.

    Args:
        folder: with ``unet``, ``vae`` and ``image_encoder`` in diffusers' layout.
        stage: which one it shall start.

    Raises:
        ModelNotFound: a component or tensor is missing, misshapen, of another type or unknown.
    """
    configs = {name: _config(folder, name) for name in _CLASSES}
    files = {name: _weights(folder, name) for name in _CLASSES}
    vae = _plain(
        files[VAE], on_meta(lambda: AutoencoderKLTemporalDecoder.from_config(configs[VAE]))
    )
    unet = _unet(files[UNET], configs[UNET], vae.config.scaling_factor, stage)
    encoder_config = CLIPVisionConfig.from_dict(configs[ENCODER])
    networks = StageNetworks(
        unet=unet,
        image_encoder=_plain(
            files[ENCODER], on_meta(lambda: CLIPVisionModelWithProjection(encoder_config))
        ),
        identity_projection=_neutral_projection(unet.config.cross_attention_dim),
        scheduler=edm_scheduler(sigma_max=700.0, sigma_min=0.002),
    )
    settings = StageSettings(
        noise_weight=_MIX[stage].noise_weight,
        lowres_weight=_MIX[stage].lowres_weight,
        guidance_course="triangular",
        orbit_start="front",
    )
    return [
        Part(
            component=stage,
            origin=ORIGIN,
            files=_named(folder, files[UNET], files[ENCODER]),
            write=partial(write_stage, stage, networks, vae, settings),
            facts=network_facts(unet),
        ),
        Part(
            component="vae",
            origin=ORIGIN,
            files=_named(folder, files[VAE]),
            write=vae.save_pretrained,
            facts=network_facts(vae),
            tensors=tensors_digest(dict(vae.state_dict())),
        ),
    ]


def _unet(
    path: Path, config: dict[str, Any], scaling_factor: float, stage: Literal["lowres", "highres"]
) -> OrbitUNet:
    missing = [name for name in _UNET_ARGUMENTS if name not in config]
    if missing:
        raise ModelNotFound(f"{path.parent}/config.json lacks {', '.join(missing)}")
    size = getattr(MODEL, stage).size_px // _LATENT_PX
    arguments = {name: config[name] for name in _UNET_ARGUMENTS}
    unet = on_meta(lambda: OrbitUNet(sample_size=size, **arguments))
    added = unet.azimuth_mlp
    assert added is not None
    unet.azimuth_mlp = None
    file = Published(path)
    state = file.take(unet, Origin)
    file.finish()
    feature_size = unet.config.addition_time_embed_dim
    features = [time_features(one, feature_size) for one in (SVD_FRAME_RATE_ID, SVD_MOTION_BUCKET)]
    fix_time_ids(state, torch.cat(features))
    scale_condition_latents(state, scaling_factor)
    unet.azimuth_mlp = added
    whole: OrbitUNet = filled(unet, state | _neutral_state(added))
    return whole


def _neutral_state(added: Any) -> State:
    """Numbers for the azimuth's embedding: at random, but zero in the last layer."""
    added.to_empty(device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(0)  # one published file always becomes the same model
        for layer in (added.linear_1, added.linear_2):
            layer.reset_parameters()
    nn.init.zeros_(added.linear_2.weight)
    nn.init.zeros_(added.linear_2.bias)
    return {f"azimuth_mlp.{name}": one for name, one in added.state_dict().items()}


def _neutral_projection(token_dim: int) -> IdentityProjection:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        projection: IdentityProjection = IdentityProjection(
            EMBEDDING_DIM, token_dim, ends="residual"
        )
    projection.eval()
    return projection


def _plain(path: Path, network: nn.Module) -> Any:
    file = Published(path)
    state = file.take(network, Origin)
    file.finish()
    return filled(network, state)


def _config(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"{path} cannot be read ({error}); download it again") from error
    found = config.get("_class_name") or ", ".join(config.get("architectures") or ["no class"])
    if found != _CLASSES[name]:
        raise ModelNotFound(
            f"{path} describes {found}, where Stable Video Diffusion has {_CLASSES[name]}"
        )
    return config


def _named(folder: Path, *paths: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _weights(folder: Path, name: str) -> Path:
    paths = [folder / name / _FILES[name].format(variant) for variant in _VARIANTS]
    for path in paths:
        if path.is_file():
            return path
    raise ModelNotFound(
        f"{folder / name} has neither {' nor '.join(path.name for path in paths)}; download them"
    )
