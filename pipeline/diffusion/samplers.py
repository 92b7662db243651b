"""The samplers that a stage's folder may name, and how stochastic ones live with mixed noise.

`EulerDiscreteScheduler` is the reference. `EDMDPMSolverMultistepScheduler` has the same noise
levels and the same preconditioning and takes fewer steps for the same quality: DPM++ 2M, or with
``sde-dpmsolver++`` its stochastic form. UniPC is not here: in the few steps
that pay it ends at the same views, see docs/sampling.md.

Stochastic samplers add fresh noise of the level they stand at. In a process whose "noise" is a mix
of noise and low-resolution latents that is wrong twice: the fresh noise is too strong, and it
displaces the latents. `ShiftedProcess` gives such a sampler coordinates in which the process is an
ordinary one. Deterministic samplers take the same path in both, and need none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from diffusers import EDMDPMSolverMultistepScheduler, EulerDiscreteScheduler
from torch import Tensor

from pipeline.diffusion.edm import NoiseMix

Sampler: TypeAlias = EulerDiscreteScheduler | EDMDPMSolverMultistepScheduler
SAMPLERS = {one.__name__: one for one in (EulerDiscreteScheduler, EDMDPMSolverMultistepScheduler)}
STOCHASTIC = "sde-dpmsolver++"


def edm_scheduler(sigma_max: float, sigma_min: float = 0.02) -> EulerDiscreteScheduler:
    """Stable Video Diffusion's Euler sampler on Karras noise levels from ``sigma_max`` down."""
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_type="continuous",
        timestep_spacing="leading",
        steps_offset=1,
        use_karras_sigmas=True,
        sigma_min=sigma_min,
        sigma_max=sigma_max,
    )


def dpm_scheduler(
    sigma_max: float, sigma_min: float = 0.02, *, stochastic: bool = False
) -> EDMDPMSolverMultistepScheduler:
    """DPM++ 2M on the noise levels of `edm_scheduler`.

    Args:
        sigma_max: the first noise level.
        sigma_min: the last one before zero.
        stochastic: put back fresh noise after each step.
    """
    return EDMDPMSolverMultistepScheduler(
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        sigma_data=1.0,
        prediction_type="v_prediction",
        algorithm_type=STOCHASTIC if stochastic else "dpmsolver++",
    )


def load_sampler(folder: Path) -> Sampler:
    """Load the sampler of a stage's folder; only the classes in `SAMPLERS` can be named there.

    Raises:
        OSError: there is none, or it is of another class or of another process than EDM's.
    """
    config = EulerDiscreteScheduler.load_config(folder)
    kind = SAMPLERS.get(config.get("_class_name", ""))
    if kind is None:
        raise OSError(
            f"{folder} names the sampler {config.get('_class_name')!r}; it can be one of "
            f"{', '.join(SAMPLERS)}"
        )
    sampler: Sampler = kind.from_config(config)
    if sampler.config.prediction_type != "v_prediction" or sampler.config.get("sigma_data", 1) != 1:
        raise OSError(
            f"{folder} must have prediction_type v_prediction and, for DPM++, sigma_data 1: the "
            "preconditioning that the networks are trained with"
        )
    return sampler


def is_stochastic(sampler: Sampler) -> bool:
    """Whether the sampler adds fresh noise."""
    return bool(sampler.config.get("algorithm_type") == STOCHASTIC)


def advance(
    sampler: Sampler,
    predicted: Tensor,
    timestep: Tensor,
    sample: Tensor,
    generators: list[torch.Generator],
) -> Tensor:
    """One step of a sampler, whose fresh noise comes from each subject's own generator.

    Args:
        sampler: at ``timestep``.
        predicted: [B, F, C, h, w] v-prediction.
        timestep: of `Sampler.timesteps`.
        sample: [B, F, C, h, w] at this noise level.
        generators: B of them.

    Returns:
        [B, F, C, h, w] at the next noise level.
    """
    noise = {"generator": generators} if is_stochastic(sampler) else {}
    result: Tensor = sampler.step(predicted, timestep, sample, **noise).prev_sample
    return result


@dataclass(frozen=True)
class ShiftedProcess:
    """Mixed noise as plain noise: ``y = (z - lowres_weight * sigma * j) / noise_weight``.

    With ``z = z0 + sigma * (noise_weight * eps + lowres_weight * j)`` this is
    ``y = z0 / noise_weight + sigma * eps``: an ordinary process with the same noise levels, so that
    the sampler's own schedule stays as it is. Only what goes into the network and what comes out
    of it change coordinates.

    Attributes:
        mix: that the network was trained with.
        lowres_latents: [B, F, C, h, w], j.
    """

    mix: NoiseMix
    lowres_latents: Tensor

    def enter(self, z: Tensor, sigma: Tensor) -> Tensor:
        """From the network's coordinates to the sampler's, at one noise level."""
        return (z - self.mix.lowres_weight * sigma * self.lowres_latents) / self.mix.noise_weight

    def network_input(self, scaled: Tensor, sigma: Tensor) -> Tensor:
        """What the network takes, ``c_in * z``, from what the sampler scaled, ``c_in * y``."""
        c_in = 1 / (sigma**2 + 1).sqrt()
        lowres = self.mix.lowres_weight * sigma * c_in * self.lowres_latents
        return self.mix.noise_weight * scaled + lowres

    def prediction(self, predicted: Tensor, sigma: Tensor) -> Tensor:
        """The v-prediction of y from the network's of z; both mean the same denoised latents."""
        c_in = 1 / (sigma**2 + 1).sqrt()
        lowres = self.mix.lowres_weight * c_in * self.lowres_latents
        return (predicted - lowres) / self.mix.noise_weight

    def leave(self, y: Tensor) -> Tensor:
        """From the sampler's coordinates back, at noise level zero."""
        return y * self.mix.noise_weight
