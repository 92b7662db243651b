"""The options of ``headsplat train``; `jobs.train` has the parts."""

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from jobs.train import TrainRun


@dataclass(frozen=True, kw_only=True)
class TrainVerbOptions:
    """Train one part of a model on a dataset of digital humans; run it again and it goes on.

    Example: headsplat train lowres --data heads/ --out model/
    Example: headsplat train lowres --data heads/ --out paper/ --preset paper --start-from paper/
    Example: headsplat train gaussians --data s3://b/heads --out model/ --preset big --workers 8

    Attributes:
        part: which part; an unknown name lists them.
        data: folder or URI of a dataset of digital humans, see headsplat heads render.
        out: the model folder in the making: parts trained before are read from it, this one is
            added; checkpoints and logs go to its subfolder training.
        steps: optimiser steps; without it, the part's own number.
        minutes: upper bound on the training time.
        learning_rate: peak; without it, the part's own.
        start_from: model folder whose weights come first, for identity and the diffusion stages.
        preset: for the Gaussian network embedded, or LGM's tiny, small and big; for the diffusion
            stages embedded, or paper: as large as the model to start from, by default Stable Video
            Diffusion's 256 and 512 px.
        lpips: files with VGG16 and the linear layers of LPIPS, for these, which learn by
            structural dissimilarity without them.
        ablate: what a diffusion stage is trained without, as in the paper's Table 2: identity, or
            two-stage, a lowres of highres's size that needs no second stage.
        noise_weight: share of fresh noise that highres starts from (xi 1 of Eq. 2).
        lowres_weight: share of the low-resolution views (xi 2).
        decoded_views: views a step whose pixels a diffusion stage is compared in (Eq. 5), 0 for
            none; by default none in the embedded preset, 4 and 2 in the paper's.
        pixel_sigma: noise level below which views are decoded for that; by default 2.
        classes: what the identity network tells apart: identity, or expression for every
            expression of every identity.
        seed: of weights and batches.
        threads: torch threads; 0 leaves torch's choice.
        cache: folder for the prepared training examples of the autoencoder and of the diffusion
            stages, one that all workers see; by default training/examples of the model folder.
        workers: Ray Train workers, each with its own batches; 0 trains in this process. The data
            and the model folder must be where all of them see them.
        address: Ray cluster of the workers, "auto" for the one this machine belongs to; by default
            Ray is started here for the length of the job.
        gpus: GPUs to plan for, one a worker; by default those that the cluster has now. Give it
            for a cluster that grows when there is work; 0 trains on CPUs.
        json: print the final evaluation as one JSON object.
    """

    part: tyro.conf.Positional[str]
    data: str
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    steps: int | None = None
    minutes: float | None = None
    learning_rate: float | None = None
    start_from: Path | None = None
    preset: str = "embedded"
    lpips: tuple[Path, ...] = ()
    ablate: tuple[str, ...] = ()
    noise_weight: float | None = None
    lowres_weight: float | None = None
    decoded_views: int | None = None
    pixel_sigma: float | None = None
    classes: Literal["identity", "expression"] = "identity"
    seed: int = 0
    threads: int = 0
    cache: str | None = None
    workers: int = 0
    address: str | None = None
    gpus: int | None = None
    json: bool = False


def train(options: TrainVerbOptions) -> int:
    """Train the part and print its final evaluation.

    Raises:
        UsageError: there is no such part, or the options cannot be met.
        ProcessingError: the workers crashed too often.
    """
    from jobs.train_ingest import prepared

    run = _run(options)
    run.write_index()
    scores = _on_ray(run, options) if options.workers else prepared(run).run()
    if options.json:
        print(json_module.dumps(scores))
        return 0
    print("\n".join(f"  {name:<24}{value:10.4g}" for name, value in scores.items()))
    return 0


def _run(options: TrainVerbOptions) -> "TrainRun":
    from jobs.train import Source, TrainRun
    from pipeline.training.diffusion_presets import StageChoices

    if options.workers < 0:
        raise UsageError(f"workers is {options.workers}; it must be 0 or more")
    if not options.workers and (options.address or options.gpus is not None):
        raise UsageError("--address and --gpus are for workers on Ray; give --workers too")
    if options.cache is not None and "://" in options.cache:
        raise UsageError(
            f"--cache is {options.cache}; workers map its files into memory, so it must be a "
            "folder on a disk that all of them see"
        )
    source = Source(  # in full: workers start in other folders
        data=options.data if "://" in options.data else str(Path(options.data).absolute()),
        model=options.out.absolute(),
        start_from=options.start_from and options.start_from.absolute(),
        preset=options.preset,
        lpips=tuple(file.absolute() for file in options.lpips),
        choices=StageChoices(
            ablate=options.ablate,
            noise_weight=options.noise_weight,
            lowres_weight=options.lowres_weight,
            decoded_views=options.decoded_views,
            pixel_sigma=options.pixel_sigma,
        ),
        classes=options.classes,
    )
    return TrainRun(
        part=options.part,
        source=source,
        steps=options.steps,
        minutes=float("inf") if options.minutes is None else options.minutes,
        learning_rate=options.learning_rate,
        seed=options.seed,
        threads=options.threads,
        cache=None if options.cache is None else Path(options.cache).absolute(),
    )


def _on_ray(run: "TrainRun", options: TrainVerbOptions) -> dict[str, float]:
    from jobs.ray_cluster import connected
    from jobs.train_ingest import over_cluster, prepared
    from jobs.train_workers import run_on_workers

    with connected(options.address):
        execute = over_cluster(options.workers, options.gpus, options.threads)
        work = prepared(run, execute).run
        return run_on_workers(
            work, run.folder, options.workers, gpus=options.gpus, threads=options.threads
        )
