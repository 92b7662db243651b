"""The image encoder and both diffusion stages, from a dataset and the parts trained before them."""

from pathlib import Path

from pipeline.diffusion.loading import load_pipeline, load_vae
from pipeline.digital_human.dataset import HeadDataset
from pipeline.model_config import ModelConfig
from pipeline.portrait.faces import FaceEmbedder
from pipeline.training.diffusion import DiffusionPart
from pipeline.training.diffusion_presets import HIGHRES, LOWRES, DiffusionConfig
from pipeline.training.image_encoder import ImageEncoderPart
from pipeline.training.lowres_views import FirstStage
from pipeline.training.subjects import Subjects, load_subjects

HELD_OUT_SUBJECTS = 8
IMAGE_ENCODER = "image_encoder"
"""Subfolder of a model folder in the making with the encoder that both stages start from."""


def image_encoder_part(data: str, model: Path) -> ImageEncoderPart:
    """The image encoder; ``model`` holds the autoencoder and the face pack."""
    train, held_out = _subjects(data, model, LOWRES.size_px)
    return ImageEncoderPart(train, held_out, load_vae(model))


def lowres_part(data: str, model: Path, start_from: Path | None = None) -> DiffusionPart:
    """The first stage; ``model`` holds the autoencoder and the face pack."""
    return _part(data, model, LOWRES, start_from)


def highres_part(data: str, model: Path, start_from: Path | None = None) -> DiffusionPart:
    """The second stage; ``model`` holds the autoencoder, the face pack and the first stage."""
    settings = ModelConfig.load(model).lowres
    first_stage = FirstStage(
        load_pipeline(model, "lowres", "cpu"), settings.size_px, settings.steps
    )
    return _part(data, model, HIGHRES, start_from, first_stage)


def _part(
    data: str,
    model: Path,
    config: DiffusionConfig,
    start_from: Path | None,
    first_stage: FirstStage | None = None,
) -> DiffusionPart:
    encoder = model / IMAGE_ENCODER
    return DiffusionPart(
        *_subjects(data, model, config.size_px, config.mirrored, config.without),
        load_vae(model),
        config,
        start_from,
        encoder if encoder.exists() else None,
        first_stage,
    )


def _subjects(
    data: str, model: Path, size_px: int, mirrored: bool = False, without: tuple[str, ...] = ()
) -> tuple[Subjects, Subjects]:
    embed = FaceEmbedder(model / "face").embed
    held_out = HeadDataset(data, "test")
    return (
        load_subjects(
            HeadDataset(data, "train"),
            size_px,
            embed,
            copies=1 if mirrored else 2,
            mirrored=mirrored,
            without=without,
        ),
        load_subjects(held_out, size_px, embed, copies=1, limit=HELD_OUT_SUBJECTS),
    )
