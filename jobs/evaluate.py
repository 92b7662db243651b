"""``headsplat evaluate``: how good the views and avatars of held-out digital humans are."""

import json as json_module
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.digital_human.dataset import HeadDataset
    from pipeline.evaluation.generate import Outcome
    from pipeline.evaluation.results import Evaluation
    from pipeline.stage import Stage

GENERATING = ("LowRes", "HighRes", "Reconstruct")
"""Stages that are evaluated; the digital human takes the place of what runs before them."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Measure a model on digital humans that no training saw, beside floors that need no model.

    Example: headsplat evaluate --data heads/ -o evaluation/ --identities 20

    Attributes:
        data: folder or URI of a dataset of digital humans, see headsplat heads render.
        output: folder for evaluation.json, report.md and sheet.png.
        model: model folder; without it, the one that ships with headsplat.
        identities: how many held-out people, the first ones of the dataset.
        condition: the portrait is the front view, or a random view from anywhere in front.
        seed: of the generation.
        documents: Markdown files in which the table between the evaluation marks is replaced.
        json: print evaluation.json instead of the table.
    """

    data: str
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    model: Path | None = None
    identities: int = 20
    condition: Literal["front", "photo"] = "front"
    seed: int = 0
    documents: tuple[Path, ...] = ()
    json: bool = False


def evaluate(options: EvaluateOptions) -> int:
    """Evaluate a model, write the report and print its table; return the exit code.

    Raises:
        UsageError: there are no held-out or no training identities, or no identity succeeded.
        ModelNotFound: the model or its evaluator is missing.
        UnreadableSource: the dataset is missing.
    """
    from pipeline.evaluation.report import notes, table
    from pipeline.graph import GraphOptions, build_graph, build_recipe

    _check_orbit(options)
    choices = GraphOptions(model=options.model, seed=options.seed)
    graph = build_graph(choices, str(options.output), build_recipe(choices))
    stages = [stage for stage in graph if stage.name in GENERATING]
    found = evaluate_stages(options, stages, lambda line: print(line, file=sys.stderr, flush=True))
    print(json_module.dumps(found) if options.json else f"{table(found)}\n{notes(found)}")
    return int(bool(found["setup"]["failed_identities"]))


def _check_orbit(options: EvaluateOptions) -> None:
    """Refuse a model whose views are not the dataset's: nothing could be compared."""
    from pipeline.digital_human.dataset import HeadDataset
    from pipeline.model_config import ModelConfig
    from pipeline.model_folder import resolve_model

    made = ModelConfig.load(resolve_model(options.model)).azimuths
    there = HeadDataset(options.data, "test").options.azimuths_deg
    if len(made) != len(there) or max(abs(made - there)) > 0.1:
        raise UsageError(
            f"the model makes views at azimuths {made.tolist()}, but {options.data} holds them at "
            f"{there.tolist()}; render a dataset with the model's orbit"
        )


def evaluate_stages(
    options: EvaluateOptions, stages: "Sequence[Stage]", say: Callable[[str], None]
) -> dict[str, Any]:
    """`evaluate` for given stages, which turn a portrait into views and Gaussians."""
    from pipeline.digital_human.dataset import HeadDataset
    from pipeline.model_folder import resolve_model

    if options.identities < 1:
        raise UsageError(f"identities is {options.identities}; it must be at least 1")
    model = resolve_model(options.model)
    training = HeadDataset(options.data, "train")
    if not training.sequences:
        raise UsageError(f"{options.data} has no training identity to draw floors from")
    for path in options.documents:
        _document(path)
    outcomes = _outcomes(options, model, stages, training, say)
    found = _evaluation(options, model, training, outcomes)
    documents = {path: _document(path) for path in options.documents}
    return _write(options, found, outcomes, documents)


def _outcomes(
    options: EvaluateOptions,
    model: Path,
    stages: "Sequence[Stage]",
    training: "HeadDataset",
    say: Callable[[str], None],
) -> "list[Outcome]":
    from pipeline.digital_human.dataset import HeadDataset
    from pipeline.evaluation.floors import Floors
    from pipeline.evaluation.generate import judge, products
    from pipeline.evaluation.subjects import held_out_subjects, orbit_loader
    from pipeline.portrait.alpha import on_white
    from pipeline.portrait.faces import FaceEmbedder

    identify = FaceEmbedder(model / "face").embed
    evaluator = FaceEmbedder(model / "evaluator").embed
    floors_at = cache(lambda size_px: Floors(*orbit_loader(training, size_px)))
    for stage in stages:
        stage.setup("cpu")
    outcomes: list[Outcome] = []
    held_out = HeadDataset(options.data, "test")
    for subject in held_out_subjects(held_out, options.identities, options.condition):
        identity = identify(on_white(subject.portrait), subject.portrait_landmarks)
        row = products(stages, subject, identity, options.seed)
        outcomes.append(judge(row, subject, floors_at, evaluator))
        say(_line(outcomes[-1]))
    return outcomes


def _evaluation(
    options: EvaluateOptions, model: Path, training: "HeadDataset", outcomes: "list[Outcome]"
) -> "Evaluation":
    from pipeline.evaluation.generate import candidates_of, face_coverage
    from pipeline.evaluation.results import Evaluation, Setup
    from pipeline.evaluation.subjects import first_sequences
    from pipeline.model_folder import model_hash

    done = [outcome for outcome in outcomes if outcome.error is None]
    if not done:
        raise UsageError(f"no identity could be evaluated; the first failed in {outcomes[0].error}")
    setup = Setup(
        model=model.name,
        model_hash=model_hash(model),
        data=training.root.path.rpartition("/")[2],
        condition=options.condition,
        seed=options.seed,
        training_identities=len(first_sequences(training)),
        face_coverage=face_coverage(outcome.subject for outcome in done),
        failed_identities=tuple(
            str(o.subject.identity_id) for o in outcomes if o.error is not None
        ),
    )
    return Evaluation(
        setup=setup,
        candidates=candidates_of(done[0]),
        scores={str(outcome.subject.identity_id): outcome.scores for outcome in done},
        azimuths_deg=done[0].subject.azimuths_deg.tolist(),
    )


def _write(
    options: EvaluateOptions,
    found: "Evaluation",
    outcomes: "list[Outcome]",
    documents: dict[Path, str],
) -> dict[str, Any]:
    from pipeline.evaluation.generate import examples
    from pipeline.evaluation.report import insert_table, report, sheet

    numbers = found.to_json()
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "evaluation.json").write_text(
        json_module.dumps(numbers, indent=1, allow_nan=False)
    )
    (options.output / "report.md").write_text(report(numbers))
    sheet(examples(found, outcomes)).save(options.output / "sheet.png")
    for path, text in documents.items():
        path.write_text(insert_table(text, numbers))
    return numbers


def _document(path: Path) -> str:
    """The text of a document, checked before hours are spent to have a place for the table."""
    from pipeline.evaluation.report import check_document

    if not path.is_file():
        raise UsageError(f"{path} is not a file; give a Markdown document")
    text = path.read_text()
    check_document(text)
    return text


def _line(outcome: "Outcome") -> str:
    name = f"identity {outcome.subject.identity_id}"
    if outcome.error is not None:
        return f"{name}: {outcome.error}"
    means = ((key, scores.means()["psnr_db"]) for key, scores in outcome.scores.items())
    return f"{name}: " + ", ".join(f"{key} {psnr_db:.2f} dB" for key, psnr_db in means)
