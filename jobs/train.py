"""The training jobs: a recipe for each network of a model folder, in the order they are needed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.training.gaussian_presets import EMBEDDED_OPTIONS, LGM_OPTIONS, PRESETS
from pipeline.training.loop import Part, train
from pipeline.training.options import TrainOptions

if TYPE_CHECKING:
    from pipeline.training.head_views import HeadViews

CHECKPOINTS = "training"
"""Subfolder of a model folder for checkpoints and logs; not part of the model."""
EMBEDDED = "embedded"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a part is made from.

    Attributes:
        data: address of the dataset.
        model: the model folder made so far.
        start_from: model folder whose weights come first, or None.
        preset: of the Gaussian network.
        lpips: files with LPIPS's weights, for the Gaussian network.
    """

    data: str
    model: Path
    start_from: Path | None = None
    preset: str = EMBEDDED
    lpips: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a part of the embedded model is trained unless told otherwise.

    Attributes:
        folder: subfolder of the model folder that the part fills.
        make: builds the part.
        options: its length and rates.
        can_start_from: whether it can begin with another model's weights.
    """

    folder: str
    make: Callable[[Source], Part]
    options: TrainOptions
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

    config = replace(PRESETS[source.preset], lpips=source.lpips)
    return gaussian_part(source.data, source.model, config)


def _pace(steps: int, learning_rate: float) -> TrainOptions:
    return TrainOptions(steps=steps, learning_rate=learning_rate)


RECIPES: dict[str, Recipe] = {
    "detector": Recipe(folder="face", make=_detector, options=_pace(4_000, 2e-3)),
    "identity": Recipe(folder="face", make=_identity, options=_pace(3_000, 2e-3)),
    "evaluator": Recipe(folder="evaluator", make=_evaluator, options=_pace(3_000, 2e-3)),
    "matting": Recipe(folder="matting", make=_matting, options=_pace(3_000, 2e-3)),
    "autoencoder": Recipe(folder="vae", make=_autoencoder, options=_pace(20_000, 1e-3)),
    "image_encoder": Recipe(
        folder="image_encoder", make=_image_encoder, options=_pace(2_000, 1e-3)
    ),
    "lowres": Recipe(
        folder="lowres", make=_lowres, options=_pace(60_000, 8e-4), can_start_from=True
    ),
    "highres": Recipe(
        folder="highres", make=_highres, options=_pace(40_000, 8e-4), can_start_from=True
    ),
    "gaussians": Recipe(folder="reconstructor", make=_gaussians, options=EMBEDDED_OPTIONS),
}


@dataclass(frozen=True, kw_only=True)
class TrainRun:
    """One part's training.

    Attributes:
        part: a key of `RECIPES`.
        source: what it is made from; its ``model`` is the model folder in the making: parts
            trained before are read from it, this one is added; checkpoints and logs go to its
            subfolder ``training``.
        steps: optimiser steps; None takes the recipe's.
        minutes: upper bound on the training time.
        learning_rate: peak; None takes the recipe's.
        seed: of weights and batches.
        threads: torch threads; 0 leaves torch's choice.
    """

    part: str
    source: Source
    steps: int | None = None
    minutes: float = float("inf")
    learning_rate: float | None = None
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        if self.part not in RECIPES:
            raise UsageError(f"there is no part {self.part!r}; the parts are {', '.join(RECIPES)}")
        for name, amount in (("steps", self.steps), ("minutes", self.minutes)):
            if amount is not None and not amount > 0:
                raise UsageError(f"{name} is {amount:g}; it must be more than 0")
        if self.source.start_from is not None and not self.recipe.can_start_from:
            able = ", ".join(name for name, one in RECIPES.items() if one.can_start_from)
            raise UsageError(f"{self.part} cannot start from another model's weights; {able} can")
        preset, lpips = self.source.preset, self.source.lpips
        if preset not in PRESETS:
            raise UsageError(f"preset {preset!r} is none of {', '.join(PRESETS)}")
        if self.part != "gaussians" and (preset != EMBEDDED or lpips):
            raise UsageError(f"--preset and --lpips are for gaussians; {self.part} has neither")

    @property
    def recipe(self) -> Recipe:
        """The part's recipe."""
        return RECIPES[self.part]

    @property
    def folder(self) -> Path:
        """Where checkpoints and logs go."""
        return self.source.model / CHECKPOINTS / self.part

    def run(self) -> dict[str, float]:
        """Train in this process, going on where an earlier run stopped; the final evaluation.

        Raises:
            HeadsplatError: the dataset or the model folder cannot be used.
        """
        made = self.recipe.make(self.source)
        return train(made, self.folder, self._options(), self.source.model / self.recipe.folder)

    def _options(self) -> TrainOptions:
        """The recipe's options, or LGM's, with what was asked for."""
        from pipeline.devices import bf16_is_fast

        base = self.recipe.options if self.source.preset == EMBEDDED else LGM_OPTIONS
        return replace(
            base,
            steps=self.steps or base.steps,
            minutes=self.minutes,
            learning_rate=self.learning_rate or base.learning_rate,
            seed=self.seed,
            threads=self.threads,
            bf16=bf16_is_fast(),
        )
