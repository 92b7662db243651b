"""The rasteriser's oracle: gsplat 1.5.3's rules on every pixel and Gaussian, plain torch, slow."""

import math

import torch
from gsplat.cuda._torch_impl import (
    _fully_fused_projection,
    _quat_scale_to_covar_preci,
    _spherical_harmonics,
)

MAX_ALPHA = 0.999
MIN_ALPHA = 1 / 255
MIN_TRANSMITTANCE = 1e-4


def rasterize_dense(
    means: torch.Tensor,
    quats: torch.Tensor,
    scales: torch.Tensor,
    opacities: torch.Tensor,
    colors: torch.Tensor,
    viewmats: torch.Tensor,
    Ks: torch.Tensor,
    width: int,
    height: int,
    backgrounds: torch.Tensor,
    *,
    antialiased: bool = False,
    sh_degree: int | None = None,
    nudges: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Colour and accumulated depth [C, H, W, D + 1] and alpha [C, H, W, 1], in the inputs' dtype.

    ``nudges`` [C, H * W, N, 2] move each Gaussian in each pixel by itself: their gradients are the
    pixels' parts of the gradient of its position on the screen.
    """
    if sh_degree is not None:
        directions = means - torch.linalg.inv(viewmats)[:, None, :3, 3]
        coefficients = colors.expand(len(viewmats), *colors.shape[-3:])
        colors = (_spherical_harmonics(sh_degree, directions, coefficients) + 0.5).clamp(min=0)
    colors = colors.expand(len(viewmats), *colors.shape[-2:])
    covariances, _ = _quat_scale_to_covar_preci(quats, scales, True, False)
    _, centers, depths, conics, compensations = _fully_fused_projection(
        means, covariances, viewmats, Ks, width, height, calc_compensations=antialiased
    )
    images, alphas = [], []
    for c in range(len(viewmats)):
        order = torch.argsort(depths[c], stable=True)
        order = order[depths[c, order] > 0.01]
        dimmed = opacities * compensations[c] if antialiased else opacities
        channels = torch.cat([colors[c], depths[c][:, None]], -1)
        positions = centers[c, order] if nudges is None else centers[c, order] + nudges[c][:, order]
        alpha = _alphas(positions, conics[c, order], dimmed[order], width, height)
        through = torch.cumprod(1 - alpha, 1)
        alpha = torch.where(through > MIN_TRANSMITTANCE, alpha, 0)
        through = torch.cumprod(1 - alpha, 1)
        before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], 1)
        behind = torch.cat([backgrounds[c], backgrounds.new_zeros(1)])
        images.append((alpha * before) @ channels[order] + through[:, -1:] * behind)
        alphas.append(1 - through[:, -1:])
    shape = (len(viewmats), height, width, -1)
    return torch.stack(images).reshape(shape), torch.stack(alphas).reshape(shape)


def _alphas(
    positions: torch.Tensor, conics: torch.Tensor, opacities: torch.Tensor, width: int, height: int
) -> torch.Tensor:
    """What every Gaussian covers of every pixel, [H * W, N], at ``positions`` [..., N, 2]."""
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([xs, ys], -1).reshape(-1, 1, 2) + 0.5
    dx, dy = (positions - pixels.to(positions)).unbind(-1)
    sigma = 0.5 * (conics[:, 0] * dx**2 + conics[:, 2] * dy**2) + conics[:, 1] * dx * dy
    alpha = (opacities * torch.exp(-sigma)).clamp(max=MAX_ALPHA)
    return torch.where((alpha < MIN_ALPHA) | (sigma < 0), 0, alpha)


def random_scene(
    count: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Float32 means, quats of any length, scales, opacities and colours of a lumpy ball."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    means = directions * (0.3 + 0.1 * torch.rand(count, 1, generator=generator))
    quats = torch.randn(count, 4, generator=generator)
    spacing = math.sqrt(4 * math.pi * 0.16 / max(count, 1))
    scales = spacing * torch.exp(0.5 * torch.randn(count, 3, generator=generator))
    opacities = torch.sigmoid(1 + 1.5 * torch.randn(count, generator=generator))
    colors = torch.rand(count, 3, generator=generator)
    return means, quats, scales, opacities, colors
