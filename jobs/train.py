"""The training jobs: a recipe for each network of a model folder, in the order they are needed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.training.loop import Part, TrainOptions, train

if TYPE_CHECKING:
    from pipeline.training.head_views import HeadViews

CHECKPOINTS = "training"
"""Subfolder of a model folder for checkpoints and logs; not part of the model."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a part is made from.

    Attributes:
        data: address of the dataset.
        model: the model folder made so far.
        start_from: model folder whose weights come first, or None.
    """

    data: str
    model: Path
    start_from: Path | None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a part of the embedded model is trained unless told otherwise.

    Attributes:
        folder: subfolder of the model folder that the part fills.
        make: builds the part.
        steps: optimiser steps.
        learning_rate: peak.
        can_start_from: whether it can begin with another model's weights.
    """

    folder: str
    make: Callable[[Source], Part]
    steps: int
    learning_rate: float
    can_start_from: bool = False


def _views(data: str) -> "tuple[HeadViews, HeadViews]":
    from pipeline.training.head_views import HeadViews, load_sequences

    train_views, test_views = (HeadViews(load_sequences(data, one)) for one in ("train", "test"))
    return train_views, test_views


def _autoencoder(source: Source) -> Part:
    from pipeline.training.autoencoder import AutoencoderPart

    return AutoencoderPart(source.data)


def _detector(source: Source) -> Part:
    from pipeline.training.detector import DetectorPart

    return DetectorPart(*_views(source.data))


def _identity(source: Source) -> Part:
    from pipeline.training.identity import IdentityPart

    return IdentityPart(*_views(source.data))


def _evaluator(source: Source) -> Part:
    from pipeline.training.identity import IdentityPart

    return IdentityPart(*_views(source.data), width=24)


def _matting(source: Source) -> Part:
    from pipeline.training.matting import MattingPart

    return MattingPart(*_views(source.data))


def _image_encoder(source: Source) -> Part:
    from pipeline.training.stages import image_encoder_part

    return image_encoder_part(source.data, source.model)


def _lowres(source: Source) -> Part:
    from pipeline.training.stages import lowres_part

    return lowres_part(source.data, source.model, source.start_from)


def _highres(source: Source) -> Part:
    from pipeline.training.stages import highres_part

    return highres_part(source.data, source.model, source.start_from)


def _gaussians(source: Source) -> Part:
    from pipeline.training.gaussians import gaussian_part

    return gaussian_part(source.data)


RECIPES: dict[str, Recipe] = {
    "detector": Recipe(folder="face", make=_detector, steps=4_000, learning_rate=2e-3),
    "identity": Recipe(folder="face", make=_identity, steps=3_000, learning_rate=2e-3),
    "evaluator": Recipe(folder="evaluator", make=_evaluator, steps=3_000, learning_rate=2e-3),
    "matting": Recipe(folder="matting", make=_matting, steps=3_000, learning_rate=2e-3),
    "autoencoder": Recipe(folder="vae", make=_autoencoder, steps=20_000, learning_rate=1e-3),
    "image_encoder": Recipe(
        folder="image_encoder", make=_image_encoder, steps=2_000, learning_rate=1e-3
    ),
    "lowres": Recipe(
        folder="lowres", make=_lowres, steps=60_000, learning_rate=8e-4, can_start_from=True
    ),
    "highres": Recipe(
        folder="highres", make=_highres, steps=40_000, learning_rate=8e-4, can_start_from=True
    ),
    "gaussians": Recipe(folder="reconstructor", make=_gaussians, steps=20_000, learning_rate=4e-4),
}


def run(
    part: str,
    data: str,
    out: Path,
    *,
    steps: int | None = None,
    minutes: float = float("inf"),
    learning_rate: float | None = None,
    seed: int = 0,
    threads: int = 0,
    start_from: Path | None = None,
) -> dict[str, float]:
    """Train one part on a dataset of digital humans, going on where an earlier run stopped.

    Args:
        part: a key of `RECIPES`.
        data: folder or URI that ``headsplat heads render`` wrote to.
        out: the model folder in the making: parts trained before are read from it, this one is
            added; checkpoints and logs go to its subfolder ``training``.
        steps: optimiser steps; None takes the recipe's.
        minutes: upper bound on the training time.
        learning_rate: peak; None takes the recipe's.
        seed: of weights and batches.
        threads: torch threads; 0 leaves torch's choice.
        start_from: model folder whose weights the diffusion stages may begin with.

    Returns:
        The final evaluation.

    Raises:
        UsageError: there is no such part, it cannot start from another model, or there is no
            time to train it.
    """
    from pipeline.devices import bf16_is_fast
    from pipeline.model_config import INDEX, ModelConfig

    if part not in RECIPES:
        raise UsageError(f"there is no part {part!r}; the parts are {', '.join(RECIPES)}")
    recipe = RECIPES[part]
    for name, amount in (("steps", steps), ("minutes", minutes)):
        if amount is not None and not amount > 0:
            raise UsageError(f"{name} is {amount:g}; it must be more than 0")
    if start_from is not None and not recipe.can_start_from:
        able = ", ".join(name for name, one in RECIPES.items() if one.can_start_from)
        raise UsageError(f"{part} cannot start from another model's weights; {able} can")
    options = TrainOptions(
        steps=steps or recipe.steps,
        minutes=minutes,
        learning_rate=learning_rate or recipe.learning_rate,
        seed=seed,
        threads=threads,
        bf16=bf16_is_fast(),
    )
    if not (out / INDEX).exists():
        ModelConfig().save(out)
    made = recipe.make(Source(data=data, model=out, start_from=start_from))
    return train(made, out / CHECKPOINTS / part, options, out / recipe.folder)
