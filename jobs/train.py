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
class Recipe:
    """How a part of the embedded model is trained unless told otherwise.

    Attributes:
        folder: subfolder of the model folder that the part fills.
        make: builds the part from the dataset's folder and the model folder made so far.
        steps: optimiser steps.
        learning_rate: peak.
    """

    folder: str
    make: Callable[[Path, Path], Part]
    steps: int
    learning_rate: float


def _views(data: Path) -> "tuple[HeadViews, HeadViews]":
    from pipeline.training.head_views import HeadViews, load_sequences

    train_views, test_views = (HeadViews(load_sequences(data, one)) for one in ("train", "test"))
    return train_views, test_views


def _autoencoder(data: Path, model: Path) -> Part:
    from pipeline.training.autoencoder import AutoencoderPart

    return AutoencoderPart(data)


def _detector(data: Path, model: Path) -> Part:
    from pipeline.training.detector import DetectorPart

    return DetectorPart(*_views(data))


def _identity(data: Path, model: Path) -> Part:
    from pipeline.training.identity import IdentityPart

    return IdentityPart(*_views(data))


def _evaluator(data: Path, model: Path) -> Part:
    from pipeline.training.identity import IdentityPart

    return IdentityPart(*_views(data), width=24)


def _matting(data: Path, model: Path) -> Part:
    from pipeline.training.matting import MattingPart

    return MattingPart(*_views(data))


def _lowres(data: Path, model: Path) -> Part:
    from pipeline.training.stages import lowres_part

    return lowres_part(data, model)


def _highres(data: Path, model: Path) -> Part:
    from pipeline.training.stages import highres_part

    return highres_part(data, model)


def _gaussians(data: Path, model: Path) -> Part:
    from pipeline.training.gaussians import gaussian_part

    return gaussian_part(data)


RECIPES: dict[str, Recipe] = {
    "detector": Recipe(folder="face", make=_detector, steps=4_000, learning_rate=2e-3),
    "identity": Recipe(folder="face", make=_identity, steps=3_000, learning_rate=2e-3),
    "evaluator": Recipe(folder="evaluator", make=_evaluator, steps=3_000, learning_rate=2e-3),
    "matting": Recipe(folder="matting", make=_matting, steps=3_000, learning_rate=2e-3),
    "autoencoder": Recipe(folder="vae", make=_autoencoder, steps=20_000, learning_rate=1e-3),
    "lowres": Recipe(folder="lowres", make=_lowres, steps=60_000, learning_rate=8e-4),
    "highres": Recipe(folder="highres", make=_highres, steps=40_000, learning_rate=8e-4),
    "gaussians": Recipe(folder="reconstructor", make=_gaussians, steps=20_000, learning_rate=4e-4),
}


def run(
    part: str,
    data: Path,
    out: Path,
    *,
    steps: int | None = None,
    minutes: float = float("inf"),
    learning_rate: float | None = None,
    seed: int = 0,
    threads: int = 0,
) -> dict[str, float]:
    """Train one part on a dataset of digital humans, going on where an earlier run stopped.

    Args:
        part: a key of `RECIPES`.
        data: folder that ``headsplat heads render`` wrote.
        out: the model folder in the making: parts trained before are read from it, this one is
            added; checkpoints and logs go to its subfolder ``training``.
        steps: optimiser steps; None takes the recipe's.
        minutes: upper bound on the training time.
        learning_rate: peak; None takes the recipe's.
        seed: of weights and batches.
        threads: torch threads; 0 leaves torch's choice.

    Returns:
        The final evaluation.

    Raises:
        UsageError: there is no such part.
    """
    from pipeline.devices import bf16_is_fast
    from pipeline.model_config import INDEX, ModelConfig

    if part not in RECIPES:
        raise UsageError(f"there is no part {part!r}; the parts are {', '.join(RECIPES)}")
    recipe = RECIPES[part]
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
    made = recipe.make(data, out)
    return train(made, out / CHECKPOINTS / part, options, out / recipe.folder)
