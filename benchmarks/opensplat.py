"""OpenSplat's CPU rasteriser, built from somebody's checkout, as something to measure against.

OpenSplat is AGPL: nothing of it is here. Its two files are compiled where they lie, with a few
lines that make the functions its ``bindings.h`` declares callable from Python. Its projection is
made of torch operations, which autograd differentiates; its rasteriser sorts by depth, and has a
backward function. Both parts are in both figures, as they are in ours.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils import cpp_extension

from benchmarks.torch_tiles import Scene
from pipeline.cameras import Cameras

FLAGS = {"-O3": ["-O3"], "native": ["-O3", "-march=native"]}
_BINDING = """
#include <torch/extension.h>
#include "bindings.h"
using torch::Tensor;

std::vector<Tensor> project(Tensor means, Tensor scales, Tensor quats, Tensor view, Tensor full,
                            float fx, float fy, float cx, float cy, unsigned size, float near) {
  auto [a, b, c, d, e] = project_gaussians_forward_tensor_cpu(
      means.size(0), means, scales, 1.f, quats, view, full, fx, fy, cx, cy, size, size, near);
  return {a, b, c, d, e};
}

std::tuple<Tensor, Tensor, uintptr_t> rasterize(int size, Tensor xys, Tensor conics, Tensor colors,
    Tensor opacities, Tensor background, Tensor cov2d, Tensor depths) {
  auto [image, left, ids] = rasterize_forward_tensor_cpu(
      size, size, xys, conics, colors, opacities, background, cov2d, depths);
  return {image, left, reinterpret_cast<uintptr_t>(ids)};
}

std::vector<Tensor> unrasterize(int size, Tensor xys, Tensor conics, Tensor colors,
    Tensor opacities, Tensor background, Tensor cov2d, Tensor depths, Tensor left, uintptr_t ids,
    Tensor v_image, Tensor v_alpha) {
  auto lists = reinterpret_cast<std::vector<int32_t> *>(ids);
  auto [v_xys, v_conics, v_colors, v_opacities] = rasterize_backward_tensor_cpu(
      size, size, xys, conics, colors, opacities, background, cov2d, depths, left, lists,
      v_image, v_alpha);
  delete[] lists;
  return {v_xys, v_conics, v_colors, v_opacities};
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("project", &project);
  m.def("rasterize", &rasterize);
  m.def("unrasterize", &unrasterize);
}
"""


def build(checkout: Path, flags: str) -> Any:
    """Compile the kernels of ``checkout`` with one of FLAGS; minutes, once.

    Returns:
        The extension module, whose build stays in the temporary folder for the next run.
    """
    folder = checkout.resolve() / "rasterizer" / "gsplat-cpu"
    kernels = folder / "gsplat_cpu.cpp"
    key = hashlib.sha256((_BINDING + str(folder)).encode() + kernels.read_bytes()).hexdigest()[:12]
    name = f"opensplat_{flags.strip('-')}_{key}"
    target = Path(tempfile.gettempdir()) / name
    target.mkdir(exist_ok=True)
    binding = target / "binding.cpp"
    if not binding.exists():
        binding.write_text(_BINDING)
    return cpp_extension.load(
        name,
        [str(kernels), str(binding)],
        extra_cflags=[*FLAGS[flags], "-w"],
        extra_include_paths=[str(folder)],
        build_directory=str(target),
    )


class _Blend(torch.autograd.Function):
    """Inputs: module, size, xys, conics, colours, opacities, background, cov2d, depths."""

    @staticmethod
    def forward(ctx: Any, module: Any, size: int, *tensors: torch.Tensor) -> Any:
        # The kernels read the numbers of a strided tensor as if it were not strided.
        whole = [t.detach().contiguous() for t in tensors]
        image, left, ctx.lists = module.rasterize(size, *whole)
        ctx.module, ctx.size = module, size
        ctx.save_for_backward(*whole, left)
        return image, 1 - left

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        inputs = (ctx.size, *ctx.saved_tensors, ctx.lists, *(g.contiguous() for g in grads))
        return None, None, *ctx.module.unrasterize(*inputs), None, None, None


def renderer(module: Any) -> Callable[[Scene, Cameras, int], tuple[torch.Tensor, torch.Tensor]]:
    """A function that renders a scene on black: images [V, S, S, 3], alphas [V, S, S, 1]."""

    def render(scene: Scene, cameras: Cameras, size_px: int) -> tuple[torch.Tensor, torch.Tensor]:
        means, quats, scales, opacities, colors = scene
        quats = torch.nn.functional.normalize(quats, dim=-1)
        images, alphas = [], []
        for matrix, K in zip(cameras.world_to_cam, cameras.intrinsics(size_px), strict=True):
            view = torch.from_numpy(matrix)
            lens = (*(float(K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))), size_px, 0.01)
            full = _projection(K, size_px) @ view
            xys, _, conics, cov2d, depths = module.project(means, scales, quats, view, full, *lens)
            channels = (colors, opacities[:, None], torch.zeros(3))
            image, alpha = _Blend.apply(  # type: ignore[no-untyped-call]
                module, size_px, xys, conics, *channels, cov2d, depths
            )
            images.append(image)
            alphas.append(alpha.reshape(size_px, size_px, 1))
        return torch.stack(images), torch.stack(alphas)

    return render


def _projection(K: Any, size_px: int, near: float = 0.01, far: float = 100.0) -> torch.Tensor:
    """The camera matrix as OpenGL would write it for the pixels of a square image."""
    scale = 2 / size_px
    return torch.tensor(
        [
            [float(K[0, 0]) * scale, 0, 0, 0],
            [0, float(K[1, 1]) * scale, 0, 0],
            [0, 0, (far + near) / (far - near), -far * near / (far - near)],
            [0, 0, 1, 0],
        ]
    )
