"""Rasterise on the CPU with our own kernels, differentiably."""

from typing import Any

import torch

from pipeline.errors import BackendUnavailable
from pipeline.rasterizer.blend_function import blend
from pipeline.rasterizer.layout import CHANNELS
from pipeline.rasterizer.project_function import Projected, project
from pipeline.rasterizer.request import Options, Scene
from pipeline.rasterizer.spherical_harmonics import view_colors


def rasterize_cpu(
    scene: Scene, options: Options
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """Render checked inputs; see `pipeline.rasterizer.rasterize`.

    Raises:
        BackendUnavailable: absolute gradients of more channels than are blended at once.
    """
    batch = scene.means.shape[:-2]
    scenes = [Scene(*parts) for parts in zip(*(_apart(t, batch) for t in scene), strict=True)]
    projected = [project(one, options) for one in scenes]
    means2d = _join([p.means2d for p in projected], batch)
    absgrad = torch.zeros_like(means2d) if options.absgrad else None
    on_screen = zip(_apart(means2d, batch), _apart(absgrad, batch), strict=True)
    rendered = [
        _render(one, p._replace(means2d=positions), absolute, options)
        for one, p, (positions, absolute) in zip(scenes, projected, on_screen, strict=True)
    ]
    if absgrad is not None:
        means2d.absgrad = absgrad  # type: ignore[attr-defined]
    meta = {
        "means2d": means2d,
        "radii": _join([p.radii for p in projected], batch),
        "width": options.width,
        "height": options.height,
        "n_cameras": scene.viewmats.shape[-3],
    }
    return _join([r[0] for r in rendered], batch), _join([r[1] for r in rendered], batch), meta


def _apart(tensor: torch.Tensor | None, batch: torch.Size) -> list[Any]:
    """The scenes of a batch; ``tensor`` itself where there is no batch."""
    if tensor is None:
        return [None] * batch.numel()
    return list(tensor.flatten(0, len(batch) - 1).unbind()) if batch else [tensor]


def _join(scenes: list[torch.Tensor], batch: torch.Size) -> torch.Tensor:
    return torch.stack(scenes).reshape(*batch, *scenes[0].shape) if batch else scenes[0]


def _render(
    scene: Scene, projected: Projected, absgrad: torch.Tensor | None, options: Options
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend one scene in passes of four channels."""
    channels, behind = _channels(scene, projected.depths, options)
    count = sum(c.shape[-1] for c in channels)
    if absgrad is not None and count > CHANNELS:
        raise BackendUnavailable(
            f"absgrad with {count} channels, depth included: the CPU kernels sum absolute "
            f"gradients over {CHANNELS} at most. Render the other channels in a second call."
        )
    passes = [
        blend(projected, *parts, absgrad, options)
        for parts in zip(_in_passes(channels), _in_passes(behind), strict=True)
    ]
    image = torch.cat([p[0] for p in passes], -1) if len(passes) > 1 else passes[0][0]
    alpha = passes[0][1]
    if image.shape[-1] > count:
        image = image[..., :count]
    if "ED" not in options.render_mode:
        return image, alpha
    depth = image[..., count - 1 : count] / alpha.clamp(min=1e-10)
    return torch.cat([image[..., : count - 1], depth], -1), alpha


def _in_passes(parts: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """``parts`` side by side in the last axis, cut to three or four each; filled up with zeros."""
    count = sum(p.shape[-1] for p in parts)
    passes = -(-count // CHANNELS)
    sizes = [max(3, count // passes + (i < count % passes)) for i in range(passes)]
    missing = sum(sizes) - count
    if missing:
        parts = [*parts, parts[0].new_zeros(*parts[0].shape[:-1], missing)]
    return torch.split(torch.cat(parts, -1) if len(parts) > 1 else parts[0], sizes, -1)


def _channels(
    scene: Scene, depths: torch.Tensor, options: Options
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """What is rendered, [C, N, X] in parts, and what is behind it, [C, X] in parts."""
    shown, behind, views = [], [], len(depths)
    if "RGB" in options.render_mode:
        colors = scene.colors
        if options.sh_degree is not None:
            colors = view_colors(colors, options.sh_degree, scene.means, scene.viewmats)
        shown.append(colors.expand(views, -1, -1))
        empty = colors.new_zeros(views, colors.shape[-1])
        behind.append(empty if scene.backgrounds is None else scene.backgrounds)
    if options.render_mode != "RGB":
        shown.append(depths[..., None])
        behind.append(depths.new_zeros(views, 1))
    return shown, behind
