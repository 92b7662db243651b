"""The projection as a `torch.autograd.Function`."""

from typing import Any, NamedTuple

import numpy as np
import torch

from pipeline.rasterizer.layout import BLOCK, ELLIPSE_FIELDS, F32, VIEWS_AT_ONCE, as_array
from pipeline.rasterizer.projection import project_forward
from pipeline.rasterizer.projection_gradient import project_backward
from pipeline.rasterizer.request import Options, Scene
from pipeline.rasterizer.threads import run_ranges


class Projected(NamedTuple):
    """Gaussians on the screens of C cameras; all zero where one is not seen.

    Attributes:
        means2d: [C, N, 2] float32 positions, pixels.
        ellipses: [C, N, ELLIPSE_FIELDS] float32, see `layout`. Its positions repeat ``means2d``,
            next to what the kernels read with them, and get no gradient.
        depths: [C, N] float32 camera z, world units.
        radii: [C, N, 2] int32, pixels.
        tiles: [C, N, 4] int32 rectangles of tiles.
    """

    means2d: torch.Tensor
    ellipses: torch.Tensor
    depths: torch.Tensor
    radii: torch.Tensor
    tiles: torch.Tensor


def project(scene: Scene, options: Options) -> Projected:
    """Project the Gaussians of one scene, with gradients to all of it but colours and Ks."""
    inputs = (*scene[:4], scene.viewmats, scene.Ks)
    return Projected(*_Project.apply(*inputs, options))  # type: ignore[no-untyped-call]


class _Project(torch.autograd.Function):
    """Inputs: means, quats, scales, opacities, viewmats, Ks, options."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[torch.Tensor, ...]:
        *tensors, o = inputs
        arrays = [as_array(t) for t in tensors]
        shape = (len(arrays[4]), len(arrays[0]))
        ellipses = np.zeros((*shape, ELLIPSE_FIELDS), np.float32)
        depths = np.zeros(shape, np.float32)
        radii, tiles = np.zeros((*shape, 2), np.int32), np.zeros((*shape, 4), np.int32)
        limits = (np.float32(o.near_plane), np.float32(o.far_plane), *_blur(o))
        args = (*arrays, *_size(o), *limits, ellipses, depths, radii, tiles)
        run_ranges(project_forward, args, shape[1], o.threads)
        ctx.saved = (arrays, ellipses, radii, o)
        out = (ellipses[..., :2].copy(), ellipses, depths, radii, tiles)
        tensors = [torch.from_numpy(array) for array in out]
        ctx.mark_non_differentiable(*tensors[3:])
        return tuple(tensors)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        arrays, ellipses, radii, options = ctx.saved
        v_screen = [as_array(g) for g in grads[:3]]
        v = [np.zeros_like(array) for array in arrays[:4]]
        v_viewmats = []
        for first in range(0, len(ellipses), VIEWS_AT_ONCE):
            part = slice(first, first + VIEWS_AT_ONCE)
            of_views = [array[part] for array in (ellipses, radii, *v_screen)]
            cameras = [array[part] for array in arrays[4:]]
            v_viewmats.append(_back(arrays[:4], cameras, of_views, v, options))
        gradients = [torch.from_numpy(g) for g in (*v, np.concatenate(v_viewmats))]
        return (*gradients, None, None)


def _back(
    gaussians: list[F32], cameras: list[F32], of_views: list[Any], v: list[F32], options: Options
) -> F32:
    """Add the gradients of a few views to ``v``; return that of their viewmats, [C, 4, 4]."""
    count = len(gaussians[0])
    v_viewmats = np.zeros((-(-count // BLOCK), len(cameras[0]), 4, 4), np.float32)
    args = (*gaussians, *cameras, *_size(options), *_blur(options), *of_views, *v, v_viewmats)
    run_ranges(project_backward, args, count, options.threads, BLOCK)
    return np.asarray(v_viewmats.sum(0))


def _size(options: Options) -> tuple[np.float32, np.float32]:
    return np.float32(options.width), np.float32(options.height)


def _blur(options: Options) -> tuple[np.float32, bool]:
    return np.float32(options.eps2d), options.rasterize_mode == "antialiased"
