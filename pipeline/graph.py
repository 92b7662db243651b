"""The one list of stages. Every executor runs what `build_graph` returns, in that order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.errors import GraphError, ModelNotFound, UsageError
from pipeline.model_config import IDENTITY_FOLDER, POSE_FOLDER, ModelConfig
from pipeline.model_folder import components, model_hash, resolve_model
from pipeline.recipe import Recipe
from pipeline.stage import Row, Stage
from pipeline.tries import MOST_TRIES, TRIES

GIVEN = ("source",)
"""The columns that an executor provides for the first stage."""

_WEIGHTS_OF = {
    "Prepare": ("face", IDENTITY_FOLDER, "matting", POSE_FOLDER),
    "LowRes": ("vae", "lowres"),
    "HighRes": ("vae", "highres"),
    "Reconstruct": ("reconstructor",),
    "Judge": ("face", IDENTITY_FOLDER, POSE_FOLDER),
}
_OPTIONAL_PARTS = {"reconstructor", IDENTITY_FOLDER, POSE_FOLDER}
_PROCESS_GB = 1.0
"""Memory of a worker besides its weights: libraries, and the rows it holds."""

_RANGES = {
    "lowres_steps": (1, 1000),
    "highres_steps": (1, 1000),
    "fit_steps": (0, 10_000),
    "turntable_frames": (1, 360),
    "threads": (1, 256),
    "seed": (0, 2**63 - MOST_TRIES),
    "min_identity": (-1, 1),
    "tries": (2, MOST_TRIES),
}
_RETRYING = ("min_identity", "tries")
"""They are part of a recipe only if they are set, so that without them ids are as they were."""


@dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """What a user may choose about how avatars are made.

    Attributes:
        model: model folder; None is the embedded model.
        seed: the same photo, model and seed give the same avatar.
        faces: ``largest`` makes one avatar of a photo, ``all`` one of each face in it.
        face_pack: folder with another face detector and ArcFace model, in insightface's layout.
        lowres_steps: denoising steps of the first diffusion stage; None takes the model's.
        highres_steps: denoising steps of the second; None takes the model's.
        fit: what the per-subject optimisation changes: the gaussians themselves, or, as in the
            paper, the weights of the network (minutes a head without a GPU).
        fit_steps: steps of that optimisation, 0 for none; by default 200 for the gaussians and
            500 for the network.
        turntable_frames: frames of the turning preview, 1 to 360.
        threads: CPU threads of each network; another number gives another avatar in the last bit.
        min_identity: least cosine, -1 to 1, between the faces of the avatar and the portrait; an
            avatar below is made again with the next seed, and the best one stays. See
            docs/formats.md for what avatars reach.
        tries: how often, at most, an avatar below min_identity is made; 3 if not given.
        formats: files of Gaussians to write, with commas: ply, which is always there, and of spz,
            splat and glb those wanted. They are made of avatar.ply, also for avatars that are
            finished, and do not change the id.
    """

    model: Path | None = None
    seed: int = 0
    faces: Literal["largest", "all"] = "largest"
    face_pack: Path | None = None
    lowres_steps: int | None = None
    highres_steps: int | None = None
    fit: Literal["gaussians", "network"] = "gaussians"
    fit_steps: int | None = None
    turntable_frames: int = 32
    threads: int = 1
    min_identity: float | None = None
    tries: int | None = None
    formats: str = "ply"


def build_recipe(options: GraphOptions) -> Recipe:
    """What decides the avatars besides the photos; reads every file of the model once.

    Raises:
        UsageError: an option is out of its range.
        ModelNotFound: the model or face pack is not there.
    """
    chosen: dict[str, Any] = {}
    for name, (least, most) in _RANGES.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            flag = name.replace("_", "-")
            raise UsageError(f"{flag} is {value}; it must be {least} to {most}")
        if name not in ("seed", *_RETRYING):
            chosen[name] = value
    chosen["fit"] = options.fit
    chosen |= retry_options(options)
    if options.face_pack is not None:
        chosen["face_pack"] = model_hash(resolve_model(options.face_pack))
    return Recipe(
        model_hash=model_hash(resolve_model(options.model)),
        seed=options.seed,
        faces=options.faces,
        options=chosen,
    )


def retry_options(options: GraphOptions) -> dict[str, Any]:
    """``min_identity`` and ``tries`` if avatars may be made again, else nothing.

    Raises:
        UsageError: there are tries and no threshold.
    """
    if options.min_identity is not None:
        return {"min_identity": options.min_identity, "tries": options.tries or TRIES}
    if options.tries is not None:
        raise UsageError(
            f"tries is {options.tries} but min-identity is not given; give the cosine below which "
            "an avatar is to be made again"
        )
    return {}


def build_graph(options: GraphOptions, destination: str, recipe: Recipe) -> list[Stage]:
    """The stages in order, configured; nothing is loaded.

    Args:
        options: the user's choices.
        destination: folder or URI for the avatars.
        recipe: what `build_recipe` made of ``options``.

    Raises:
        UsageError: a format is unknown.
        ModelNotFound: the model is not there.
        GraphError: the stages do not fit together.
    """
    from pipeline.avatar_folder import parse_formats
    from pipeline.stages.export import Export, ExportConfig
    from pipeline.stages.judge import Judge, JudgeConfig
    from pipeline.stages.load import Load, LoadConfig
    from pipeline.stages.prepare import Prepare, PrepareConfig
    from pipeline.stages.reconstruct import Reconstruct, ReconstructConfig
    from pipeline.stages.split_faces import SplitFaces, SplitFacesConfig

    model = resolve_model(options.model)
    config = ModelConfig.load(model)
    _check_parts(model, config, options)
    formats = parse_formats(options.formats)
    stages: list[Stage] = [
        Load(LoadConfig(recipe=recipe, destination=destination, formats=formats)),
        Prepare(
            PrepareConfig(
                model=model,
                size_px=config.portrait_px,
                faces=options.faces,
                face_pack=options.face_pack,
                identity_input=config.identity_input,
                threads=options.threads,
            )
        ),
        SplitFaces(SplitFacesConfig(destination=destination, formats=formats)),
        *_diffusion_stages(model, config, options),
        Reconstruct(ReconstructConfig(model=model, fit=options.fit, steps=options.fit_steps)),
        Judge(
            JudgeConfig(
                model=model,
                face_pack=options.face_pack,
                min_identity=options.min_identity,
                threads=options.threads,
            )
        ),
        Export(
            ExportConfig(
                destination=destination,
                recipe=recipe,
                azimuths_deg=config.azimuths_deg,
                elevation_deg=config.elevation_deg,
                turntable_frames=options.turntable_frames,
                formats=formats,
            )
        ),
    ]
    sizes = {part.name: part.size_bytes for part in components(model)}
    for stage in stages:
        _set_resources(stage, sizes, options.threads)
    if options.faces != "all":
        stages = [stage for stage in stages if not isinstance(stage, SplitFaces)]
    check_columns(stages)
    return stages


def _diffusion_stages(model: Path, config: ModelConfig, options: GraphOptions) -> list[Stage]:
    """Both stages, or the only one that the model has.

    Raises:
        UsageError: steps are given for a stage that there is not.
    """
    from pipeline.stages.diffusion import DiffusionConfig, HighRes, LowRes, SingleStage

    first = DiffusionConfig(model=model, steps=options.lowres_steps)
    if config.highres is not None:
        return [LowRes(first), HighRes(DiffusionConfig(model=model, steps=options.highres_steps))]
    if options.highres_steps is not None:
        raise UsageError(
            f"highres-steps is {options.highres_steps} but {model} has a single stage; leave it out"
        )
    return [SingleStage(first)]


def _check_parts(model: Path, config: ModelConfig, options: GraphOptions) -> None:
    """Refuse an incomplete model before anything is loaded.

    Raises:
        ModelNotFound: a subfolder is missing that the stages need.
    """
    needed = {part for parts in _WEIGHTS_OF.values() for part in parts} - _OPTIONAL_PARTS
    if config.highres is None:
        needed.discard("highres")
    if options.fit == "network":
        needed.add("reconstructor")
    if options.face_pack is not None:
        needed.discard("face")
    if config.identity_input == "portrait":
        needed.add(IDENTITY_FOLDER)
    missing = sorted(part for part in needed if not (model / part).is_dir())
    if missing:
        raise ModelNotFound(
            f"the model {model} lacks {', '.join(missing)}; train each with headsplat train"
        )


def _set_resources(stage: Stage, sizes: Mapping[str, int], threads: int) -> None:
    """Size a stage with a network: its memory by its weights, loaded and once more in transit."""
    if stage.name not in _WEIGHTS_OF:
        return
    weights_gb = sum(sizes.get(part, 0) for part in _WEIGHTS_OF[stage.name]) / 2**30
    memory_gb = round(_PROCESS_GB + 2.5 * weights_gb, 1)
    stage.resources = replace(stage.resources, cpus=float(threads), memory_gb=memory_gb)


def check_columns(stages: Sequence[Stage], given: Iterable[str] = GIVEN) -> None:
    """Check that every column a stage reads was given or is written before it.

    Raises:
        GraphError: naming the first stage and column that do not fit.
    """
    known = set(given)
    for stage in stages:
        for column in stage.inputs:
            if column not in known:
                raise GraphError(f"{stage.name} reads {column!r}, {_writer_of(column, stages)}")
        known.update(stage.outputs)


def describe(stages: Sequence[Stage]) -> str:
    """The plan as a text table: what each stage reads, writes and needs."""
    rows = [("stage", "batch", "CPUs", "GPUs", "GiB", "reads", "writes")]
    for stage in stages:
        needs = stage.resources
        rows.append(
            (
                stage.name,
                str(stage.batch_size),
                f"{needs.cpus:g}",
                f"{needs.gpus:g}",
                f"{needs.memory_gb:g}",
                ", ".join(stage.inputs),
                ", ".join(stage.outputs),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def needed_after(stages: Sequence[Stage]) -> list[frozenset[str]]:
    """For each stage, the columns that the stages behind it read."""
    needed: list[frozenset[str]] = []
    behind: frozenset[str] = frozenset()
    for stage in reversed(stages):
        needed.append(behind)
        behind = behind | frozenset(stage.inputs)
    return needed[::-1]


def trim(row: Row, needed: frozenset[str]) -> Row:
    """``row`` without the images and arrays that nothing behind it reads.

    Numbers, texts and dicts always stay: they are the outcome.
    """
    wanted = needed if row.get("outcome") is None else frozenset()
    return {
        name: value
        for name, value in row.items()
        if name in wanted or not isinstance(value, bytes | np.ndarray)
    }


def _writer_of(column: str, stages: Sequence[Stage]) -> str:
    writers = [stage.name for stage in stages if column in stage.outputs]
    if writers:
        return f"which only the later stage {writers[0]} writes; put that first"
    return "which no stage writes"
