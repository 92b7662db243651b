"""Which sampler gives the best views for its time, on held-out digital humans.

    python -m benchmarks.samplers heads/ --subjects 20

What it measures: for each stage of a model and each course of noise levels, sampler, number of
steps and guidance, the PSNR of the generated orbit against the true one (mean over views, then over
people, with its standard error), the difference to what the model ships with (mean and standard
error of each person's own difference), and the CPU time of the process for one person, everything
included. The second stage starts from what the first one makes with the model's own settings.
Colours are not matched to the portrait's afterwards, as the product does. What it said:
docs/sampling.md.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler
from torch import Tensor

from pipeline.diffusion.loading import load_pipeline, load_vae
from pipeline.diffusion.pipeline import OrbitPipeline, Portraits
from pipeline.diffusion.samplers import Sampler, dpm_scheduler, edm_scheduler
from pipeline.digital_human.dataset import HeadDataset
from pipeline.evaluation.subjects import Subject, digital_humans
from pipeline.images import resize, to_signed
from pipeline.model_config import ModelConfig
from pipeline.model_folder import EMBEDDED
from pipeline.portrait.alpha import on_white
from pipeline.portrait.faces import FaceEmbedder

REFERENCE_STEPS, REFERENCE_SIGMA_MIN = 25, 0.02
"""The video model's way, Euler to the end in 25 steps, which every row can be held against."""


@dataclass(frozen=True)
class Setting:
    """What is tried with a stage."""

    sampler: str
    sigma_max: float
    sigma_min: float
    steps: int
    guidance: float = 1.0
    interval: tuple[float, float] | None = None

    def row(self) -> str:
        """The first columns of its row."""
        guided = f"{self.guidance:g}" + (
            f" in {self.interval[0]:g}..{self.interval[1]:g}" if self.interval else ""
        )
        return (
            f"| {self.sampler} | {self.sigma_max:g}..{self.sigma_min:g} | {self.steps} | {guided} |"
        )


class EdmUniPC(UniPCMultistepScheduler):  # type: ignore[misc]
    """diffusers' UniPC at EDM's noise levels, which is exact but for what it tells the network.

    Its coordinates are those of the network's input, ``z / sqrt(1 + sigma^2)``, its v-prediction
    is EDM's, and its Karras noise levels are Euler's. Only its timesteps are whole steps of a beta
    schedule where the networks take a quarter of the logarithm of sigma.
    """

    def set_timesteps(self, num_inference_steps: int, device: str | None = None) -> None:
        """Noise levels as before, timesteps as the networks take them."""
        super().set_timesteps(num_inference_steps, device)
        self.timesteps = 0.25 * self.sigmas[:-1].log()
        self.set_begin_index(0)  # the step counter would look for whole numbers


def unipc_scheduler(sigma_max: float, sigma_min: float) -> EdmUniPC:
    """UniPC of second order on the noise levels of `edm_scheduler`."""
    return EdmUniPC(
        prediction_type="v_prediction",
        use_karras_sigmas=True,
        sigma_min=sigma_min,
        sigma_max=sigma_max,
    )


def samplers(sigma_max: float, sigma_min: float) -> dict[str, Sampler | EdmUniPC]:
    """The samplers compared, on one range of noise levels."""
    return {
        "euler": edm_scheduler(sigma_max, sigma_min),
        "dpm++": dpm_scheduler(sigma_max, sigma_min),
        "unipc": unipc_scheduler(sigma_max, sigma_min),
        "sde": dpm_scheduler(sigma_max, sigma_min, stochastic=True),
    }


def settings(
    highest: float, lowest: float, steps: Sequence[int], guidances: Sequence[float]
) -> list[Setting]:
    """What is tried with a stage; one step ends alike with every sampler and lowest sigma."""
    several = [count for count in steps if count > 1]
    tried = [Setting("euler", highest, REFERENCE_SIGMA_MIN, REFERENCE_STEPS)]
    tried += [Setting("euler", highest * factor, lowest, 1) for factor in (0.25, 0.5, 1, 2, 4)]
    tried += [
        Setting(name, highest, bottom, count)
        for bottom in (lowest, 0.5)
        for count in several
        for name in ("euler", "dpm++", "unipc", "sde")
    ]
    tried += [
        Setting("euler", highest * factor, lowest * factor, several[0]) for factor in (0.25, 0.5, 2)
    ]
    middle = (highest * lowest) ** 0.5
    for guidance in guidances:
        tried.append(Setting("euler", highest, lowest, 1, guidance))
        tried += [
            Setting("euler", highest, lowest, several[0], guidance, interval)
            for interval in (None, (0.0, middle), (middle, 2 * highest))
        ]
    return tried


def portraits(subjects: Sequence[Subject], model: Path, size_px: int) -> list[Portraits]:
    """The subjects as a stage sees them, one a batch."""
    embed = FaceEmbedder(model / "face").embed
    return [
        Portraits(
            to_signed(resize(on_white(one.portrait)[None], size_px)),
            torch.from_numpy(embed(on_white(one.portrait), one.portrait_landmarks))[None],
            torch.tensor([one.azimuth_deg]).float(),
            torch.tensor([one.elevation_deg]).float(),
        )
        for one in subjects
    ]


def psnr_db(views: Tensor, subject: Subject) -> float:
    """Mean PSNR over the orbit of views [1, F, 3, H, W] in [-1, 1]."""
    truth = to_signed(resize(subject.views, views.shape[-1]))
    error = (views[0] - truth).square().mean((1, 2, 3)) / 4
    return float((-10 * error.log10()).mean())


def generate(
    stage: OrbitPipeline,
    people: Sequence[Portraits],
    azimuths_deg: Tensor,
    steps: int,
    guidance: float,
    lowres: Sequence[Tensor] | None,
) -> tuple[list[Tensor], float]:
    """The orbits of all people, and the median CPU seconds of one."""
    orbits, seconds = [], []
    for index, person in enumerate(people):
        start = time.process_time()
        orbits.append(
            stage(
                person,
                azimuths_deg,
                steps=steps,
                guidance=guidance,
                generators=[torch.Generator().manual_seed(index)],
                lowres_views=None if lowres is None else lowres[index],
            )
        )
        seconds.append(time.process_time() - start)
    return orbits, float(np.median(seconds))


def standard_error(values: Sequence[float]) -> float:
    """Of the mean."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5)


def compare(
    stage: OrbitPipeline,
    subjects: Sequence[Subject],
    people: Sequence[Portraits],
    lowres: Sequence[Tensor] | None,
    tried: Sequence[Setting],
    shipped_db: Sequence[float],
) -> None:
    """Print a row for each setting; ``shipped_db`` is each person's with the model's own."""
    azimuths_deg = torch.from_numpy(subjects[0].azimuths_deg)
    print("| sampler | sigma | steps | guidance | PSNR dB | to the shipped, dB | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for one in tried:
        stage.register_modules(scheduler=samplers(one.sigma_max, one.sigma_min)[one.sampler])
        stage.register_to_config(guidance_interval=one.interval)
        orbits, seconds = generate(stage, people, azimuths_deg, one.steps, one.guidance, lowres)
        quality = [psnr_db(o, s) for o, s in zip(orbits, subjects, strict=True)]
        change = np.subtract(quality, shipped_db)
        print(
            f"{one.row()} {np.mean(quality):.2f} +- {standard_error(quality):.2f} | "
            f"{change.mean():+.3f} +- {standard_error(change):.3f} | {seconds:.2f} |",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--steps", type=int, nargs="+", default=(1, 2, 3, 4))
    parser.add_argument("--guidance", type=float, nargs="*", default=(1.3, 2.0))
    parser.add_argument("--stages", nargs="+", default=("lowres", "highres"))
    parser.add_argument("--condition", choices=("front", "photo"), default="photo")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config, vae = ModelConfig.load(args.model), load_vae(args.model)
    dataset = HeadDataset(args.data, "test")
    held_out = digital_humans(dataset, args.subjects, args.condition)
    subjects = [held_out.load(key) for key in held_out.keys]
    lowres: list[Tensor] | None = None
    for folder in ("lowres", "highres"):
        stage = load_pipeline(args.model, folder, "cpu", vae)
        own = getattr(config, folder)
        people = portraits(subjects, args.model, own.size_px)
        print(f"\n{folder}, {own.size_px} px, {len(subjects)} people, {args.threads} threads")
        azimuths_deg = torch.from_numpy(subjects[0].azimuths_deg)
        made, _ = generate(stage, people, azimuths_deg, own.steps, own.guidance, lowres)
        if folder in args.stages:
            noise = stage.scheduler.config
            tried = settings(noise.sigma_max, noise.sigma_min, args.steps, args.guidance)
            shipped_db = [psnr_db(o, s) for o, s in zip(made, subjects, strict=True)]
            compare(stage, subjects, people, lowres, tried, shipped_db)
        lowres = made


if __name__ == "__main__":
    main()
