"""The training jobs: a recipe for each network of a model folder, in the order they are needed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.errors import UsageError
from pipeline.model_config import INDEX, ModelConfig
from pipeline.training.diffusion_presets import (
    MODELS,
    PAPER_OPTIONS,
    DiffusionConfig,
    StageChoices,
    stage_config,
)
from pipeline.training.gaussian_presets import EMBEDDED_OPTIONS, LGM_OPTIONS, PRESETS
from pipeline.training.loop import Part, train
from pipeline.training.options import TrainOptions

if TYPE_CHECKING:
    from pipeline.training.examples import Examples
    from pipeline.training.head_views import HeadViews

CHECKPOINTS = "training"
"""Subfolder of a model folder for checkpoints and logs; not part of the model."""
PREPARED = ("autoencoder", "image_encoder", "lowres", "highres")
"""Parts that learn from examples which are prepared before, see `jobs.train_ingest`."""
EMBEDDED = "embedded"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a part is made from.

    Attributes:
        data: address of the dataset.
        model: the model folder made so far.
        start_from: model folder whose weights come first, or None.
        preset: of the Gaussian network or of a diffusion stage.
        lpips: files with LPIPS's weights, for these.
        choices: what a diffusion stage does otherwise than its preset.
        classes: what the identity network tells apart, see `IdentityPart`.
        examples: for the parts in `PREPARED`, folders of the examples to learn from and of those
            to be judged by.
    """

    data: str
    model: Path
    start_from: Path | None = None
    preset: str = EMBEDDED
    lpips: tuple[Path, ...] = ()
    choices: StageChoices = field(default_factory=StageChoices)
    classes: Literal["identity", "expression"] = "identity"
    examples: tuple[Path, ...] = ()


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


def _examples(source: Source) -> "tuple[Examples, Examples]":
    from pipeline.training.example_shards import open_examples

    train_folder, held_out_folder = source.examples
    return open_examples(train_folder), open_examples(held_out_folder)


def _autoencoder(source: Source) -> Part:
    from pipeline.training.autoencoder import AutoencoderPart

    return AutoencoderPart(*_examples(source))


def _detector(source: Source) -> Part:
    from pipeline.training.detector import DetectorPart

    return DetectorPart(*_views(source.data))


def _identity(source: Source) -> Part:
    from pipeline.training.identity import IdentityPart

    start = None if source.start_from is None else source.start_from / "face" / "arcface.onnx"
    return IdentityPart(*_views(source.data), classes=source.classes, start_from=start)


def _evaluator(source: Source) -> Part:
    from pipeline.training.identity import IdentityPart

    return IdentityPart(*_views(source.data), width=24)


def _matting(source: Source) -> Part:
    from pipeline.training.matting import MattingPart

    return MattingPart(*_views(source.data))


def _pose(source: Source) -> Part:
    from pipeline.training.pose import PosePart

    return PosePart(*_views(source.data))


def _image_encoder(source: Source) -> Part:
    from pipeline.training.stages import image_encoder_part

    return image_encoder_part(source.model, *_examples(source))


def _stage(name: str) -> Callable[[Source], Part]:
    def make(source: Source) -> Part:
        from pipeline.training.stages import StageSource, stage_part

        found = StageSource(model=source.model, start_from=source.start_from, lpips=source.lpips)
        config = stage_config(source.preset, name, source.choices)
        return stage_part(found, config, *_examples(source))

    return make


def _gaussians(source: Source) -> Part:
    from pipeline.training.gaussians import gaussian_part

    config = replace(PRESETS[source.preset], lpips=source.lpips)
    return gaussian_part(source.data, source.model, config)


def _pace(steps: int, learning_rate: float) -> TrainOptions:
    return TrainOptions(steps=steps, learning_rate=learning_rate)


RECIPES: dict[str, Recipe] = {
    "detector": Recipe(folder="face", make=_detector, options=_pace(4_000, 2e-3)),
    "identity": Recipe(
        folder="face", make=_identity, options=_pace(3_000, 2e-3), can_start_from=True
    ),
    "evaluator": Recipe(folder="evaluator", make=_evaluator, options=_pace(3_000, 2e-3)),
    "matting": Recipe(folder="matting", make=_matting, options=_pace(3_000, 2e-3)),
    "pose": Recipe(folder="pose", make=_pose, options=_pace(10_000, 1e-3)),
    "autoencoder": Recipe(folder="vae", make=_autoencoder, options=_pace(20_000, 1e-3)),
    "image_encoder": Recipe(
        folder="image_encoder", make=_image_encoder, options=_pace(2_000, 1e-3)
    ),
    "lowres": Recipe(
        folder="lowres", make=_stage("lowres"), options=_pace(60_000, 8e-4), can_start_from=True
    ),
    "highres": Recipe(
        folder="highres", make=_stage("highres"), options=_pace(40_000, 8e-4), can_start_from=True
    ),
    "gaussians": Recipe(folder="reconstructor", make=_gaussians, options=EMBEDDED_OPTIONS),
}


FINE_TUNING = _pace(3_000, 1e-4)
"""Of a trained ArcFace network: at ten times the rate its embeddings all become one."""
_DIFFUSION = ("lowres", "highres")
_PRESETS: dict[str, dict[str, TrainOptions | None]] = {
    "gaussians": {name: None if name == EMBEDDED else LGM_OPTIONS for name in PRESETS},
    **{part: {EMBEDDED: None, "paper": PAPER_OPTIONS} for part in _DIFFUSION},
}
"""The presets of the parts that have some, and their options where these are not the recipe's."""


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
        cache: folder for prepared examples; None takes a subfolder of that of the checkpoints.
    """

    part: str
    source: Source
    steps: int | None = None
    minutes: float = float("inf")
    learning_rate: float | None = None
    seed: int = 0
    threads: int = 0
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.part not in RECIPES:
            raise UsageError(f"there is no part {self.part!r}; the parts are {', '.join(RECIPES)}")
        for name, amount in (("steps", self.steps), ("minutes", self.minutes)):
            if amount is not None and not amount > 0:
                raise UsageError(f"{name} is {amount:g}; it must be more than 0")
        if self.source.start_from is not None and not self.recipe.can_start_from:
            able = ", ".join(name for name, one in RECIPES.items() if one.can_start_from)
            raise UsageError(f"{self.part} cannot start from another model's weights; {able} can")
        self._check_choices()

    def _check_choices(self) -> None:
        source, presets = self.source, _PRESETS.get(self.part, {EMBEDDED: None})
        if self.part not in _PRESETS and (source.preset != EMBEDDED or source.lpips):
            raise UsageError(
                f"--preset and --lpips are for {', '.join(_PRESETS)}; {self.part} has neither"
            )
        if source.preset not in presets:
            raise UsageError(f"preset {source.preset!r} is none of {', '.join(presets)}")
        if self.part not in _DIFFUSION and source.choices != StageChoices():
            raise UsageError(
                "--ablate, --noise-weight, --lowres-weight, --decoded-views and --pixel-sigma are "
                f"for {' and '.join(_DIFFUSION)}; {self.part} has none"
            )
        if self.cache is not None and self.part not in PREPARED:
            raise UsageError(
                f"--cache is for {', '.join(PREPARED)}; {self.part} prepares no examples"
            )
        if self.part != "identity" and source.classes != "identity":
            raise UsageError(f"--classes is for identity; {self.part} has no classes")
        if self.part in _DIFFUSION:
            config = stage_config(source.preset, self.part, source.choices)
            if config.channels is None and source.start_from is None:
                raise UsageError(
                    f"the preset {source.preset} trains the networks of another model on; import "
                    "Stable Video Diffusion or the release with headsplat models import and give "
                    "--start-from"
                )

    @property
    def recipe(self) -> Recipe:
        """The part's recipe."""
        return RECIPES[self.part]

    @property
    def folder(self) -> Path:
        """Where checkpoints and logs go."""
        return self.source.model / CHECKPOINTS / self.part

    def write_index(self) -> None:
        """Let the index of the model folder say what it is going to hold.

        Raises:
            UsageError: it says something else already.
        """
        model = self.source.model
        preset = self.source.preset if self.part in _DIFFUSION else EMBEDDED
        before = ModelConfig.load(model) if (model / INDEX).exists() else None
        index = before or MODELS[preset]
        if self.part in _DIFFUSION:
            config = stage_config(preset, self.part, self.source.choices)
            index = _index_with(index, model, self.part, config, self.source.choices)
        if index != before:
            index.save(model)

    def run(self) -> dict[str, float]:
        """Train in this process, going on where an earlier run stopped; the final evaluation.

        What the part learns from is prepared, see `jobs.train_ingest.prepared`.

        Raises:
            HeadsplatError: the dataset or the model folder cannot be used.
        """
        made = self.recipe.make(self.source)
        return train(made, self.folder, self._options(), self.source.model / self.recipe.folder)

    @property
    def pace(self) -> TrainOptions:
        """The options that the preset brings along, or the recipe."""
        if self.part == "identity" and self.source.start_from is not None:
            return FINE_TUNING
        return _PRESETS.get(self.part, {}).get(self.source.preset) or self.recipe.options

    def _options(self) -> TrainOptions:
        from pipeline.devices import bf16_is_fast

        base = self.pace
        return replace(
            base,
            steps=self.steps or base.steps,
            minutes=self.minutes,
            learning_rate=self.learning_rate or base.learning_rate,
            seed=self.seed,
            threads=self.threads,
            bf16=bf16_is_fast(),
        )


def _index_with(
    index: ModelConfig, model: Path, part: str, config: DiffusionConfig, choices: StageChoices
) -> ModelConfig:
    """The index of a model whose stage ``part`` has this config.

    Raises:
        UsageError: the model's stages have other sizes, or it has one stage instead of two.
    """
    if "two-stage" in choices.ablate:
        if (model / "highres").is_dir():
            raise UsageError(
                f"{model} has a second stage already; give the ablation a folder without highres"
            )
        return replace(index, lowres=replace(index.lowres, size_px=config.size_px), highres=None)
    stage = index.lowres if part == "lowres" else index.highres
    if stage is None or stage.size_px != config.size_px:
        told = "no such stage" if stage is None else f"views of {stage.size_px} px"
        raise UsageError(
            f"{model / INDEX} tells of {told} and {part} would have {config.size_px} px; give "
            "another --out or the model's own --preset"
        )
    return index
