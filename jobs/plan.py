"""``headsplat plan``: what a job needs, before anything is loaded or spent."""

import json as json_module
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tyro

from jobs.job_plan import (
    Prices,
    plan_job,
    plan_record,
    plan_text,
    pools_for,
    pools_text,
    stages_on,
    usable_costs,
)
from jobs.options import AvatarOptions, graph_options
from jobs.pools import Cluster
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from jobs.costs import Costs
    from jobs.listing import Listing
    from pipeline.memory_plan import StageMemory
    from pipeline.recipe import Recipe
    from pipeline.stage import Stage

_BATCHES = (1, 2, 4, 8)
_RAY_MEMORY = 0.7
"""Part of a machine's memory that Ray leaves to actors."""
_HOW_TO_MEASURE = """\
  headsplat plan PHOTOS --measure 8 --save-costs costs.json    on a machine like the cluster's
  headsplat plan PHOTOS --costs costs.json                     then, with the cluster's size"""


@dataclass(frozen=True, kw_only=True)
class PlanOptions(AvatarOptions):
    """Say what a job takes: actors, hours, bytes and money; without photos, only GPU memory.

    Example: headsplat plan photos/ --measure 8
    Example: headsplat plan s3://bucket/photos --cpus 64 --gpus 4 --costs costs.json
    Example: headsplat plan --preset paper --gpu-memory-gb 24

    Attributes:
        sources: photos, folders of photos and other addresses that generate takes; they are
            listed, and read only by --measure.
        photos: plan for this many photos instead of those that are listed.
        preset: instead of a model, a preset's sizes; none of its weights are needed.
        cpus: CPUs of the cluster; by default this machine's.
        gpus: GPUs of the cluster.
        memory_gb: host memory of the cluster, GiB; by default this machine's, or enough if cpus
            is given.
        gpu_memory_gb: memory of each GPU, in GB of 1e9 bytes.
        address: plan for the Ray cluster there, as it is now.
        measure: make the avatars of this many of the photos here, to see what each stage takes.
        costs: take that from a file of --save-costs, or from the folder of a run; by default, for
            the embedded model on CPUs, from what we measured.
        save_costs: file for what --measure found.
        gpu_hour_usd: price of a GPU for an hour, with the machine round it.
        cpu_hour_usd: price of a CPU for an hour, of machines without GPU.
        put_usd: price of 1,000 PUT or LIST requests to the object store.
        get_usd: price of 1,000 GET requests.
    """

    sources: tyro.conf.Positional[tuple[str, ...]] = ()
    photos: int | None = None
    preset: Literal["paper"] | None = None
    cpus: float | None = None
    gpus: float = 0.0
    memory_gb: float | None = None
    gpu_memory_gb: float = 24.0
    address: str | None = None
    measure: int | None = None
    costs: str | None = None
    save_costs: Path | None = None
    gpu_hour_usd: float | None = None
    cpu_hour_usd: float | None = None
    put_usd: float | None = None
    get_usd: float | None = None


def plan(options: PlanOptions) -> int:
    """Print the plan; exit code 0 if every stage fits, else 1.

    Raises:
        UsageError: options contradict each other or lack a photo, or one of each stage does not
            fit into the cluster.
        ModelNotFound: there is no such model.
    """
    _check(options)
    record: dict[str, Any] = {}
    texts: list[str] = []
    job = bool(options.sources) or options.photos is not None
    levels, fits = None, True
    cluster = _cluster(options)
    if not job or options.preset or cluster.gpus >= 1:
        levels, fits = _plan_memory(options, record, texts)
    if job and options.preset:
        record |= {"pools": [], "job": None}
        texts.append(f"hours need the model's weights, and costs:\n{_HOW_TO_MEASURE}")
    elif job:
        _plan_pools(options, cluster, levels, record, texts)
    print(json_module.dumps(record) if options.json else "\n\n".join(texts))
    return int(not fits)


def _check(options: PlanOptions) -> None:
    if options.model is not None and options.preset is not None:
        raise UsageError(
            f"--model {options.model} and --preset {options.preset} contradict; give one"
        )
    for name in ("gpu_memory_gb", "cpus", "memory_gb", "photos", "measure"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise UsageError(f"--{name.replace('_', '-')} is {value:g}; it must be positive")
    if options.measure and not options.sources:
        raise UsageError("--measure needs photos: headsplat plan PHOTOS --measure 8")
    if options.measure and options.costs:
        raise UsageError("--measure and --costs contradict; give one")


def _plan_memory(
    options: PlanOptions, record: dict[str, Any], texts: list[str]
) -> tuple[list[dict[str, float]], bool]:
    """Tell the GPU memory of the stages; return the levels of it, and whether they fit."""
    from pipeline.memory_plan import gpu_levels, gpu_shares

    stages, reconstructing_gb = _memory(options)
    levels = gpu_levels(stages, reconstructing_gb)
    shares = gpu_shares(levels, options.gpu_memory_gb)
    records = [_record(stage, options.gpu_memory_gb) for stage in stages]
    record |= {"gpu_memory_gb": options.gpu_memory_gb, "stages": records, "gpu_shares": shares}
    for stage, one in zip(stages, records, strict=True):
        texts.append(_text(stage, one, options.gpu_memory_gb))
    told = " + ".join(f"{name} {share:g}" for name, share in shares.items())
    texts.append(
        f"one of each on a GPU of {options.gpu_memory_gb:g} GB, by memory: {told} ="
        f" {sum(shares.values()):.3g}"
    )
    return levels, all(one["plan"]["batch"] for one in records)


def _memory(options: PlanOptions) -> "tuple[list[StageMemory], float]":
    """Of the diffusion stages, and GB of Reconstruct."""
    from pipeline.memory_plan import (
        model_memory,
        model_reconstruct_gb,
        paper_memory,
        paper_reconstruct_gb,
    )
    from pipeline.model_folder import resolve_model

    if options.preset:
        return paper_memory(), paper_reconstruct_gb()
    model = resolve_model(options.model)
    tuned = options.fit == "network"
    return model_memory(model), model_reconstruct_gb(model, tuned=tuned)


def _plan_pools(
    options: PlanOptions,
    cluster: Cluster,
    levels: list[dict[str, float]] | None,
    record: dict[str, Any],
    texts: list[str],
) -> None:
    """Tell the pools and, if the costs of the stages are known, what the job takes."""
    from jobs.sources import list_sources
    from pipeline.graph import build_graph, build_recipe

    listing = list_sources(options.sources) if options.sources else None
    recipe = build_recipe(graph_options(options))
    stages = build_graph(graph_options(options), os.curdir, recipe)
    stages_on(stages, cluster, levels)
    known = _costs(options, listing, recipe, stages)
    costs = usable_costs(known, cluster)
    pools = pools_for(stages, cluster, None if costs is None else costs.seconds)
    texts.append(f"{cluster.cpus:g} CPUs, {cluster.gpus:g} GPUs{_memory_text(cluster)}")
    if costs is None:
        why = "those that are known are of a CPU" if known else "none are known"
        texts.append(f"{pools_text(pools)}\n\nhours need costs, and {why}:\n{_HOW_TO_MEASURE}")
        record |= plan_record(None, pools)
        return
    texts[-1] += f"; {_origin(costs, recipe)}"
    photos = options.photos or len(listing or ())
    prices = Prices(
        gpu_hour=options.gpu_hour_usd,
        cpu_hour=options.cpu_hour_usd,
        thousand_puts=options.put_usd,
        thousand_gets=options.get_usd,
    )
    job = plan_job(photos, pools, cluster, costs, prices)
    texts.append(plan_text(job, pools, costs.seconds))
    record |= {**plan_record(job, pools), "costs": asdict(costs)}


def _costs(
    options: PlanOptions, listing: "Listing | None", recipe: "Recipe", stages: "Sequence[Stage]"
) -> "Costs | None":
    from jobs.costs import load_costs, measure, shipped_costs
    from pipeline.local import best_device

    if options.costs:
        return load_costs(options.costs)
    if listing is None or not options.measure:
        return shipped_costs(recipe, stages)
    step = max(1, len(listing) // options.measure)
    chosen = listing.rows(np.arange(0, len(listing), step)[: options.measure])
    costs = measure(graph_options(options), chosen, best_device())
    if options.save_costs:
        costs.write(options.save_costs)
    return costs


def _origin(costs: "Costs", recipe: "Recipe") -> str:
    number = f"{costs.avatars} avatar{'s' if costs.avatars > 1 else ''}"
    told = f"costs are medians of {number} on {costs.device or 'the machines'}"
    told += f" ({costs.machine})"
    return told if costs.fits(recipe) else f"{told}, made by another model or with other options"


def _cluster(options: PlanOptions) -> Cluster:
    if options.address:
        from jobs.ray_cluster import connected, resources

        with connected(options.address):
            there = resources()
        return replace(there, gpu_memory_gb=options.gpu_memory_gb)
    memory_gb = options.memory_gb
    if memory_gb is None and options.cpus is None:
        pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory_gb = _RAY_MEMORY * pages / 2**30
    return Cluster(
        cpus=options.cpus or float(len(os.sched_getaffinity(0))),
        gpus=options.gpus,
        memory_gb=float("inf") if memory_gb is None else memory_gb,
        gpu_memory_gb=options.gpu_memory_gb,
    )


def _memory_text(cluster: Cluster) -> str:
    return "" if cluster.memory_gb == float("inf") else f", {cluster.memory_gb:.1f} GiB for workers"


def _record(stage: "StageMemory", gpu_memory_gb: float) -> dict[str, Any]:
    from pipeline.memory_plan import plan_stage

    peaks = {batch: stage.peak_gb(batch, stage.views) for batch in _BATCHES}
    return {**asdict(stage), "peak_gb": peaks, "plan": asdict(plan_stage(stage, gpu_memory_gb))}


def _text(stage: "StageMemory", record: dict[str, Any], gpu_memory_gb: float) -> str:
    from pipeline.memory_plan import CONTEXT_GB, HEADROOM

    weights = " + ".join(f"{name} {size:.3f}" for name, size in stage.weights_gb.items())
    doubled = "2 x " if stage.guided else ""
    peaks = ", ".join(f"{batch}: {size:.2f}" for batch, size in record["peak_gb"].items())
    fits = record["plan"]
    if fits["batch"]:
        offload = "with offload" if fits["offload"] else "without offload"
        verdict = (
            f"{fits['batch']} avatars at a time, {fits['decode_views']} views decoded at a time, "
            f"{offload}: {fits['peak_gb']:.2f} GB"
        )
    else:
        verdict = f"does not fit; one avatar with offload takes {fits['peak_gb']:.2f} GB"
    return (
        f"{stage.stage}, {stage.views} views\n"
        f"  weights      {weights} = {sum(stage.weights_gb.values()):.3f} GB"
        " (bfloat16; vae float32)\n"
        f"  activations  U-Net {doubled}{stage.unet_gb:.3f} GB an avatar, "
        f"decoding {stage.decode_gb:.3f} GB a view\n"
        f"  peak         {CONTEXT_GB:g} + {HEADROOM:g} x (weights + larger of U-Net x avatars and "
        f"{stage.views} views decoded); avatars: GB = {peaks}\n"
        f"  {gpu_memory_gb:g} GB        {verdict}"
    )
