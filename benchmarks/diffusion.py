"""Our denoising beside stock diffusers', on the same weights, noise and steps, in alternation.

    python -m benchmarks.diffusion --network highres
    python -m benchmarks.diffusion --network lowres --steps 2 --stock-steps 25

What it measures: CPU time of the process, median and range of some runs, for what
`StableVideoDiffusionPipeline` does at each step with its own U-Net and scheduler (latents doubled
where there is guidance, condition latents and tokens given anew) and for ours. ``lowres`` and
``highres`` are the networks of the embedded model, without guidance, as they ship; ``random`` has
Stable Video Diffusion's structure at a smaller width and random weights, with guidance at every
step. Latents are noise: nothing printed says how good they are, but both must end at the same ones.
With ``--guided-steps``, ours is also timed with guidance in so many of the steps, and with
``--stock-steps`` the stock loop takes more steps than ours: then results differ. Our networks know
azimuths besides, which are given to both. What it said: docs/sampling.md.
"""

import argparse
import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pipeline.diffusion.conditions import Conditions
from pipeline.diffusion.cpu_blocks import suit_cpu
from pipeline.diffusion.denoiser import Denoiser
from pipeline.diffusion.samplers import edm_scheduler
from pipeline.diffusion.unet import OrbitUNet
from pipeline.model_folder import EMBEDDED

VIEWS = 16
AZIMUTHS_DEG = torch.arange(VIEWS)[None] * 360.0 / VIEWS


def load_unet(network: str, width: int, latent_px: int) -> OrbitUNet:
    """A network of the embedded model, or Stable Video Diffusion's structure at another width."""
    if network != "random":
        return OrbitUNet.from_pretrained(EMBEDDED / network / "unet").eval()
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
    guides = bool((scale > 1).any())
    given = conditions.unconditional().joined(conditions) if guides else conditions
    copies = len(given.latents)
    image_latents = given.latents[:, None].repeat(1, VIEWS, 1, 1, 1)
    latents = start * float(scheduler.init_noise_sigma)
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(torch.cat([latents] * copies), timestep)
        predicted = unet(
            torch.cat([scaled, image_latents], 2),
            timestep,
            given.tokens,
            given.time_ids,
            AZIMUTHS_DEG.expand(copies, -1),
        )
        if guides:
            without, conditioned = predicted.chunk(2)
            predicted = without + scale[..., None, None, None] * (conditioned - without)
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
    denoise = Denoiser(unet, conditions, AZIMUTHS_DEG, scale, interval)
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
    parser.add_argument("--network", choices=("lowres", "highres", "random"), default="random")
    parser.add_argument("--width", type=int, default=64, help="of the random network")
    parser.add_argument("--latent-px", type=int, default=24, help="of the random network")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--stock-steps", type=int, help="by default as many as ours")
    parser.add_argument("--guided-steps", type=int)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    plain = load_unet(args.network, args.width, args.latent_px)
    fast = copy.deepcopy(plain)
    suit_cpu(fast)
    config, guidance = plain.config, 2.5 if args.network == "random" else 1.0
    shape = config.out_channels, config.sample_size, config.sample_size
    conditions = Conditions(
        torch.randn(1, 2, config.cross_attention_dim), torch.randn(1, *shape), torch.rand(1, 3)
    )
    given = conditions, torch.randn(1, VIEWS, *shape), torch.linspace(1, guidance, VIEWS)[None]
    stock_steps = args.stock_steps or args.steps
    calls: dict[str, Callable[[], Tensor]] = {
        "stock": lambda: stock(plain, *given, stock_steps),
        "ours": lambda: ours(fast, *given, args.steps, args.steps),
    }
    if args.guided_steps is not None:
        calls[f"ours, guided {args.guided_steps} of {args.steps}"] = lambda: ours(
            fast, *given, args.steps, args.guided_steps
        )
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    results: dict[str, Tensor] = {}
    with torch.no_grad():
        for run in range(args.runs + 1):  # the first one warms up
            for name, call in calls.items():
                spent, results[name] = cpu_seconds(call)
                seconds[name] += [spent] if run else []
    if stock_steps == args.steps:
        torch.testing.assert_close(results["ours"], results["stock"], rtol=1e-3, atol=1e-3)
    print(
        f"{args.network}, latents of {shape[1]} px, {stock_steps} steps and {args.steps}, "
        f"{args.threads} threads, {args.runs} runs: CPU seconds, median and range"
    )
    for name, spent in seconds.items():
        ratios = np.divide(seconds["stock"], spent)
        print(
            f"{name:<24}{np.median(spent):8.3f} ({min(spent):.3f} to {max(spent):.3f})"
            f"{np.median(ratios):8.2f} x stock ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
