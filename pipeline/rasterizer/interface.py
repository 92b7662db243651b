"""One rasteriser for every device: gsplat's signature, our semantics checks."""

from typing import Any, Literal

import torch

from pipeline.errors import ProcessingError
from pipeline.rasterizer.threads import default_threads

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
RasterizeMode = Literal["classic", "antialiased"]


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
    backgrounds: torch.Tensor | None = None,
    render_mode: RenderMode = "RGB",
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    rasterize_mode: RasterizeMode = "classic",
    threads: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """Render 3D Gaussians into pinhole cameras, with gradients.

    The part of ``gsplat.rasterization``'s signature that headsplat uses, dispatched on the
    device of ``means``: gsplat on CUDA, our own kernels on the CPU, same rules.

    Args:
        means: [N, 3] float32, world units. N may be zero.
        quats: [N, 4] float32 wxyz, normalised inside; no zero quaternions.
        scales: [N, 3] float32, standard deviations along the axes, world units.
        opacities: [N] float32 in [0, 1].
        colors: [N, 3] float32, used as they are.
        viewmats: [C, 4, 4] float32 world to camera; camera axes x right, y down, z forward.
        Ks: [C, 3, 3] float32 camera matrices in pixels; pixel centres are at +0.5. They get no
            gradient.
        width: of the images, pixels.
        height: of the images, pixels.
        backgrounds: [C, 3] float32 colours behind everything, black where left out.
        render_mode: RGB colours; D accumulated depth (camera z times weight); ED expected depth
            (divided by alpha); or colours and one of them.
        near_plane: nearer Gaussians are dropped, world units.
        far_plane: farther Gaussians are dropped, world units.
        eps2d: added to the diagonal of the screen-space covariances, square pixels.
        rasterize_mode: ``antialiased`` dims small Gaussians by what ``eps2d`` adds to them.
        threads: CPU threads; by default OMP_NUM_THREADS, else every core. Results are
            bit-identical for any number.

    Returns:
        ``(renders [C, H, W, X], alphas [C, H, W, 1], meta)`` with X = 3, 1 or 4. ``meta`` has at
        least ``radii`` [C, N, 2] int32 in pixels (zero: not seen), ``width``, ``height`` and
        ``n_cameras``.

    Raises:
        ValueError: shapes do not fit together.
        ProcessingError: an input is not finite, or a quaternion is zero.
        BackendUnavailable: CUDA tensors without compiled gsplat kernels.
    """
    _check_shapes(means, quats, scales, opacities, colors, viewmats, Ks)
    _check_values(means, quats, scales, opacities, colors, viewmats, Ks)
    if means.is_cuda:
        from pipeline.rasterizer.cuda import rasterize_cuda

        return rasterize_cuda(
            means=means,
            quats=quats,
            scales=scales,
            opacities=opacities,
            colors=colors,
            viewmats=viewmats,
            Ks=Ks,
            width=width,
            height=height,
            backgrounds=backgrounds if "RGB" in render_mode else None,
            render_mode=render_mode,
            near_plane=near_plane,
            far_plane=far_plane,
            eps2d=eps2d,
            rasterize_mode=rasterize_mode,
        )
    from pipeline.rasterizer.cpu import Settings, rasterize_cpu

    settings = Settings(
        width=width,
        height=height,
        near=near_plane,
        far=far_plane,
        blur=eps2d,
        antialiased=rasterize_mode == "antialiased",
        threads=threads or default_threads(),
    )
    behind = torch.zeros(len(viewmats), 4)
    if backgrounds is not None:
        behind[:, :3] = backgrounds
    images, alphas, radii = rasterize_cpu(
        means, quats, scales, opacities, colors, viewmats, Ks, behind, settings
    )
    meta = {"radii": radii, "width": width, "height": height, "n_cameras": len(viewmats)}
    return _select(images, alphas, render_mode), alphas, meta


def _select(images: torch.Tensor, alphas: torch.Tensor, mode: RenderMode) -> torch.Tensor:
    """The channels of ``mode`` out of colour and accumulated depth [C, H, W, 4]."""
    color, depth = images[..., :3], images[..., 3:]
    if mode == "RGB":
        return color
    if "ED" in mode:
        depth = depth / alphas.clamp(min=1e-10)
    return torch.cat([color, depth], -1) if mode.startswith("RGB") else depth


def _check_shapes(*inputs: torch.Tensor) -> None:
    names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks")
    count, views = len(inputs[0]), len(inputs[5])
    wanted = [
        (count, 3),
        (count, 4),
        (count, 3),
        (count,),
        (count, 3),
        (views, 4, 4),
        (views, 3, 3),
    ]
    for name, tensor, shape in zip(names, inputs, wanted, strict=True):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it must be {shape}.")
    if views == 0:
        raise ValueError("viewmats has no cameras; at least one is needed.")


def _check_values(*inputs: torch.Tensor) -> None:
    """Refuse what the kernels, compiled for finite numbers, would turn into nonsense."""
    names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks")
    for name, tensor in zip(names, inputs, strict=True):
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise ProcessingError(
                f"{bad} of {tensor.numel()} numbers in {name} are NaN or infinite; "
                "the rasteriser takes finite numbers only."
            )
    zero = int((inputs[1].detach().abs().amax(-1) == 0).sum())
    if zero:
        raise ProcessingError(f"{zero} quaternions are zero; a rotation needs a direction.")
