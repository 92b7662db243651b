"""Where the weights of a stage go in a Ray worker."""

import ray

from pipeline.stage import Stage


def stage_device(stage: Stage) -> str:
    """A GPU if this worker was given one that works, held to the stage's share of it; or "cpu"."""
    if not ray.get_gpu_ids():
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    torch.cuda.set_per_process_memory_fraction(min(stage.resources.gpus, 1.0))
    return "cuda"
