"""Colours that depend on the direction from which a Gaussian is seen."""

import math

import torch

_DEGREE_0 = math.sqrt(1 / (4 * math.pi))
_DEGREE_1 = math.sqrt(3 / (4 * math.pi))
_DEGREE_2 = math.sqrt(15 / (4 * math.pi))
_DEGREE_3 = math.sqrt(35 / (32 * math.pi))


def view_colors(
    coefficients: torch.Tensor, degree: int, means: torch.Tensor, viewmats: torch.Tensor
) -> torch.Tensor:
    """Evaluate spherical harmonics from each camera, by gsplat's convention.

    Args:
        coefficients: [N, K, 3] or [C, N, K, 3] with K at least (degree + 1)^2; more are ignored.
        degree: 0 to 3.
        means: [N, 3] world units.
        viewmats: [C, 4, 4] world to camera.

    Returns:
        [C, N, 3] colours, the sum plus 1/2, no less than zero.
    """
    centers = torch.linalg.inv(viewmats)[:, :3, 3]
    directions = torch.nn.functional.normalize(means - centers[:, None], dim=-1)
    color = torch.full_like(directions, 0.5)
    for k, weight in enumerate(_basis(degree, *directions.unbind(-1))):
        color = color + weight[..., None] * coefficients[..., k, :]
    return color.clamp(min=0)


def _basis(degree: int, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> list[torch.Tensor]:
    """The real harmonics up to ``degree`` at unit vectors, with the signs that 3DGS files use."""
    basis = [torch.full_like(x, _DEGREE_0)]
    if degree >= 1:
        basis += [-_DEGREE_1 * y, _DEGREE_1 * z, -_DEGREE_1 * x]
    if degree >= 2:
        basis += [
            _DEGREE_2 * x * y,
            -_DEGREE_2 * y * z,
            _DEGREE_2 / math.sqrt(12) * (3 * z * z - 1),
            -_DEGREE_2 * x * z,
            _DEGREE_2 / 2 * (x * x - y * y),
        ]
    if degree >= 3:
        basis += [
            -_DEGREE_3 * y * (3 * x * x - y * y),
            _DEGREE_3 * math.sqrt(24) * x * y * z,
            -_DEGREE_3 * math.sqrt(0.6) * y * (5 * z * z - 1),
            _DEGREE_3 * math.sqrt(0.4) * z * (5 * z * z - 3),
            -_DEGREE_3 * math.sqrt(0.6) * x * (5 * z * z - 1),
            _DEGREE_3 * math.sqrt(6) * z * (x * x - y * y),
            -_DEGREE_3 * x * (x * x - 3 * y * y),
        ]
    return basis
