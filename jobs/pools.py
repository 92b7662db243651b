"""How many actors each stage gets, and which share of the machine each of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The actors of one stage.

    Attributes:
        stage: the stage.
        actors: how many.
        cpus: logical CPUs of each.
        gpus: share of one GPU of each; 0 without GPUs.
    """

    stage: Stage
    actors: int
    cpus: float
    gpus: float


def plan_pools(
    stages: Sequence[Stage], *, cpus: float, gpus: float = 0.0, memory_gb: float = float("inf")
) -> list[Pool]:
    """Fit one pool a stage into a cluster.

    All stages run at the same time. With GPUs there is one set of GPU actors a GPU. Without, there
    are as many sets of actors as the CPUs carry; when one set needs more CPUs than there are, the
    actors share them in proportion.

    Args:
        stages: the graph.
        cpus: logical CPUs of the cluster.
        gpus: logical GPUs of the cluster; 0 runs every stage on CPUs.
        memory_gb: host memory of the cluster, GiB.

    Raises:
        UsageError: there are no CPUs, one set does not fit into the memory, or the GPU shares
            exceed one GPU.
    """
    if cpus <= 0:
        raise UsageError(
            f"the cluster has {cpus:g} CPUs now; give --cpus, and --gpus, if it grows with work"
        )
    wanted_gpus = sum(stage.resources.gpus for stage in stages)
    if gpus >= 1 and wanted_gpus > 1.0 + 1e-9:
        raise UsageError(
            f"the stages want {wanted_gpus:g} of one GPU together, more than 1; lower the shares"
        )
    sets = _sets(stages, cpus, gpus, memory_gb)
    wanted_cpus = sum(stage.resources.cpus for stage in stages)
    share = min(1.0, cpus / (wanted_cpus * sets))
    return [
        Pool(
            stage=stage,
            actors=sets,
            cpus=_floor(stage.resources.cpus * share),
            gpus=stage.resources.gpus if gpus >= 1 else 0.0,
        )
        for stage in stages
    ]


def _sets(stages: Sequence[Stage], cpus: float, gpus: float, memory_gb: float) -> int:
    needs_gb = sum(stage.resources.memory_gb for stage in stages)
    if needs_gb > memory_gb:
        parts = " + ".join(f"{stage.name} {stage.resources.memory_gb:g}" for stage in stages)
        raise UsageError(
            f"one worker of each stage needs {parts} = {needs_gb:g} GiB of memory and the cluster"
            f" has {memory_gb:.1f}; use a larger machine, or headsplat make"
        )
    by_memory = int(memory_gb / needs_gb) if memory_gb != float("inf") and needs_gb else 10**6
    by_cpu = int(cpus / sum(stage.resources.cpus for stage in stages))
    by_gpu = int(gpus) if gpus >= 1 else by_cpu
    return max(1, min(by_memory, by_gpu))


def _floor(cpus: float) -> float:
    """Ray keeps resources to four decimals; rounding up could ask for more than there is."""
    return max(int(cpus * 1000) / 1000, 0.001)
