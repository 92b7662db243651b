"""``headsplat evaluate ablations``: what parts of a model are worth, the paper's Table 2."""

import json as json_module
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jobs.evaluate import GENERATING, NO_FLOORS, EvaluateOptions, check_orbit, evaluate_stages
from jobs.evaluation_files import NUMBERS, read_evaluation
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.evaluation.columns import Json
    from pipeline.stage import Stage

NO_FIT, NO_HIGHRES, NO_GUIDANCE, FIT_NETWORK = "no-fit", "no-highres", "no-guidance", "fit-network"
VARIANTS = (NO_FIT, NO_HIGHRES, NO_GUIDANCE, FIT_NETWORK)
"""Ways to use a model that need no training of another."""


@dataclass(frozen=True, kw_only=True)
class AblationOptions:
    """Compare a model with what is left of it without some part, on the same people.

    Example: headsplat evaluate ablations no-ID=without-id/ no-fit --data heads/ -o table2/

    Attributes:
        rows: NAME=FOLDER of a model that was trained without a part (headsplat train --ablate), or
            of an evaluation of one (a folder with evaluation.json); or a variant of the model:
            no-fit, without the per-subject optimisation; no-highres, the avatar made of the first
            stage's views; no-guidance; fit-network, the paper's optimisation. Without rows, no-fit,
            and no-highres and no-guidance where the model has what is to be left out.
        data: as for headsplat evaluate.
        output: folder for ablations.json and ablations.md, and one for each row's evaluation.
        model: the full model's folder, or that of its evaluation; without it, the model that
            ships with headsplat.
        protocol: as for headsplat evaluate.
        identities: how many people, the first ones; by default as many as the protocol has.
        evaluator: folder with the ArcFace network of CSIM; by default the full model's evaluator,
            for all rows.
        lpips_vgg: files of VGG16 and of the linear layers of LPIPS for it.
        lpips_alex: the same for AlexNet.
        dreamsim: cache folder of the package dreamsim.
        seed: of the generation.
        json: print ablations.json instead of the table.
    """

    rows: tyro.conf.Positional[tuple[str, ...]] = ()
    data: str
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    model: Path | None = None
    protocol: Literal["front", "photo", "paper", "nersemble"] = "front"
    identities: int | None = None
    evaluator: Path | None = None
    lpips_vgg: tuple[Path, ...] = ()
    lpips_alex: tuple[Path, ...] = ()
    dreamsim: Path | None = None
    seed: int = 0
    json: bool = False


@dataclass(frozen=True)
class TableRow:
    """One row of the table: a way to use a model, or an evaluation that is there already."""

    name: str
    model: Path | None
    variant: str | None = None


def ablations(options: AblationOptions) -> int:
    """Evaluate each row, write the comparison and print its table; return the exit code.

    Raises:
        UsageError: a row is neither folder nor variant, a variant changes nothing, or the
            evaluations cannot be compared.
        ModelNotFound: a model is not there or incomplete.
        UnreadableSource: the dataset is missing.
    """
    from pipeline.evaluation.ablations import FULL, ablation_table, compare

    plans = {row.name: _plan(options, row) for row in _rows(options)}  # mistakes come first
    found = {name: evaluated() for name, evaluated in plans.items()}
    compared = compare(found.pop(FULL), found)
    options.output.mkdir(parents=True, exist_ok=True)
    text = ablation_table(compared)
    (options.output / "ablations.json").write_text(json_module.dumps(compared, indent=1))
    (options.output / "ablations.md").write_text(f"# Ablations\n\n{text}")
    print(json_module.dumps(compared) if options.json else text)
    return 0


def stages_of(model: Path | None, variant: str | None, seed: int) -> "list[Stage]":
    """The stages that are evaluated, of a model or of a variant of it.

    Raises:
        UsageError: the variant changes nothing of this model.
        ModelNotFound: the model is not there or incomplete.
    """
    from pipeline.graph import GraphOptions, build_graph, build_recipe
    from pipeline.stages.diffusion import HighRes, LowRes, SingleStage

    choices = GraphOptions(model=model, seed=seed)
    if variant == NO_FIT:
        choices = replace(choices, fit_steps=0)
    if variant == FIT_NETWORK:
        choices = replace(choices, fit="network")
    graph = build_graph(choices, "out", build_recipe(choices))
    stages = [stage for stage in graph if stage.name in GENERATING]
    if variant in (NO_HIGHRES, NO_GUIDANCE) and variant not in free_variants(model):
        lacks = "second stage" if variant == NO_HIGHRES else "guidance"
        raise UsageError(f"the model has no {lacks}, so {variant} would change nothing")
    if variant == NO_HIGHRES:
        return [
            SingleStage(stage.config) if isinstance(stage, LowRes) else stage
            for stage in stages
            if not isinstance(stage, HighRes)
        ]
    if variant == NO_GUIDANCE:
        for stage in stages:
            if isinstance(stage, LowRes | HighRes):
                stage.config = replace(stage.config, guidance=1.0)
    return stages


def free_variants(model: Path | None) -> list[str]:
    """The variants that are quick to make and change something of this model."""
    from pipeline.model_config import ModelConfig
    from pipeline.model_folder import resolve_model

    config = ModelConfig.load(resolve_model(model))
    stages = [stage for stage in (config.lowres, config.highres) if stage is not None]
    found = [NO_FIT]
    if config.highres is not None:
        found.append(NO_HIGHRES)
    if any(stage.guidance != 1 for stage in stages):
        found.append(NO_GUIDANCE)
    return found


def _rows(options: AblationOptions) -> list[TableRow]:
    from pipeline.evaluation.ablations import FULL

    rows = [TableRow(FULL, options.model)]
    for text in options.rows or free_variants(options.model):
        name, _, folder = text.partition("=")
        if not folder and name not in VARIANTS:
            raise UsageError(f"{text!r} is neither NAME=FOLDER nor one of {', '.join(VARIANTS)}")
        if name in [row.name for row in rows] or Path(name).name != name:
            raise UsageError(f"{name!r} cannot be the name of a row; give each one of its own")
        rows.append(TableRow(name, Path(folder)) if folder else TableRow(name, options.model, name))
    return rows


def _plan(options: AblationOptions, row: TableRow) -> "Callable[[], Json]":
    """How the row's evaluation is had: read where it is there already, else made."""
    from pipeline.model_folder import resolve_model

    if row.variant is None and _is_evaluated(row.model):
        assert row.model is not None
        read = read_evaluation(row.model)
        return lambda: read
    evaluator = options.evaluator
    if evaluator is None and not _is_evaluated(options.model):
        evaluator = resolve_model(options.model) / "evaluator"
    wanted = EvaluateOptions(
        data=options.data,
        output=options.output / row.name,
        model=row.model,
        protocol=options.protocol,
        identities=options.identities,
        floors=NO_FLOORS,
        evaluator=evaluator,
        lpips_vgg=options.lpips_vgg,
        lpips_alex=options.lpips_alex,
        dreamsim=options.dreamsim,
        seed=options.seed,
    )
    check_orbit(wanted)
    stages = stages_of(row.model, row.variant, options.seed)
    return lambda: evaluate_stages(wanted, stages, _teller(row.name))


def _is_evaluated(folder: Path | None) -> bool:
    return folder is not None and (folder / NUMBERS).is_file()


def _teller(name: str) -> Callable[[str], None]:
    return lambda line: print(f"{name}: {line}", file=sys.stderr, flush=True)
