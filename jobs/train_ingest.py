"""The examples of a training run, prepared in this process or by Ray Data over a cluster."""

import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.progress import Progress
from jobs.train import CHECKPOINTS, PREPARED, TrainRun
from pipeline import errors

if TYPE_CHECKING:
    from pipeline.training.example_shards import Execute, Make
    from pipeline.training.stages import Sources

EXAMPLES = "examples"
"""Folder beside those of the checkpoints."""
_RETRIES_AFTER_CRASH = 2


def prepared(run: TrainRun, execute: "Execute | None" = None) -> TrainRun:
    """The run with the examples that it needs; those that are there are not made again.

    Args:
        run: of any part; most learn from the dataset itself, and are returned as they are.
        execute: where shards are made; by default in this process.

    Raises:
        HeadsplatError: the dataset, the model folder or the cache cannot be used.
    """
    if run.part not in PREPARED:
        return run
    from pipeline.training.example_shards import one_by_one, prepare

    cache = run.cache or run.source.model / CHECKPOINTS / EXAMPLES
    folders = tuple(prepare(one, cache, _shown(execute or one_by_one)) for one in _sources(run))
    _tell(cache, folders)
    return replace(run, source=replace(run.source, examples=folders))


def over_cluster(workers: int, gpus: float | None, threads: int) -> "Execute":
    """Have Ray Data make shards on the connected cluster, in as many actors as train later.

    Args:
        workers: actors, one GPU each where there are GPUs.
        gpus: GPUs to plan for; None takes those that the cluster has now.
        threads: CPUs of each actor; 0 shares out the cluster's, and takes 1 next to a GPU.
    """

    def execute(make: "Make", numbers: list[int]) -> Iterator[int]:
        import ray.data

        from jobs.ray_cluster import given_up

        try:
            for row in _stream(make, numbers, (workers, gpus, threads)).iter_rows():
                if row["error"]:
                    raise getattr(errors, row["error"])(row["message"])
                yield row["shard"]
        except ray.exceptions.RayError as error:
            raise given_up(error) from error

    return execute


def _stream(make: "Make", numbers: list[int], share: tuple[int, float | None, int]) -> Any:
    """The Ray Data stream of finished shards."""
    import ray.data
    from ray.util.annotations import RayDeprecationWarning

    from jobs.ray_data import RayOptions, configure
    from jobs.train_workers import shares

    configure(RayOptions(max_crashed_rows=0))
    cpus, on_gpus = shares(*share)
    actors: Any = PrepareExamples  # Ray's types know functions only
    rows = ray.data.from_items(
        [{"shard": number} for number in numbers], override_num_blocks=len(numbers)
    )
    with warnings.catch_warnings():
        # the limit of retries has no named parameter yet, and the old way of passing it warns
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return rows.map(
            actors,
            fn_constructor_args=(make,),
            compute=ray.data.ActorPoolStrategy(size=min(share[0], len(numbers))),
            num_cpus=cpus,
            num_gpus=1 if on_gpus else None,
            max_restarts=-1,
            max_task_retries=_RETRIES_AFTER_CRASH,
        )


class PrepareExamples:
    """Makes one shard after the other with networks that are loaded once."""

    def __init__(self, make: "Make") -> None:
        self._make = make

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make ``row["shard"]``; what cannot be helped by trying again becomes a column."""
        try:
            self._make(int(row["shard"]))
        except errors.HeadsplatError as error:
            return {**row, "error": type(error).__name__, "message": str(error)}
        return {**row, "error": "", "message": ""}


def _sources(run: TrainRun) -> "Sources":
    from pipeline.training.diffusion_presets import LOWRES, stage_config
    from pipeline.training.stages import autoencoder_examples, stage_examples

    source = run.source
    if run.part == "autoencoder":
        return autoencoder_examples(source.data)
    if run.part == "image_encoder":
        return stage_examples(source.data, source.model, LOWRES)
    config = stage_config(source.preset, run.part, source.choices)
    return stage_examples(source.data, source.model, config)


def _shown(execute: "Execute") -> "Execute":
    def run(make: "Make", numbers: list[int]) -> Iterator[int]:
        with Progress(len(numbers), unit="shards", each=False) as progress:
            for number in execute(make, numbers):
                progress.add({"source": f"shard {number}", "outcome": "ok"})
                yield number

    return run


def _tell(cache: Path, folders: tuple[Path, ...]) -> None:
    """Say where the examples are, and what else takes room beside them."""
    used = sum(_bytes(one) for one in folders)
    others = [one for one in cache.iterdir() if one.is_dir() and one not in folders]
    told = f"examples: {used / 1e6:,.1f} MB in {cache}"
    if others:
        told += (
            f"; {len(others)} other sets there take {sum(map(_bytes, others)) / 1e6:,.1f} MB, "
            "delete those that no run needs"
        )
    print(told, file=sys.stderr, flush=True)


def _bytes(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.iterdir())
