"""``headsplat generate``: the batch job, on this machine or a Ray cluster."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import tyro

from jobs.options import AvatarOptions, graph_options
from jobs.progress import Progress
from pipeline.errors import UsageError
from pipeline.stage import Row, Stage


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(AvatarOptions):
    """Make avatars of many photos with Ray; run it again and it goes on where it stopped.

    Example: headsplat generate photos/ avatars/
    Example: headsplat generate s3://bucket/photos s3://bucket/avatars --address auto

    Attributes:
        paths: what to make avatars of (folders, photos, .tar, .parquet, .txt lists, globs, s3://
            and other URIs) and, last, the folder or URI for the avatars.
        address: Ray cluster to run on, "auto" for the one this machine belongs to; by default
            Ray is started here for the length of the job.
        cpus: CPUs to plan for; by default those that the cluster has now. Give it, and gpus, for
            a cluster that grows when there is work.
        gpus: GPUs to plan for; by default those that the cluster has now.
        shard: do only one part of the photos, as in 2/8; jobs with the parts 1/8 to 8/8 share the
            photos and the destination.
        max_crashed: photos that may take their worker process down before the job gives up.
    """

    paths: tyro.conf.Positional[tuple[str, ...]]
    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None
    shard: str | None = None
    max_crashed: int = 100


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
            return _on_ray(stages, rows, options, until_the_end)

        return run_batch(batch, execute)


def _on_ray(
    stages: Sequence[Stage], rows: list[Row], options: GenerateOptions, until_the_end: ExitStack
) -> Iterator[Row]:
    import ray
    from ray.data.exceptions import ExecutionTimeoutError

    from jobs.pools import plan_pools
    from jobs.ray_cluster import connected, given_up, started
    from jobs.ray_data import RayOptions, run_ray

    if not ray.is_initialized():  # with the first wave of photos; it stays for the others
        until_the_end.enter_context(started(options.address))
    with connected(options.address):
        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        grows = options.cpus is not None or options.gpus is not None
        pools = plan_pools(
            stages,
            cpus=has.get("CPU", 0.0) if options.cpus is None else options.cpus,
            gpus=has.get("GPU", 0.0) if options.gpus is None else options.gpus,
            memory_gb=float("inf") if grows else has.get("memory", 0.0) / 2**30,
        )
        try:
            yield from run_ray(pools, rows, RayOptions(max_crashed_rows=options.max_crashed))
        except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
            raise given_up(error) from error
