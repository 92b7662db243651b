"""``headsplat plan``: what the diffusion stages need, before anything is loaded or spent."""

import json as json_module
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.memory_plan import StageMemory

_BATCHES = (1, 2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Say how much GPU memory a model's diffusion stages need, and the batch size that fits.

    Example: headsplat plan --preset paper --gpu-memory-gb 24

    Attributes:
        model: the model folder; without it, the one that ships with headsplat.
        preset: instead of a folder, a preset's sizes; none of its weights are needed.
        gpu_memory_gb: memory of the GPU, in GB of 1e9 bytes.
        json: print one JSON object.
    """

    model: Path | None = None
    preset: Literal["paper"] | None = None
    gpu_memory_gb: float = 24.0
    json: bool = False


def plan(options: PlanOptions) -> int:
    """Print the plan; exit code 0 if every stage fits, else 1.

    Raises:
        UsageError: both a model and a preset, or no memory.
        ModelNotFound: there is no such model.
    """
    if options.model is not None and options.preset is not None:
        raise UsageError(
            f"--model {options.model} and --preset {options.preset} contradict; give one"
        )
    if options.gpu_memory_gb <= 0:
        raise UsageError(f"--gpu-memory-gb is {options.gpu_memory_gb:g}; it must be positive")
    from pipeline.memory_plan import model_memory, paper_memory
    from pipeline.model_folder import resolve_model

    stages = paper_memory() if options.preset else model_memory(resolve_model(options.model))
    records = [_record(stage, options.gpu_memory_gb) for stage in stages]
    if options.json:
        print(json_module.dumps({"gpu_memory_gb": options.gpu_memory_gb, "stages": records}))
    else:
        for stage, record in zip(stages, records, strict=True):
            print(_text(stage, record, options.gpu_memory_gb))
    return int(any(record["plan"]["batch"] == 0 for record in records))


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
