"""``headsplat evaluate``: how good the views and avatars of held-out heads are."""

import json as json_module
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from jobs.options import named_folders
from pipeline.errors import InputError, ProcessingError, UsageError

if TYPE_CHECKING:
    from pipeline.digital_human.dataset import HeadDataset
    from pipeline.evaluation.generate import Outcome, Yardsticks
    from pipeline.evaluation.results import Evaluation
    from pipeline.evaluation.subjects import HeldOut
    from pipeline.portrait.faces import FaceEmbedder
    from pipeline.stage import Stage

GENERATING = ("LowRes", "HighRes", "Reconstruct")
"""Stages that are evaluated; the subject's portrait takes the place of what runs before them, but
for Prepare where the camera is to be estimated."""
NO_FLOORS = "none"
PEOPLE = {"front": 20, "photo": 20, "paper": 10, "nersemble": 14}
"""How many each protocol has, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Measure a model on heads that no training saw, beside floors that need no model.

    Example: headsplat evaluate --data heads/ -o evaluation/ --identities 20
    Example: headsplat evaluate --protocol paper --data test/ --floors heads/ -o table/ --align
    Example: headsplat evaluate --camera estimated --data heads/ -o evaluation/ --align
    Example: headsplat evaluate --protocol nersemble --data nersemble_v2/ -o photos/ --align

    Attributes:
        data: folder or URI of a dataset of digital humans, see headsplat heads render; for
            nersemble the folder that it was downloaded to.
        output: folder for evaluation.json, report.md, report.html and sheet.png.
        model: model folder; without it, the one that ships with headsplat.
        protocol: front and photo, the first held-out people of any dataset, whose portrait is the
            front view or a random one from anywhere in front; paper, ten people in five
            expressions each; nersemble, photos of fourteen real people in two expressions each.
        camera: known, the portrait is framed by its true camera, or estimated, from the picture, by
            the stage that prepares photos; nersemble's is estimated anyway.
        identities: how many people, the first ones; by default as many as the protocol has, 20 for
            front and photo.
        floors: dataset whose training identities the floors are drawn from, by default --data; none
            leaves out what has to be drawn.
        align: also compare after an alignment by landmarks.
        renders: another method's views to score beside ours, NAME=FOLDER.
        evaluator: folder with the ArcFace network of CSIM; by default the model's own evaluator.
        lpips_vgg: files of VGG16 and of the linear layers of LPIPS for it.
        lpips_alex: the same for AlexNet.
        dreamsim: cache folder of the package dreamsim.
        export: write each subject's portrait and cameras to this folder, for other methods to
            start from, and stop.
        seed: of the generation.
        documents: Markdown files in which the table between the evaluation marks is replaced.
        json: print evaluation.json instead of the table.
    """

    data: str
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    model: Path | None = None
    protocol: Literal["front", "photo", "paper", "nersemble"] = "front"
    camera: Literal["known", "estimated"] = "known"
    identities: int | None = None
    floors: str | None = None
    align: bool = False
    renders: tuple[str, ...] = ()
    evaluator: Path | None = None
    lpips_vgg: tuple[Path, ...] = ()
    lpips_alex: tuple[Path, ...] = ()
    dreamsim: Path | None = None
    export: Path | None = None
    seed: int = 0
    documents: tuple[Path, ...] = ()
    json: bool = False


def evaluate(options: EvaluateOptions) -> int:
    """Evaluate a model, write the report and print its table; return the exit code.

    Raises:
        UsageError: there are no held-out or no training identities, no subject succeeded, or
            renders are missing.
        ModelNotFound: the model or a network of it is missing, or weights given for a metric are
            not what they should be.
        UnreadableSource: the dataset is missing.
        BackendUnavailable: NeRSemble's videos cannot be read here.
    """
    from pipeline.evaluation.report import notes, table
    from pipeline.graph import GraphOptions, build_graph, build_recipe

    if options.export is not None:
        return _export(options, options.export)
    check_orbit(options)
    choices = GraphOptions(model=options.model, seed=options.seed)
    graph = build_graph(choices, str(options.output), build_recipe(choices))
    wanted = GENERATING if options.camera == "known" else ("Prepare", *GENERATING)
    stages = [stage for stage in graph if stage.name in wanted]
    found = evaluate_stages(options, stages, lambda line: print(line, file=sys.stderr, flush=True))
    print(json_module.dumps(found) if options.json else f"{table(found)}\n{notes(found)}")
    return int(bool(found["setup"]["failed_identities"]))


def _export(options: EvaluateOptions, folder: Path) -> int:
    from pipeline.evaluation.renders import write_portraits
    from pipeline.model_folder import resolve_model

    count = write_portraits(_held_out(options, resolve_model(options.model)), folder)
    record = {"subjects": count, "folder": str(folder)}
    print(json_module.dumps(record) if options.json else f"{count} subjects in {folder}")
    return 0


def check_orbit(options: EvaluateOptions) -> None:
    """Refuse a model whose views are not the dataset's: nothing could be compared.

    Raises:
        UsageError: they are others.
    """
    from pipeline.digital_human.dataset import HeadDataset
    from pipeline.model_config import ModelConfig
    from pipeline.model_folder import resolve_model

    if options.protocol == "nersemble":
        return
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
    from pipeline.model_folder import resolve_model

    model = resolve_model(options.model)
    training = _training(options)
    held_out = _held_out(options, model)
    for path in options.documents:
        _document(path)
    yardsticks, unavailable = _yardsticks(options, model, training, held_out)
    outcomes, failed = _outcomes(options, model, stages, held_out, yardsticks, say)
    if not outcomes:
        first = next(iter(failed.values()))
        raise UsageError(f"no subject could be evaluated; the first failed: {first}")
    found = _evaluation(options, model, training, held_out, outcomes, failed, unavailable)
    documents = {path: _document(path) for path in options.documents}
    return _write(options, found, outcomes, documents)


def _held_out(options: EvaluateOptions, model: Path) -> "HeldOut":
    from pipeline.digital_human.dataset import HeadDataset
    from pipeline.evaluation.subjects import digital_humans, paper_set

    people = PEOPLE[options.protocol] if options.identities is None else options.identities
    if people < 1:
        raise UsageError(f"identities is {people}; it must be at least 1")
    if options.protocol == "nersemble":
        return _nersemble(options, model, people)
    dataset = HeadDataset(options.data, "test")
    if options.protocol == "paper":
        return paper_set(dataset, people)
    return digital_humans(dataset, people, options.protocol)


def _nersemble(options: EvaluateOptions, model: Path, people: int) -> "HeldOut":
    from pipeline.evaluation.keypoints import finder
    from pipeline.evaluation.nersemble import nersemble
    from pipeline.evaluation.rig import Networks
    from pipeline.model_config import ModelConfig
    from pipeline.portrait.faces import FACE_FOLDER, FacePack
    from pipeline.portrait.matting import Matting
    from pipeline.portrait.pose_network import PoseEstimator
    from pipeline.stages.prepare import MATTING_FILE

    if options.floors not in (None, NO_FLOORS):
        raise UsageError(
            "floors are orbits of digital humans, and NeRSemble's cameras stand on no "
            "orbit; leave --floors out"
        )
    return nersemble(
        Path(options.data),
        people,
        Networks(
            find=finder(FacePack(model / FACE_FOLDER)),
            estimate=PoseEstimator(model),
            cut_out=Matting(model / MATTING_FILE).cut_out,
        ),
        ModelConfig.load(model).portrait_px,
    )


def _training(options: EvaluateOptions) -> "HeadDataset | None":
    """The dataset that floors are drawn from; test sets need not bring one."""
    from pipeline.digital_human.dataset import HeadDataset

    if options.floors == NO_FLOORS or options.protocol == "nersemble":
        return None
    address = options.floors or options.data
    training = HeadDataset(address, "train")
    if training.sequences:
        return training
    if options.protocol == "paper" and options.floors is None:
        return None
    raise UsageError(f"{address} has no training identity to draw floors from")


def _yardsticks(
    options: EvaluateOptions, model: Path, training: "HeadDataset | None", held_out: "HeldOut"
) -> "tuple[Yardsticks, dict[str, str]]":
    from pipeline.evaluation.backbones import BackboneFiles, load_backbones
    from pipeline.evaluation.floors import FLOORS, Floors
    from pipeline.evaluation.generate import AVATAR, PRODUCT_COLUMNS, Yardsticks
    from pipeline.evaluation.keypoints import finder
    from pipeline.evaluation.renders import find_renders
    from pipeline.evaluation.subjects import orbit_loader
    from pipeline.portrait.faces import FACE_FOLDER, FacePack
    from pipeline.portrait.pose_network import PoseEstimator

    taken = (*(name for name, _ in PRODUCT_COLUMNS), AVATAR, *FLOORS)
    backbones, unavailable = load_backbones(
        BackboneFiles(
            evaluator=_evaluator(options, model),
            lpips_vgg=options.lpips_vgg,
            lpips_alex=options.lpips_alex,
            dreamsim=options.dreamsim,
        )
    )

    @cache
    def floors_at(size_px: int) -> Floors | None:
        return None if training is None else Floors(*orbit_loader(training, size_px))

    yardsticks = Yardsticks(
        floors_at=floors_at,
        backbones=backbones,
        find=finder(FacePack(model / FACE_FOLDER), PoseEstimator(model)) if options.align else None,
        renders=find_renders(named_folders(options.renders), held_out, taken),
    )
    return yardsticks, unavailable


def _outcomes(
    options: EvaluateOptions,
    model: Path,
    stages: "Sequence[Stage]",
    held_out: "HeldOut",
    yardsticks: "Yardsticks",
    say: Callable[[str], None],
) -> "tuple[list[Outcome], dict[str, str]]":
    """What came of each subject, and why the others failed, by key."""
    from pipeline.evaluation.generate import judge, prepared, products
    from pipeline.pictures import png
    from pipeline.portrait.alpha import on_white

    identify = _identity_network(model).embed
    for stage in stages:
        stage.setup("cpu")
    outcomes: list[Outcome] = []
    failed: dict[str, str] = {}
    for key in held_out.keys:
        try:
            subject = held_out.load(key)
            if options.camera == "known":
                identity = identify(on_white(subject.portrait), subject.portrait_landmarks)
                row = prepared(subject, identity)
            else:
                row = {"image": png(subject.photo)}
            row = products(stages, {**row, "seed": options.seed})
        except (InputError, ProcessingError) as error:
            failed[key] = str(error)
            say(f"identity {key}: {error}")
        else:
            outcomes.append(judge(row, subject, yardsticks))
            say(_line(outcomes[-1]))
    return outcomes, failed


def _identity_network(model: Path) -> "FaceEmbedder":
    """The network that the diffusion stages know, which sees a face or the whole portrait."""
    from pipeline.model_config import IDENTITY_FOLDER, ModelConfig
    from pipeline.portrait.faces import FACE_FOLDER, FaceEmbedder, PortraitEmbedder

    if ModelConfig.load(model).identity_input == "portrait":
        return PortraitEmbedder(model / IDENTITY_FOLDER)
    return FaceEmbedder(model / FACE_FOLDER)


def _evaluation(
    options: EvaluateOptions,
    model: Path,
    training: "HeadDataset | None",
    held_out: "HeldOut",
    outcomes: "list[Outcome]",
    failed: dict[str, str],
    unavailable: dict[str, str],
) -> "Evaluation":
    from pipeline.evaluation.generate import face_coverage
    from pipeline.evaluation.results import Evaluation, Setup
    from pipeline.evaluation.subjects import first_sequences
    from pipeline.model_folder import model_hash

    setup = Setup(
        model=model.name,
        model_hash=model_hash(model),
        data=options.data.rstrip("/").rpartition("/")[2],
        condition=held_out.condition,
        camera="estimated" if options.protocol == "nersemble" else options.camera,
        protocol=held_out.protocol,
        seed=options.seed,
        training_identities=0 if training is None else len(first_sequences(training)),
        face_coverage=face_coverage(outcome.subject for outcome in outcomes),
        evaluator=model_hash(_evaluator(options, model)),
        failed_identities=tuple(failed),
    )
    return Evaluation(
        setup=setup,
        candidates=outcomes[0].candidates,
        scores={outcome.subject.key: outcome.scores for outcome in outcomes},
        azimuths_deg=outcomes[0].subject.azimuths_deg.tolist(),
        unavailable=unavailable,
        labels=_labels(options, outcomes),
    )


def _evaluator(options: EvaluateOptions, model: Path) -> Path:
    """Folder of the network that CSIM is measured with."""
    return options.evaluator or model / "evaluator"


def _write(
    options: EvaluateOptions,
    found: "Evaluation",
    outcomes: "list[Outcome]",
    documents: dict[Path, str],
) -> dict[str, Any]:
    from jobs.evaluation_files import SHEET, write_evaluation
    from pipeline.evaluation.generate import examples
    from pipeline.evaluation.report import insert_table
    from pipeline.evaluation.sheets import sheet

    numbers = found.to_json()
    options.output.mkdir(parents=True, exist_ok=True)
    sheet(examples(found, outcomes)).save(options.output / SHEET)
    write_evaluation(options.output, numbers)
    for path, text in documents.items():
        path.write_text(insert_table(text, numbers))
    return numbers


def _labels(options: EvaluateOptions, outcomes: "list[Outcome]") -> dict[str, dict[str, str]]:
    from pipeline.digital_human.dataset import HeadDataset
    from pipeline.evaluation.groups import labels_of

    real = options.protocol == "nersemble"
    azimuths_deg = {one.subject.key: one.subject.azimuth_deg for one in outcomes}
    return labels_of(None if real else HeadDataset(options.data, "test"), azimuths_deg)


def _document(path: Path) -> str:
    """The text of a document, checked before hours are spent to have a place for the table."""
    from pipeline.evaluation.report import check_document

    if not path.is_file():
        raise UsageError(f"{path} is not a file; give a Markdown document")
    text = path.read_text()
    check_document(text)
    return text


def _line(outcome: "Outcome") -> str:
    means = ((key, scores.means()["psnr_db"]) for key, scores in outcome.scores.items())
    listed = ", ".join(f"{key} {psnr_db:.2f} dB" for key, psnr_db in means)
    return f"identity {outcome.subject.key}: {listed}"
