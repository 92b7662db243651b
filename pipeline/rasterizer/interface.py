"""One rasteriser for every device: gsplat's signature, our semantics checks."""

from typing import Any

import torch

from pipeline.rasterizer.request import Options, RasterizeMode, RenderMode, Scene, check
from pipeline.rasterizer.threads import default_threads


def rasterize(
    means: torch.Tensor,
    quats: torch.Tensor,
    scales: torch.Tensor,
    opacities: torch.Tensor,
    colors: torch.Tensor,
    viewmats: torch.Tensor,
    Ks: torch.Tensor,
    width: int,
    height: int,
    *,
    sh_degree: int | None = None,
    backgrounds: torch.Tensor | None = None,
    render_mode: RenderMode = "RGB",
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    rasterize_mode: RasterizeMode = "classic",
    absgrad: bool = False,
    threads: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """Render 3D Gaussians into pinhole cameras, with gradients.

    The part of ``gsplat.rasterization``'s signature that headsplat uses, dispatched on the
    device of ``means``: gsplat on CUDA, our own kernels on the CPU, same rules. Inputs
    may have leading batch dimensions ``...``, the same for all. ``Ks`` gets no gradient.

    Args:
        means: [..., N, 3] float32, world units. N may be zero.
        quats: [..., N, 4] float32 wxyz, normalised inside; no zero quaternions.
        scales: [..., N, 3] float32, standard deviations along the axes, world units.
        opacities: [..., N] float32 in [0, 1].
        colors: [..., N, D] float32, used as they are, for any D; with ``sh_degree``
            [..., N, K, 3] coefficients of spherical harmonics, K at least (sh_degree + 1)^2.
            Either may have the cameras' axis before N.
        viewmats: [..., C, 4, 4] float32 world to camera; camera axes x right, y down, z forward.
        Ks: [..., C, 3, 3] float32 camera matrices in pixels; pixel centres are at +0.5.
        width: of the images, pixels.
        height: of the images, pixels.
        sh_degree: 0 to 3, or None for plain colours.
        backgrounds: [..., C, D] float32 colours behind everything, black where left out.
        render_mode: RGB colours; D accumulated depth (camera z times weight); ED expected depth
            (divided by alpha); or colours and one of them.
        near_plane: nearer Gaussians are dropped, world units, more than 0.
        far_plane: farther Gaussians are dropped, world units.
        eps2d: added to the diagonal of the screen-space covariances, square pixels.
        rasterize_mode: ``antialiased`` dims small Gaussians by what ``eps2d`` adds to them.
        absgrad: give ``meta["means2d"]`` an attribute ``absgrad`` of its shape, which the
            backward pass fills with the sums over pixels of the absolute gradients.
        threads: CPU threads; by default OMP_NUM_THREADS, else every core. Results are
            bit-identical for any number.

    Returns:
        ``(renders [..., C, H, W, X], alphas [..., C, H, W, 1], meta)`` with X = D, 1 or D + 1.
        ``meta`` has at least ``means2d`` [..., C, N, 2] float32 in pixels, which takes
        ``retain_grad()``, ``radii`` [..., C, N, 2] int32 in pixels (zero: not seen), ``width``,
        ``height`` and ``n_cameras``.

    Raises:
        ValueError: shapes do not fit together, or an option has no such value.
        ProcessingError: an input is not finite, or a quaternion is zero.
        BackendUnavailable: CUDA tensors without compiled gsplat kernels, another device, or
            absolute gradients of more than four channels on the CPU.
    """
    scene = Scene(means, quats, scales, opacities, colors, viewmats, Ks, backgrounds)
    options = Options(
        width=width,
        height=height,
        sh_degree=sh_degree,
        render_mode=render_mode,
        near_plane=near_plane,
        far_plane=far_plane,
        eps2d=eps2d,
        rasterize_mode=rasterize_mode,
        absgrad=absgrad,
        threads=default_threads() if threads is None else threads,
    )
    check(scene, options)
    # Either backend takes a while to import, and a process needs one of them.
    if means.is_cuda:
        from pipeline.rasterizer.cuda import rasterize_cuda

        return rasterize_cuda(scene, options)
    from pipeline.rasterizer.cpu import rasterize_cpu

    return rasterize_cpu(scene, options)
