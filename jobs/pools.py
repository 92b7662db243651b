"""How many actors each stage gets, and which share of the machine each of them.

Ray's CPUs and GPUs are a book of what actors may be placed; no one enforces them. So an actor asks
for the part of a CPU that it will be busy, and what it may use of a GPU's memory is its share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import UsageError
from pipeline.stage import Stage

SLACK = 1.25
"""Pools are this much faster than the machine as a whole: one that is always busy holds up the
others as soon as one photo takes longer."""
MIN_IN_FLIGHT = 4
"""One that is worked on and one that is got ready, twice: with fewer, Ray Data adds no actors."""
_MAX_IN_FLIGHT = 8
_DRIVER_S = 0.25
"""How long it can take until a batch that is done is replaced: Ray Data's driver looks for such
every 0.1 s, and has to see the batch first and then that its task has ended."""
_RESERVED = 0.9
"""Part of the CPUs that actors ask for, so that the last of them finds a node with room."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The actors of one stage.

    Attributes:
        stage: the stage; its ``resources.gpus`` is the share of a GPU's memory that it may use.
        actors: how many.
        cpus: logical CPUs of each.
        gpus: share of one GPU of each; 0 without GPUs.
        in_flight: batches that each may have been given and not yet handed on.
    """

    stage: Stage
    actors: int
    cpus: float
    gpus: float
    in_flight: int = MIN_IN_FLIGHT

    @property
    def batch(self) -> int:
        """Rows of a call: on a GPU the stage's own, on CPUs, where company brings nothing, one."""
        return self.stage.batch_size if self.gpus else 1


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What there is to run on.

    Attributes:
        cpus: logical CPUs.
        gpus: GPUs; 0 runs every stage on CPUs.
        memory_gb: host memory, GiB.
        gpu_memory_gb: memory of each GPU, in GB of 1e9 bytes; None if it is not known.
        store_gb: shared memory for the rows between stages, GiB; None if it is not known.
    """

    cpus: float
    gpus: float = 0.0
    memory_gb: float = float("inf")
    gpu_memory_gb: float | None = None
    store_gb: float | None = None


def plan_pools(
    stages: Sequence[Stage],
    *,
    cpus: float,
    gpus: float = 0.0,
    memory_gb: float = float("inf"),
    costs: Mapping[str, float] | None = None,
) -> list[Pool]:
    """Fit one pool a stage into a cluster.

    All stages run at the same time. With GPUs there is at most one set of GPU actors a GPU: they
    take turns on it, and more of them would not make it faster. Stages on CPUs get as many actors
    as keep up with that, or with all CPUs. Without costs all pools are equally large.

    Args:
        stages: the graph.
        cpus: logical CPUs of the cluster.
        gpus: logical GPUs of the cluster; 0 runs every stage on CPUs.
        memory_gb: host memory of the cluster, GiB.
        costs: seconds that an actor of each stage takes for a row, by the stage's name.

    Raises:
        UsageError: there are no CPUs, one set does not fit into the memory, the GPU shares
            exceed one GPU, or a stage has no cost.
    """
    cluster = Cluster(cpus=cpus, gpus=float(int(gpus)), memory_gb=memory_gb)
    check_fits(stages, cluster)
    if costs is None:
        actors = dict.fromkeys((stage.name for stage in stages), _even(stages, cluster))
        wanted = {stage.name: stage.resources.cpus for stage in stages}
    else:
        costs = {stage.name: cost_of(stage, costs) for stage in stages}
        actors = _sized(stages, cluster, costs)
        rate = min(_pool_rates(stages, cluster, actors, costs).values())
        rate = min(rate, machine_rate(stages, cluster, costs))
        wanted = {
            stage.name: _busy_cpus(stage) * rate * costs[stage.name] / actors[stage.name]
            for stage in stages
        }
    share = min(1.0, cpus * _RESERVED / sum(wanted[name] * actors[name] for name in wanted))
    pools = [
        Pool(
            stage=stage,
            actors=actors[stage.name],
            cpus=_floor(wanted[stage.name] * share),
            gpus=stage.resources.gpus if cluster.gpus else 0.0,
        )
        for stage in stages
    ]
    if costs is None:
        return pools
    return [replace(p, in_flight=in_flight(costs[p.stage.name] * p.batch)) for p in pools]


def in_flight(cost_s: float) -> int:
    """Batches to give to an actor ahead, so that it never waits for the driver.

    Args:
        cost_s: seconds it takes for a batch.
    """
    return min(_MAX_IN_FLIGHT, max(MIN_IN_FLIGHT, 2 + math.ceil(_DRIVER_S / cost_s)))


def check_fits(stages: Sequence[Stage], cluster: Cluster) -> None:
    """Refuse a cluster on which one actor of each stage cannot run.

    Raises:
        UsageError: with the arithmetic.
    """
    if cluster.cpus <= 0:
        raise UsageError(
            f"the cluster has {cluster.cpus:g} CPUs now; give --cpus, and --gpus, if it grows with"
            " work"
        )
    gpu_shares = {stage.name: stage.resources.gpus for stage in stages if stage.resources.gpus}
    if cluster.gpus and sum(gpu_shares.values()) > 1.0 + 1e-9:
        raise UsageError(
            f"one worker of each stage needs {_sum_text(gpu_shares)} of one GPU, more than 1; take "
            "GPUs with more memory"
        )
    needs_gb = {stage.name: stage.resources.memory_gb for stage in stages}
    if sum(needs_gb.values()) > cluster.memory_gb:
        raise UsageError(
            f"one worker of each stage needs {_sum_text(needs_gb)} GiB of memory and the cluster"
            f" has {cluster.memory_gb:.1f}; use a larger machine, or headsplat make"
        )


def cost_of(stage: Stage, costs: Mapping[str, float]) -> float:
    """Seconds a row of one actor; never quite nothing, so that rates are finite.

    Raises:
        UsageError: the costs do not know the stage.
    """
    if stage.name not in costs:
        raise UsageError(
            f"the costs lack {stage.name}; they have {', '.join(costs)}: measure them again with"
            " headsplat plan --measure"
        )
    return max(costs[stage.name], 1e-4)


def machine_rate(stages: Sequence[Stage], cluster: Cluster, costs: Mapping[str, float]) -> float:
    """Rows per second when all CPUs, or all GPUs, are always busy.

    A GPU's actors take turns on it, so that its time for a row is the sum of theirs.
    """
    cpu_s = sum(cost_of(stage, costs) * _busy_cpus(stage) for stage in stages)
    gpu_s = sum(cost_of(stage, costs) for stage in stages if _on_gpu(stage, cluster))
    return min(cluster.cpus / cpu_s, cluster.gpus / gpu_s if gpu_s else float("inf"))


def bottleneck(
    pools: Sequence[Pool], cluster: Cluster, costs: Mapping[str, float]
) -> tuple[str, float]:
    """What limits the plan ("CPUs", "GPUs", or a stage whose pool is too small), and the rate.

    Returns:
        Its name, and rows per second.
    """
    stages = [pool.stage for pool in pools]
    rates = _pool_rates(stages, cluster, {pool.stage.name: pool.actors for pool in pools}, costs)
    slowest = min(rates, key=lambda name: rates[name])
    whole = machine_rate(stages, cluster, costs)
    if rates[slowest] < whole:
        return slowest, rates[slowest]
    cpu_rate = machine_rate(stages, replace(cluster, gpus=0.0), costs)
    return ("GPUs" if whole < cpu_rate else "CPUs"), whole


def _busy_cpus(stage: Stage) -> float:
    """CPUs that a worker takes while it works, even if it asks for less because it seldom does."""
    return max(1.0, stage.resources.cpus)


def _on_gpu(stage: Stage, cluster: Cluster) -> bool:
    return cluster.gpus >= 1 and stage.resources.gpus > 0


def _pool_rates(
    stages: Sequence[Stage],
    cluster: Cluster,
    actors: Mapping[str, int],
    costs: Mapping[str, float],
) -> dict[str, float]:
    """Rows per second of each pool; of the GPU stages together, since they take turns."""
    turns_s = sum(cost_of(stage, costs) for stage in stages if _on_gpu(stage, cluster))
    return {
        stage.name: actors[stage.name]
        / (turns_s if _on_gpu(stage, cluster) else cost_of(stage, costs))
        for stage in stages
    }


def _sized(stages: Sequence[Stage], cluster: Cluster, costs: Mapping[str, float]) -> dict[str, int]:
    """Start with one actor a stage, and add to the slowest pool while that helps and fits.

    The order in which actors are added does not depend on the cluster, which only says where to
    stop: a larger one is therefore never slower.
    """
    actors = {stage.name: 1 for stage in stages}
    on_gpu = [stage for stage in stages if _on_gpu(stage, cluster)]
    target = SLACK * machine_rate(stages, cluster, costs)
    room_gb = cluster.memory_gb - sum(stage.resources.memory_gb for stage in stages)
    while True:
        rates = _pool_rates(stages, cluster, actors, costs)
        full = [stage for stage in on_gpu if actors[stage.name] >= cluster.gpus]
        able = [stage for stage in stages if stage not in full]
        if not able:
            return actors
        slowest = min(able, key=lambda stage: rates[stage.name])
        grown = on_gpu if slowest in on_gpu else [slowest]  # GPU actors come as a set
        room_gb -= sum(stage.resources.memory_gb for stage in grown)
        if rates[slowest.name] >= target or room_gb < -1e-9:
            return actors
        for stage in grown:
            actors[stage.name] += 1


def _even(stages: Sequence[Stage], cluster: Cluster) -> int:
    """Actors of every stage if nothing is known of their costs."""
    needs_gb = sum(stage.resources.memory_gb for stage in stages)
    fit = int(cluster.memory_gb / needs_gb) if cluster.memory_gb != float("inf") else 10**6
    by_cpu = int(cluster.cpus / sum(stage.resources.cpus for stage in stages))
    return max(1, min(fit, int(cluster.gpus) if cluster.gpus >= 1 else by_cpu))


def _sum_text(parts: Mapping[str, float]) -> str:
    told = " + ".join(f"{name} {number:g}" for name, number in parts.items())
    return f"{told} = {sum(parts.values()):g}"


def _floor(cpus: float) -> float:
    """Ray keeps resources to four decimals; rounding up could ask for more than there is."""
    return max(int(cpus * 1000) / 1000, 0.001)
