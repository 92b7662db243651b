"""From a model folder to a pipeline that is ready to run."""

from pathlib import Path
from typing import Literal

import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder

from pipeline.diffusion.cpu_blocks import suit_cpu
from pipeline.diffusion.latents import Autoencoder
from pipeline.diffusion.pipeline import HighResPipeline, LowResPipeline, OrbitPipeline
from pipeline.errors import ModelNotFound

VAE_CLASSES = {one.__name__: one for one in (AutoencoderKL, AutoencoderKLTemporalDecoder)}


def load_vae(model: Path) -> Autoencoder:
    """Load the autoencoder of a model folder in float32.

    Raises:
        ModelNotFound: the folder has none, or one of another class.
    """
    folder = model / "vae"
    try:
        name = AutoencoderKL.load_config(folder)["_class_name"]
        vae: Autoencoder = VAE_CLASSES[name].from_pretrained(folder, torch_dtype=torch.float32)
    except (OSError, KeyError) as error:
        raise ModelNotFound(
            f"{folder} holds no autoencoder of {' or '.join(VAE_CLASSES)} ({error})"
        ) from error
    return vae.eval()


def load_pipeline(
    model: Path,
    stage: Literal["lowres", "highres"],
    device: str,
    vae: Autoencoder | None = None,
    *,
    offload: bool = False,
    trains: bool = False,
) -> OrbitPipeline:
    """Load one diffusion stage: float32 on a CPU, bfloat16 on a GPU but for the autoencoder.

    The autoencoder stays in float32: bfloat16's eight bits show in smooth skin.

    Args:
        model: model folder.
        stage: which of the two.
        device: ``cpu`` or ``cuda``.
        vae: the autoencoder, if it is loaded already.
        offload: on a GPU, keep each network on the host between uses, see `plan_stage`.
        trains: networks stay as diffusers made them; on a CPU they would have no gradients.

    Raises:
        ModelNotFound: a component is missing.
    """
    kind = {"lowres": LowResPipeline, "highres": HighResPipeline}[stage]
    try:
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        pipeline = kind.from_model_folder(model / stage, vae or load_vae(model), dtype)
    except OSError as error:
        raise ModelNotFound(
            f"{model / stage} is not a complete stage ({error}); train it with "
            f"`headsplat train {stage}`"
        ) from error
    if device == "cpu" and not trains:
        for network in (pipeline.unet, pipeline.vae):
            suit_cpu(network)
    if offload and device != "cpu":
        pipeline.enable_model_cpu_offload(device=device)
        return pipeline
    ready: OrbitPipeline = pipeline.to(device)
    return ready
