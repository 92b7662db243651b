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
from deployments.options import ServiceOptions
from deployments.step import steps_of
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


def build(options: ServiceOptions) -> "Application":
    """The service as a Ray Serve application; nothing is started.

    Raises:
        UsageError: an option is out of range, or the stages do not fit into the cluster.
        ModelNotFound: the model is not there.
    """
    graph_options = options.resolved().graph_options()
    return assemble(options, JobGraph(graph_options, build_recipe(graph_options)))


def assemble(options: ServiceOptions, graph: JobGraph) -> "Application":
    """The application of any graph.

    Raises:
        UsageError: as `build`.
    """
    from deployments.ingress import Ingress
    from deployments.runner import Runner
    from deployments.step_replica import step_deployment

    options = options.resolved()
    root = locate(options.output)
    JobFiles(root)  # makes the folder, for its owner's eyes only
    check_writable(root)
    stages = graph.stages(AvatarOptions(), root.address)
    steps = steps_of(stages)
    _check_names(options, [step.name for step in steps])
    needed_behind = dict(zip((stage.name for stage in stages), needed_after(stages), strict=True))
    handles: dict[str, Any] = {}
    needed = [RUNNER]
    for step, pool in zip(steps, _pools([step.lead for step in steps], options), strict=True):
        scaling = options.stage_scaling.get(step.name, options.scaling)
        columns = needed_behind[step.stages[-1].name]
        deployment = step_deployment(pool, scaling)
        handles[step.name] = deployment.bind(step, columns, options.stage_timeout_s)
        needed += [step.name] if scaling.min_replicas else []
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
    """The share of the cluster that a replica of each of ``stages`` has.

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


def _check_names(options: ServiceOptions, names: list[str]) -> None:
    if unknown := sorted(set(options.stage_scaling) - set(names)):
        raise UsageError(
            f"stage_scaling names {unknown[0]!r}; the stages that can be scaled are "
            f"{', '.join(names)}, and the others go along with these"
        )


def __getattr__(name: str) -> Any:
    """``app``, the application with default options, built when it is asked for."""
    if name == "app":
        return build(ServiceOptions())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
