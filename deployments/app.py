"""The application: ``serve run deployments.app:app``, or ``build`` with arguments.

serve run deployments.app:build output=s3://bucket/avatars database=postgresql://...
serve deploy deployments/serve.yaml
"""

import os
from typing import TYPE_CHECKING, Any

import ray
from ray import serve
from ray.serve.config import BackpressureConfig

from deployments.job_files import JobFiles
from deployments.job_graph import AvatarOptions, JobGraph
from deployments.options import Scaling, ServiceOptions
from jobs.pools import Pool, plan_pools
from jobs.serve import RUNNER
from pipeline.errors import UsageError
from pipeline.graph import build_recipe, needed_after
from pipeline.stage import Stage
from pipeline.storage import check_writable, locate

if TYPE_CHECKING:
    from ray.serve import Application

_MOST_REQUESTS = 256
"""Open requests a replica of the ingress, those that wait or stream events included."""
_ONE = Scaling()


def build(options: ServiceOptions) -> "Application":
    """The service as a Ray Serve application; nothing is started.

    Raises:
        UsageError: an option is out of range, or the stages do not fit into the cluster.
        ModelNotFound: the model is not there.
    """
    graph_options = options.graph_options()
    return assemble(options, JobGraph(graph_options, build_recipe(graph_options)))


def assemble(options: ServiceOptions, graph: JobGraph) -> "Application":
    """The application of any graph.

    Raises:
        UsageError: as `build`.
    """
    from deployments.ingress import Ingress
    from deployments.runner import Runner
    from deployments.stage_replica import brings_weights, stage_deployment

    options = options.resolved()
    root = locate(options.output)
    JobFiles(root)  # makes the folder, for its owner's eyes only
    check_writable(root)
    stages = graph.stages(AvatarOptions(), root.address)
    _check_names(options, stages)
    handles: dict[str, Any] = {}
    needed = [RUNNER]
    for pool, columns in zip(_pools(stages, options), needed_after(stages), strict=True):
        name = pool.stage.name
        default = options.scaling if brings_weights(pool.stage) else _ONE
        scaling = options.stage_scaling.get(name, default)
        deployment = stage_deployment(pool, columns, scaling)
        handles[name] = deployment.bind(pool.stage, columns, options.stage_timeout_s)
        needed += [name] if scaling.min_replicas else []
    runner = serve.deployment(
        name=RUNNER,
        num_replicas=options.runners,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=3.0,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=options.drain_s + 30.0,
    )(Runner).bind(options, graph, handles)
    return serve.deployment(
        name="Ingress",
        num_replicas=options.api_replicas,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=_MOST_REQUESTS,
        max_queued_requests=_MOST_REQUESTS,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=2),
        graceful_shutdown_wait_loop_s=0.5,
    )(Ingress).bind(options, runner, tuple(needed))


def _pools(stages: list[Stage], options: ServiceOptions) -> list[Pool]:
    """The share of the cluster that a replica of each stage has.

    ``serve run deployments.app:build`` builds before it starts Ray, most often on this machine.
    """
    wanted = sum(stage.resources.cpus for stage in stages)
    if not ray.is_initialized():
        here = float(os.cpu_count() or 1)
        return plan_pools(stages, cpus=min(wanted, here), gpus=options.gpus or 0.0)
    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    if options.gpus is not None:  # a cluster that grows
        return plan_pools(stages, cpus=wanted, gpus=options.gpus)
    return plan_pools(
        stages,
        cpus=has.get("CPU", 0.0),
        gpus=has.get("GPU", 0.0),
        memory_gb=has.get("memory", 0.0) / 2**30,
    )


def _check_names(options: ServiceOptions, stages: list[Stage]) -> None:
    names = [stage.name for stage in stages]
    if unknown := sorted(set(options.stage_scaling) - set(names)):
        raise UsageError(f"stage_scaling names {unknown[0]!r}; the stages are {', '.join(names)}")


def __getattr__(name: str) -> Any:
    """``app``, the application with default options, built when it is asked for."""
    if name == "app":
        return build(ServiceOptions())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
