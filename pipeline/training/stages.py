"""The image encoder and both diffusion stages, from a dataset and the parts trained before them."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.diffusion.loading import load_pipeline, load_vae
from pipeline.digital_human.dataset import HeadDataset
from pipeline.model_config import IDENTITY_FOLDER, ModelConfig
from pipeline.portrait.faces import FaceEmbedder, PortraitEmbedder
from pipeline.reconstruction.lpips import load_lpips
from pipeline.training.diffusion import DiffusionPart
from pipeline.training.diffusion_presets import LOWRES, DiffusionConfig
from pipeline.training.identity_loss import load_identity
from pipeline.training.image_encoder import ImageEncoderPart
from pipeline.training.lowres_views import FirstStage
from pipeline.training.subjects import Subjects, load_subjects

ARCFACE = "arcface.onnx"
HELD_OUT_SUBJECTS = 8
IMAGE_ENCODER = "image_encoder"
"""Subfolder of a model folder in the making with the encoder that both stages start from."""


@dataclass(frozen=True, kw_only=True)
class StageSource:
    """What a diffusion stage is made from.

    Attributes:
        data: address of the dataset.
        model: model folder with the autoencoder, the face pack and, for the second stage, the
            first one.
        start_from: model folder whose weights of the stage come first, or None.
        lpips: files with LPIPS's weights; without any, structural dissimilarity stands in.
    """

    data: str
    model: Path
    start_from: Path | None = None
    lpips: tuple[Path, ...] = ()


def image_encoder_part(data: str, model: Path) -> ImageEncoderPart:
    """The image encoder; ``model`` holds the autoencoder and the face pack."""
    train, held_out = _subjects(data, model, LOWRES)
    return ImageEncoderPart(train, held_out, load_vae(model))


def stage_part(source: StageSource, config: DiffusionConfig) -> DiffusionPart:
    """The first stage or, with low-resolution views in the config's mix, the second one.

    Raises:
        ModelNotFound: the model folder lacks a part that the stage needs.
        UsageError: there are no digital humans to learn from or to be judged on.
    """
    pixels, encoder = config.pixels, source.model / IMAGE_ENCODER
    with_identity = pixels.views and pixels.identity_weight
    return DiffusionPart(
        *_subjects(source.data, source.model, config),
        load_vae(source.model),
        config,
        source.start_from,
        encoder if encoder.exists() and config.train_encoder else None,
        _first_stage(source.model) if config.mix.lowres_weight else None,
        lpips=load_lpips(source.lpips) if source.lpips else None,
        identity=load_identity(source.model / "face" / ARCFACE) if with_identity else None,
    )


def _first_stage(model: Path) -> FirstStage:
    settings = ModelConfig.load(model).lowres
    return FirstStage(load_pipeline(model, "lowres", "cpu"), settings.size_px, settings.steps)


def _subjects(data: str, model: Path, config: DiffusionConfig) -> tuple[Subjects, Subjects]:
    whole = ModelConfig.load(model).identity_input == "portrait"
    embedder = PortraitEmbedder(model / IDENTITY_FOLDER) if whole else FaceEmbedder(model / "face")
    return (
        load_subjects(
            HeadDataset(data, "train"),
            config.size_px,
            embedder.embed,
            copies=1 if config.mirrored else 2,
            mirrored=config.mirrored,
            without=config.without,
        ),
        load_subjects(
            HeadDataset(data, "test"),
            config.size_px,
            embedder.embed,
            copies=1,
            limit=HELD_OUT_SUBJECTS,
        ),
    )
