"""Rasterise on CUDA with gsplat, if its kernels are already built.

gsplat compiles itself on the first call when it was installed from PyPI: minutes to an hour, a
race between workers, and errors that are swallowed. So we look for the compiled module first and
say how to get it, and never start its compiler.
"""

import importlib.util
from dataclasses import asdict
from typing import Any

import torch

from pipeline.errors import BackendUnavailable
from pipeline.rasterizer.request import Options, Scene

WHEEL_RECIPE = (
    'TORCH_CUDA_ARCH_LIST="8.0;8.6;8.9;9.0" MAX_JOBS=4 '
    "pip wheel --no-build-isolation --no-deps --no-binary gsplat gsplat==1.5.3"
)


def kernels_built() -> bool:
    """Whether gsplat's CUDA kernels can be used without compiling anything."""
    return torch.cuda.is_available() and importlib.util.find_spec("gsplat.csrc") is not None


def rasterize_cuda(
    scene: Scene, options: Options
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """Call gsplat's ``rasterization`` with checked inputs.

    Raises:
        BackendUnavailable: gsplat's kernels are not built for this machine.
    """
    if not kernels_built():
        raise BackendUnavailable(
            "The Gaussians are on a CUDA device, but gsplat has no compiled kernels here "
            f"(module gsplat.csrc is missing). Build a wheel once with: {WHEEL_RECIPE} and "
            "install it, or move the Gaussians to the CPU."
        )
    from gsplat import rasterization

    arguments = {**scene._asdict(), **asdict(options)}
    del arguments["threads"]
    if "RGB" not in options.render_mode:
        arguments["backgrounds"] = None
    renders, alphas, meta = rasterization(packed=False, **arguments)
    return renders, alphas, meta
