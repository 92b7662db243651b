"""``headsplat generate``: the batch job, on this machine or a Ray cluster."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import tyro

from jobs.options import AvatarOptions, graph_options
from jobs.progress import Progress
from pipeline.errors import UsageError
from pipeline.stage import Row, Stage

if TYPE_CHECKING:
    from jobs.costs import Costs
    from jobs.pools import Cluster, Pool
    from jobs.ray_data import RayOptions

_TIMEOUT_S, _LEAST_TIMEOUT_S, _TIMES_ITS_COST = 3600.0, 600.0, 30.0
_LEAST_PATIENCE_S = 1800


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(AvatarOptions):
    """Make avatars of many photos with Ray; run it again and it goes on where it stopped.

    Example: headsplat generate photos/ avatars/
    Example: headsplat generate s3://bucket/photos s3://bucket/avatars --address auto

    Attributes:
        paths: what to make avatars of (folders of photos, photos, globs, .txt lists, s3:// and
            other URIs) and, last, the folder or URI for the avatars.
        address: Ray cluster to run on, "auto" for the one this machine belongs to; by default
            Ray is started here for the length of the job.
        cpus: CPUs to plan for; by default those that the cluster has now. Give it, and gpus, for
            a cluster that grows when there is work.
        gpus: GPUs to plan for; by default those that the cluster has now.
        gpu_memory_gb: memory of each GPU, in GB of 1e9 bytes; by default a GPU of the cluster is
            asked.
        costs: what stages cost, to size their pools by: a file of headsplat plan --save-costs, or
            the folder of a run; by default, for the embedded model on CPUs, what we measured.
        stage_timeout_s: most seconds that a stage may spend on one photo, else it has failed; by
            default 30 times what it costs, and at least 600, or 3600 without costs.
        shard: do only one part of the photos, as in 2/8; jobs with the parts 1/8 to 8/8 share the
            photos and the destination.
        max_crashed: photos that may take their worker process down before the job gives up.
        log_format: json writes progress as one JSON object a line.
    """

    paths: tyro.conf.Positional[tuple[str, ...]]
    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None
    gpu_memory_gb: float | None = None
    costs: str | None = None
    stage_timeout_s: float | None = None
    shard: str | None = None
    max_crashed: int = 100
    log_format: Literal["text", "json"] = "text"


def generate(options: GenerateOptions) -> int:
    """Run the graph over all photos on Ray; return the exit code.

    Raises:
        UsageError: the addresses, options or cluster cannot be used.
        ProcessingError: the job was given up.
    """
    from jobs.batch import Batch, run_batch
    from jobs.sources import Shard

    if len(options.paths) < 2:
        raise UsageError("generate needs photos and a destination: headsplat generate PHOTOS OUT")
    if options.stage_timeout_s is not None and options.stage_timeout_s <= 0:
        raise UsageError(f"--stage-timeout-s is {options.stage_timeout_s:g}; it must be positive")
    *addresses, destination = options.paths
    batch = Batch(
        addresses=addresses,
        destination=destination,
        options=graph_options(options),
        as_json=options.json,
        shard=None if options.shard is None else Shard.parse(options.shard),
    )
    with ExitStack() as until_the_end:

        def execute(stages: Sequence[Stage], rows: list[Row], progress: Progress) -> Iterator[Row]:
            return _on_ray(stages, rows, progress, options, until_the_end)

        return run_batch(batch, execute)


def _on_ray(
    stages: Sequence[Stage],
    rows: list[Row],
    progress: Progress,
    options: GenerateOptions,
    until_the_end: ExitStack,
) -> Iterator[Row]:
    import ray
    from ray.data.exceptions import ExecutionTimeoutError

    from jobs.ray_cluster import connected, given_up, started
    from jobs.ray_data import run_ray

    if not ray.is_initialized():  # with the first wave of photos; it stays for the others
        until_the_end.enter_context(started(options.address))
    with connected(options.address):
        pools, ray_options = _planned(stages, options)
        actors = {pool.stage.name: pool.actors for pool in pools}
        progress.describe(actors, as_json=options.log_format == "json")
        try:
            yield from run_ray(pools, rows, ray_options)
        except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
            raise given_up(error) from error


def _planned(stages: Sequence[Stage], options: GenerateOptions) -> "tuple[list[Pool], RayOptions]":
    """Fit the stages into the connected cluster, or into what it may grow to.

    Raises:
        UsageError: they do not fit.
    """
    from jobs.job_plan import pools_for, stages_on, store_warning, usable_costs
    from jobs.ray_cluster import gpu_memory_gb, resources
    from jobs.ray_data import RayOptions

    now = resources()
    cluster, grows = _grown(now, options)
    unknown = cluster.gpu_memory_gb is None and min(cluster.gpus, now.gpus) >= 1
    if unknown and any(stage.resources.gpus for stage in stages):
        cluster = replace(cluster, gpu_memory_gb=gpu_memory_gb())
    stages_on(stages, cluster, _levels(cluster, options))
    costs = usable_costs(_costs(stages, options), cluster)
    pools = pools_for(stages, cluster, None if costs is None else costs.seconds)
    if not grows and costs and (warning := store_warning(pools, cluster, costs.payload_mb)):
        print(f"headsplat generate: {warning}", file=sys.stderr)
    limits_s = _timeouts_s(stages, {} if costs is None else costs.seconds, options)
    return pools, RayOptions(
        max_crashed_rows=options.max_crashed,
        no_progress_timeout_s=_patience_s(pools, limits_s),
        stage_timeouts_s=limits_s,
        grows=grows,
    )


def _patience_s(pools: "Sequence[Pool]", limits_s: "Mapping[str, float]") -> int:
    """How long no row may come: longer than a batch that hangs takes to be noticed, and tried again
    row by row.
    """
    longest_s = max(pool.batch * limits_s[pool.stage.name] for pool in pools)
    return int(max(_LEAST_PATIENCE_S, 4 * longest_s))


def _grown(now: "Cluster", options: GenerateOptions) -> "tuple[Cluster, bool]":
    """What to plan for, and whether that is more than there is now."""
    cluster = replace(
        now,
        cpus=now.cpus if options.cpus is None else options.cpus,
        gpus=now.gpus if options.gpus is None else options.gpus,
        gpu_memory_gb=options.gpu_memory_gb,
    )
    if cluster.cpus <= now.cpus and cluster.gpus <= now.gpus:
        return cluster, False
    return replace(cluster, memory_gb=float("inf"), store_gb=None), True


def _levels(cluster: "Cluster", options: GenerateOptions) -> list[dict[str, float]] | None:
    if cluster.gpus < 1 or cluster.gpu_memory_gb is None:
        return None
    from pipeline.memory_plan import gpu_levels, model_memory, model_reconstruct_gb
    from pipeline.model_folder import resolve_model

    model = resolve_model(options.model)
    tuned = options.fit == "network"
    return gpu_levels(model_memory(model), model_reconstruct_gb(model, tuned=tuned))


def _costs(stages: Sequence[Stage], options: GenerateOptions) -> "Costs | None":
    from jobs.costs import load_costs, shipped_costs
    from pipeline.graph import build_recipe

    if options.costs:
        return load_costs(options.costs)
    return shipped_costs(build_recipe(graph_options(options)), stages)


def _timeouts_s(
    stages: Sequence[Stage], seconds: Mapping[str, float], options: GenerateOptions
) -> dict[str, float]:
    if options.stage_timeout_s is not None:
        return {stage.name: options.stage_timeout_s for stage in stages}
    return {
        stage.name: max(_LEAST_TIMEOUT_S, _TIMES_ITS_COST * seconds[stage.name])
        if stage.name in seconds
        else _TIMEOUT_S
        for stage in stages
    }
