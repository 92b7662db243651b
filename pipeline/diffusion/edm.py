"""The diffusion process: EDM with v-preconditioning and the paper's mixed noise.

Noisy latents are ``z = z0 + sigma * (noise_weight * eps + lowres_weight * j)``, the marginal form
of the paper's Eq. 2-3, where ``j`` are the latents of the enlarged low-resolution views. Read as
step-by-step recursions the equations would add ``j`` again at every step; as marginals they leave
the network's target and every ODE sampler as they are. The first stage has
``noise_weight`` 1 and ``lowres_weight`` 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class NoiseMix:
    """Shares of fresh noise and low-resolution latents in what corrupts the target (Eq. 2)."""

    noise_weight: float = 1.0
    lowres_weight: float = 0.0

    def __call__(self, noise: Tensor, lowres_latents: Tensor | None) -> Tensor:
        """Mix noise and latents of one shape, [B, F, C, h, w]."""
        mixed = self.noise_weight * noise
        return mixed if lowres_latents is None else mixed + self.lowres_weight * lowres_latents


PURE_NOISE = NoiseMix()
PAPER_MIX = NoiseMix(noise_weight=0.4, lowres_weight=0.6)


def draw_sigma(count: int, mean: float, std: float) -> Tensor:
    """Log-normal noise levels for training, [count] float32, from torch's current seed."""
    return (torch.randn(count) * std + mean).exp()


def precondition(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``c_skip, c_out, c_in, c_noise`` of v-prediction for noise levels of any shape.

    The denoised latents are ``c_skip * z + c_out * F(c_in * z, c_noise)``; the loss weight that
    belongs to it, ``(1 + sigma**2) / sigma**2``, is ``1 / c_out**2``.
    """
    variance = sigma**2 + 1
    return 1 / variance, -sigma / variance.sqrt(), 1 / variance.sqrt(), 0.25 * sigma.log()


def triangular_guidance(azimuth_deg: Tensor, portrait_azimuth_deg: Tensor, peak: float) -> Tensor:
    """Guidance for each view: 1 where the portrait was taken, ``peak`` on the far side.

    A closed orbit needs the triangle: a ramp over the frame index, as video models use it, guides
    the last view hardest although it stands next to the portrait.

    Args:
        azimuth_deg: [B, F] views.
        portrait_azimuth_deg: [B] the portrait's camera.
        peak: guidance at 180 degrees from it.

    Returns:
        [B, F].
    """
    apart = (azimuth_deg - portrait_azimuth_deg[:, None] + 180) % 360 - 180
    return 1 + (peak - 1) * apart.abs() / 180


def linear_guidance(azimuth_deg: Tensor, portrait_azimuth_deg: Tensor, peak: float) -> Tensor:
    """The video models' ramp, from 1 at the first frame of the call to ``peak`` at the last.

    Args:
        azimuth_deg: [B, F] views in the order of the call; only their number counts.
        portrait_azimuth_deg: [B], of no influence.
        peak: guidance of the last frame.

    Returns:
        [B, F].
    """
    ramp = torch.linspace(1, peak, azimuth_deg.shape[1], device=azimuth_deg.device)
    return ramp.expand_as(azimuth_deg)


GUIDANCE = {"triangular": triangular_guidance, "linear": linear_guidance}
"""The courses of the guidance over the views, by the name that a stage's folder gives."""


def frame_order(azimuth_deg: Tensor, portrait_azimuth_deg: Tensor) -> Tensor:
    """The views of a closed orbit in an order that begins with the one next to the portrait.

    Args:
        azimuth_deg: [F] in orbit order.
        portrait_azimuth_deg: [B] the portraits' cameras.

    Returns:
        [B, F] int64 indices into ``azimuth_deg``.
    """
    apart = (azimuth_deg - portrait_azimuth_deg[:, None] + 180) % 360 - 180
    frames = torch.arange(len(azimuth_deg), device=azimuth_deg.device)
    return (apart.abs().argmin(1, keepdim=True) + frames) % len(azimuth_deg)
