"""What a job will take: pools, time, hours, bytes, requests and money, before anything is spent."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from jobs.pools import Cluster, Pool, bottleneck, cost_of, plan_pools
from pipeline.errors import UsageError
from pipeline.stage import Stage

if TYPE_CHECKING:
    from jobs.costs import Costs

_LIST_KEYS = 1000
"""Keys that S3 lists at a time."""
_BEHIND = 2
"""Batches that an actor has done and that wait for the next stage."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """In US dollars; None leaves the item out.

    Attributes:
        gpu_hour: of a machine's GPU, everything in the machine included.
        cpu_hour: of a CPU; for machines without GPU.
        thousand_puts: of 1,000 PUT or LIST requests.
        thousand_gets: of 1,000 GET requests.
    """

    gpu_hour: float | None = None
    cpu_hour: float | None = None
    thousand_puts: float | None = None
    thousand_gets: float | None = None


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """A job on a cluster.

    Attributes:
        photos: that there are.
        avatars: that they will give, if they are like those that were measured.
        bottleneck: the stage, or "CPUs" or "GPUs" if these are always busy.
        avatars_per_s: the rate.
        busy: share of the time, 0 to 1, that the actors of each stage work.
        wall_s: from the first avatar to the last.
        gpu_hours: of the GPUs that have actors.
        cpu_hours: of all CPUs.
        read_bytes: photos; None if not known.
        written_bytes: avatars; None if not known.
        moved_bytes: rows from stage to stage; None if not known.
        gets: requests to an object store, at least: each photo, and a look whether it is made.
        puts: requests, at least: each file, and the listing of the photos.
        usd: what that costs by the prices that are known; None if none is.
    """

    photos: int
    avatars: float
    bottleneck: str
    avatars_per_s: float
    busy: dict[str, float]
    wall_s: float
    gpu_hours: float
    cpu_hours: float
    read_bytes: float | None
    written_bytes: float | None
    moved_bytes: float | None
    gets: int
    puts: int | None
    usd: float | None


def stages_on(
    stages: Sequence[Stage], cluster: Cluster, levels: Sequence[dict[str, float]] | None
) -> None:
    """Give the stages the shares of a GPU that its memory asks for.

    Args:
        stages: changed in place, before anything is loaded.
        cluster: nothing is done unless it has GPUs and says how large they are.
        levels: see `pipeline.memory_plan.gpu_levels`.
    """
    if cluster.gpus < 1 or cluster.gpu_memory_gb is None or levels is None:
        return
    from pipeline.memory_plan import gpu_shares

    shares = gpu_shares(levels, cluster.gpu_memory_gb)
    for stage in stages:
        if stage.resources.gpus and stage.name in shares:
            stage.resources = replace(stage.resources, gpus=shares[stage.name])


def usable_costs(costs: "Costs | None", cluster: Cluster) -> "Costs | None":
    """``costs``, unless they are of a CPU and the cluster has GPUs."""
    return None if costs is None or (cluster.gpus >= 1 and costs.device == "cpu") else costs


def pools_for(
    stages: Sequence[Stage], cluster: Cluster, seconds: Mapping[str, float] | None
) -> list[Pool]:
    """`plan_pools` for a cluster.

    Raises:
        UsageError: nothing can run there, or its shared memory is too small for the rows.
    """
    return plan_pools(
        stages, cpus=cluster.cpus, gpus=cluster.gpus, memory_gb=cluster.memory_gb, costs=seconds
    )


def store_warning(
    pools: Sequence[Pool], cluster: Cluster, payload_mb: Mapping[str, float]
) -> str | None:
    """What to say of shared memory that is too small to keep all actors busy; None if it is not.

    An actor has `Pool.in_flight` batches before it and two behind, and Ray keeps half of the store
    free for those on the way.

    Raises:
        UsageError: not even one row of each stage fits.
    """
    if cluster.store_gb is None or not payload_mb:
        return None
    sizes = {pool.stage.name: payload_mb.get(pool.stage.name, 0.0) for pool in pools}
    least_gb = 2 * sum(sizes.values()) * 1e6 / 2**30
    rows = {p.stage.name: p.actors * (p.in_flight + _BEHIND) * p.batch for p in pools}
    wanted_gb = 2 * sum(rows[name] * sizes[name] for name in rows) * 1e6 / 2**30
    parts = " + ".join(f"{name} {rows[name]} x {sizes[name]:g}" for name in rows)
    told = (
        f"rows between the stages want ({parts}) MB x 2 = {wanted_gb:.2f} GiB of shared memory and"
        f" the cluster has {cluster.store_gb:.2f}"
    )
    if least_gb > cluster.store_gb:
        raise UsageError(f"{told}; start Ray with a larger --object-store-memory (--shm-size)")
    return None if wanted_gb <= cluster.store_gb else f"{told}: actors will wait for each other"


def plan_job(
    photos: int, pools: Sequence[Pool], cluster: Cluster, costs: "Costs", prices: Prices
) -> JobPlan:
    """Work out what a job takes.

    Args:
        photos: number of inputs.
        pools: from `pools_for`.
        cluster: that they are for.
        costs: of the stages.
        prices: what to count as money.
    """
    limit, rate = bottleneck(pools, cluster, costs.seconds)
    avatars = photos * costs.avatars / costs.photos
    wall_s = avatars / rate
    gpus = max((pool.actors for pool in pools if pool.gpus), default=0)
    puts = None
    if costs.avatar_files is not None:
        puts = round(avatars * costs.avatar_files) + -(-photos // _LIST_KEYS)
    moved_mb = sum(costs.payload_mb.values())
    plan = JobPlan(
        photos=photos,
        avatars=avatars,
        bottleneck=limit,
        avatars_per_s=rate,
        busy={
            pool.stage.name: rate * cost_of(pool.stage, costs.seconds) / pool.actors
            for pool in pools
        },
        wall_s=wall_s,
        gpu_hours=gpus * wall_s / 3600,
        cpu_hours=cluster.cpus * wall_s / 3600,
        read_bytes=None if costs.photo_bytes is None else photos * costs.photo_bytes,
        written_bytes=None if costs.avatar_bytes is None else avatars * costs.avatar_bytes,
        moved_bytes=avatars * moved_mb * 1e6 if costs.payload_mb else None,
        gets=2 * photos,
        puts=puts,
        usd=None,
    )
    return replace(plan, usd=_usd(plan, prices))


def plan_text(plan: JobPlan, pools: Sequence[Pool], seconds: Mapping[str, float]) -> str:
    """The plan as a table of the pools and a list of what it takes."""
    lines = [
        pools_text(pools, seconds, plan.busy),
        "",
        f"  {'rate':<12}{plan.avatars_per_s:.4g} avatars a second; {_limit(plan)}",
        f"  {'time':<12}{_span(plan.wall_s)} for {plan.avatars:,.0f} avatars of"
        f" {plan.photos:,} photos, once all workers have started",
        f"  {'hours':<12}{plan.gpu_hours:,.1f} of GPUs, {plan.cpu_hours:,.1f} of CPUs",
        f"  {'bytes':<12}{_bytes(plan.read_bytes)} read, {_bytes(plan.written_bytes)} written,"
        f" {_bytes(plan.moved_bytes)} from stage to stage",
        f"  {'requests':<12}of an object store at least {plan.gets:,} GET, "
        + ("unknown" if plan.puts is None else f"{plan.puts:,}")
        + " PUT and LIST",
    ]
    if plan.usd is not None:
        lines.append(f"  {'cost':<12}{plan.usd:,.2f} US dollars by the prices given")
    return "\n".join(lines)


def pools_text(
    pools: Sequence[Pool],
    seconds: Mapping[str, float] | None = None,
    busy: Mapping[str, float] | None = None,
) -> str:
    """The pools as a table; the last two columns only where they are known."""
    rows = [("stage", "actors", "CPUs", "GPUs", "GiB", *(("s/avatar", "busy") if busy else ()))]
    for pool in pools:
        name = pool.stage.name
        row = (
            name,
            str(pool.actors),
            f"{pool.cpus:g}",
            f"{pool.gpus:g}",
            f"{pool.stage.resources.memory_gb:g}",
        )
        known = (f"{seconds[name]:.3f}", f"{busy[name]:.0%}") if seconds and busy else ()
        rows.append((*row, *known))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  " + row[0].ljust(widths[0] + 2) + "  ".join(map(str.rjust, row[1:], widths[1:]))
        for row in rows
    )


def plan_record(plan: JobPlan | None, pools: Sequence[Pool]) -> dict[str, Any]:
    """The plan as what JSON holds."""
    told = [
        {
            "stage": pool.stage.name,
            "actors": pool.actors,
            "cpus": pool.cpus,
            "gpus": pool.gpus,
            "memory_gb": pool.stage.resources.memory_gb,
        }
        for pool in pools
    ]
    return {"pools": told, "job": None if plan is None else asdict(plan)}


def _usd(plan: JobPlan, prices: Prices) -> float | None:
    parts = [
        (prices.gpu_hour, plan.gpu_hours),
        (prices.cpu_hour, plan.cpu_hours),
        (prices.thousand_gets, plan.gets / 1000),
        (prices.thousand_puts, None if plan.puts is None else plan.puts / 1000),
    ]
    known = [price * number for price, number in parts if price is not None and number is not None]
    return sum(known) if known else None


def _limit(plan: JobPlan) -> str:
    if plan.bottleneck in ("CPUs", "GPUs"):
        busiest = max(plan.busy, key=lambda stage: plan.busy[stage])
        return f"the {plan.bottleneck} are the bottleneck (busiest pool {busiest})"
    return f"{plan.bottleneck} is the bottleneck: there is no memory for more of its workers"


def _bytes(number: float | None) -> str:
    if number is None:
        return "unknown"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number / 1e3:.3g} kB"


def _span(seconds: float) -> str:
    """A length of time in its largest unit."""
    for unit, size_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size_s:
            return f"{seconds / size_s:.1f} {unit}"
    return f"{seconds:.0f} s"
