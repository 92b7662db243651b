"""Our denoising and decoding beside stock diffusers', on the same weights, noise and steps.

    python -m benchmarks.diffusion --width 64 --latent-px 24

What it measures: CPU time of the process, the least of some runs, for what
`StableVideoDiffusionPipeline` does at each step with its own U-Net and scheduler (latents doubled
for guidance, condition latents and tokens given anew) and for ours, with guidance at every step.
The networks have Stable Video Diffusion's structure at a smaller width and random weights: nothing
printed says how good they are. The latents must agree. With ``--guided-steps``, ours is
also timed with guidance in so many of the steps, which changes the result. What it said:
docs/log.md.
"""

import argparse
import copy
import time
from collections.abc import Callable

import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import Tensor

from pipeline.diffusion.conditions import Conditions
from pipeline.diffusion.denoiser import Denoiser
from pipeline.diffusion.fast_unet import suit_cpu
from pipeline.diffusion.samplers import edm_scheduler
from pipeline.diffusion.unet import OrbitUNet

VIEWS = 16


def build_unet(width: int, latent_px: int) -> OrbitUNet:
    """Stable Video Diffusion's structure at another width, told nothing of azimuths."""
    return OrbitUNet(
        azimuth_embedding=False,
        azimuth_index=False,
        sample_size=latent_px,
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        num_attention_heads=tuple(max(1, width * k // 64) for k in (1, 2, 4, 4)),
    ).eval()


def stock(
    unet: OrbitUNet, conditions: Conditions, start: Tensor, scale: Tensor, steps: int
) -> Tensor:
    """The loop of the stock pipeline, for one subject."""
    scheduler = edm_scheduler(700.0, 0.002)
    scheduler.set_timesteps(steps)
    both = conditions.unconditional().joined(conditions)
    image_latents = both.latents[:, None].repeat(1, VIEWS, 1, 1, 1)
    latents = start * float(scheduler.init_noise_sigma)
    for timestep in scheduler.timesteps:
        doubled = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
        predicted = UNetSpatioTemporalConditionModel.forward(
            unet,
            torch.cat([doubled, image_latents], 2),
            timestep,
            both.tokens,
            both.time_ids,
            return_dict=False,
        )[0]
        without, given = predicted.chunk(2)
        predicted = without + scale[..., None, None, None] * (given - without)
        latents = scheduler.step(predicted, timestep, latents).prev_sample
    return latents


def ours(
    unet: OrbitUNet,
    conditions: Conditions,
    start: Tensor,
    scale: Tensor,
    steps: int,
    guided_steps: int,
) -> Tensor:
    """Our loop, with guidance in the last ``guided_steps``."""
    scheduler = edm_scheduler(700.0, 0.002)
    scheduler.set_timesteps(steps)
    interval = (0.0, float(scheduler.sigmas[steps - guided_steps])) if guided_steps else None
    views = torch.arange(VIEWS)[None] * 22.5
    denoise = Denoiser(unet, conditions, views, scale, interval)
    latents = start * float(scheduler.init_noise_sigma)
    for step, timestep in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(latents, timestep)
        predicted = denoise(scaled, timestep, float(scheduler.sigmas[step]))
        latents = scheduler.step(predicted, timestep, latents).prev_sample
    return latents


def cpu_seconds(call: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """CPU time of a call and its result."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--latent-px", type=int, default=24)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--guided-steps", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    plain = build_unet(args.width, args.latent_px)
    fast = copy.deepcopy(plain)
    suit_cpu(fast)
    side = args.latent_px
    conditions = Conditions(
        torch.randn(1, 2, 1024), torch.randn(1, 4, side, side), torch.rand(1, 3)
    )
    start, scale = torch.randn(1, VIEWS, 4, side, side), torch.linspace(1, 2.5, VIEWS)[None]
    given = conditions, start, scale, args.steps
    calls: dict[str, Callable[[], Tensor]] = {
        "stock": lambda: stock(plain, *given),
        "ours": lambda: ours(fast, *given, args.steps),
        f"ours, guided {args.guided_steps} of {args.steps}": lambda: ours(
            fast, *given, args.guided_steps
        ),
    }
    seconds: dict[str, float] = {}
    results: dict[str, Tensor] = {}
    with torch.no_grad():
        for _ in range(args.runs):
            for name, call in calls.items():
                spent, results[name] = cpu_seconds(call)
                seconds[name] = min(spent, seconds.get(name, spent))
    torch.testing.assert_close(results["ours"], results["stock"], rtol=1e-3, atol=1e-3)
    print(f"width {args.width}, latents of {side} px, {args.steps} steps, {args.threads} threads")
    for name, spent in seconds.items():
        print(f"{name:<24}{spent:8.2f} s of CPU  {seconds['stock'] / spent:.2f} x stock")


if __name__ == "__main__":
    main()
