"""Training on a Ray cluster: the loop of `pipeline.training.loop` in every worker of Ray Train.

Ray Train starts the workers, joins them in torch's process group and starts them again when one is
lost. Checkpoints are the loop's own, in the model folder, so that a run may go on with any number
of workers, or with none.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer

from jobs.ray_cluster import given_up
from pipeline.errors import UsageError

Work = Callable[[], Mapping[str, float]]
MAX_FAILURES = 10
"""Lost workers after which the job is given up: spot machines go without a word."""


def run_on_workers(
    work: Work, folder: Path, workers: int, *, gpus: float | None = None, threads: int = 0
) -> dict[str, float]:
    """Do the same work in several processes that share a torch process group.

    Args:
        work: what each does; what the first one returns is the result. It must be able to begin
            again where it stopped: when a worker dies, all of them do.
        folder: where Ray keeps its record of the run, in the subfolder ``ray``.
        workers: processes, one GPU each where there are GPUs.
        gpus: GPUs to plan for; None takes those that the cluster has now, 0 none.
        threads: CPUs of each worker; 0 shares out the cluster's, and takes 1 next to a GPU.

    Returns:
        The result of the first worker.

    Raises:
        UsageError: the cluster has not enough CPUs or GPUs, or the work raises it.
        ProcessingError: workers were lost more than `MAX_FAILURES` times.
    """
    cpus, on_gpus = shares(workers, gpus, threads)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"work": work},
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers,
            use_gpu=on_gpus,
            resources_per_worker={"CPU": cpus},  # Ray gives torch as many threads
        ),
        run_config=ray.train.RunConfig(
            name="ray",
            storage_path=str(folder.resolve()),
            failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    try:
        told: Any = trainer.fit().return_value  # type: ignore[attr-defined]  # typed as version 1
    except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
        raise given_up(error) from error
    if isinstance(told, str):
        raise UsageError(told)
    return dict(told)


def _work(config: dict[str, Any]) -> Any:
    try:
        return dict(config["work"]())
    except UsageError as error:  # every worker meets it, and would meet it again
        return str(error)


def shares(workers: int, gpus: float | None, threads: int) -> tuple[int, bool]:
    """The CPUs of each worker, and whether each has a GPU; see `run_on_workers`.

    Raises:
        UsageError: the cluster has not enough CPUs or GPUs.
    """
    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    on_gpus = has.get("GPU", 0.0) if gpus is None else gpus
    kind, there = ("GPUs", on_gpus) if on_gpus else ("CPUs", has.get("CPU", 0.0))
    if there < workers:
        raise UsageError(
            f"--workers {workers} want as many {kind} and the cluster has {there:g}; ask for "
            "fewer, or give --gpus if it grows with work"
        )
    return threads or (1 if on_gpus else int(there // workers)), bool(on_gpus)
