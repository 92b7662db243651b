"""The parts that learn from prepared examples: which they need, and how they are put together."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.diffusion.loading import load_vae
from pipeline.reconstruction.lpips import load_lpips
from pipeline.training.autoencoder import SIZES_PX
from pipeline.training.diffusion import DiffusionPart
from pipeline.training.diffusion_presets import LOWRES, DiffusionConfig
from pipeline.training.example_source import ExampleSource
from pipeline.training.examples import Examples
from pipeline.training.identity_loss import load_identity
from pipeline.training.image_encoder import ImageEncoderPart

ARCFACE = "arcface.onnx"
IMAGE_ENCODER = "image_encoder"
"""Subfolder of a model folder in the making with the encoder that both stages start from."""

Sources = tuple[ExampleSource, ExampleSource]
"""Of the people to learn from, and of those to be judged by."""


@dataclass(frozen=True, kw_only=True)
class StageSource:
    """What a diffusion stage is made from, besides its examples.

    Attributes:
        model: model folder with the autoencoder and the face pack.
        start_from: model folder whose weights of the stage come first, or None.
        lpips: files with LPIPS's weights; without any, structural dissimilarity stands in.
    """

    model: Path
    start_from: Path | None = None
    lpips: tuple[Path, ...] = ()


def autoencoder_examples(data: str) -> Sources:
    """Orbits at the largest size that the autoencoder is used at."""
    train = ExampleSource(data=data, size_px=SIZES_PX[0])
    return train, replace(train, held_out=True)


def stage_examples(data: str, model: Path, config: DiffusionConfig = LOWRES) -> Sources:
    """What a diffusion stage learns from, or the image encoder, which shares the first one's."""
    held_out = ExampleSource(
        data=data,
        size_px=config.size_px,
        model=model,
        held_out=True,
        second_stage=bool(config.mix.lowres_weight),
    )
    train = replace(
        held_out,
        held_out=False,
        copies=1 if config.mirrored else 2,
        mirrored=config.mirrored,
        without=config.without,
        images=bool(config.pixels.views),
    )
    return train, held_out


def image_encoder_part(model: Path, train: Examples, held_out: Examples) -> ImageEncoderPart:
    """The image encoder; ``model`` holds the autoencoder."""
    return ImageEncoderPart(train, held_out, load_vae(model))


def stage_part(
    source: StageSource, config: DiffusionConfig, train: Examples, held_out: Examples
) -> DiffusionPart:
    """The first stage or, with low-resolution views in the config's mix, the second one.

    Raises:
        ModelNotFound: the model folder lacks a part that the stage needs.
    """
    pixels, encoder = config.pixels, source.model / IMAGE_ENCODER
    with_identity = pixels.views and pixels.identity_weight
    return DiffusionPart(
        train,
        held_out,
        load_vae(source.model),
        config,
        source.start_from,
        encoder if encoder.exists() and config.train_encoder else None,
        lpips=load_lpips(source.lpips) if source.lpips else None,
        identity=load_identity(source.model / "face" / ARCFACE) if with_identity else None,
    )
