"""Which sampler gives the best views for its time, on held-out digital humans.

    python -m benchmarks.samplers heads/ --subjects 20

What it measures: for each stage of a model and each course of noise levels, sampler, number of
steps and guidance, the PSNR of the generated orbit against the true one (mean over views, then over
people), and the CPU time of the process for one person, everything included. The second stage
starts from what the first one makes with the model's own settings. Colours are not matched to the
portrait's afterwards, as the product does. What it said: docs/log.md.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.diffusion.loading import load_pipeline, load_vae
from pipeline.diffusion.pipeline import OrbitPipeline, Portraits
from pipeline.diffusion.samplers import Sampler, dpm_scheduler, edm_scheduler
from pipeline.digital_human.dataset import HeadDataset
from pipeline.evaluation.subjects import Subject, held_out_subjects
from pipeline.images import resize, to_signed
from pipeline.model_config import ModelConfig
from pipeline.model_folder import EMBEDDED
from pipeline.portrait.alpha import on_white
from pipeline.portrait.faces import FaceEmbedder

Setting = tuple[str, float, float, int, float]
"""Sampler, highest and lowest sigma, steps and guidance."""
REFERENCE_STEPS, REFERENCE_SIGMA_MIN = 25, 0.02
"""The video model's way, Euler to the end in 25 steps, which every row can be held against."""


def samplers(sigma_max: float, sigma_min: float) -> dict[str, Sampler]:
    """The samplers compared, on one range of noise levels."""
    return {
        "euler": edm_scheduler(sigma_max, sigma_min),
        "dpm++": dpm_scheduler(sigma_max, sigma_min),
        "sde": dpm_scheduler(sigma_max, sigma_min, stochastic=True),
    }


def settings(
    stage: OrbitPipeline, steps: Sequence[int], guidances: Sequence[float]
) -> list[Setting]:
    """What is tried with a stage; one step ends alike with every sampler and lowest sigma."""
    config = stage.scheduler.config
    highest, lowest = config.sigma_max, config.sigma_min
    ranges = dict.fromkeys([(highest, lowest), (highest, 0.5), (highest / 4, lowest / 4)])
    reference: Setting = ("euler", highest, REFERENCE_SIGMA_MIN, REFERENCE_STEPS, 1.0)
    return [reference] + [
        (name, top, bottom, count, guidance)
        for top, bottom in ranges
        for name in ("euler", "dpm++", "sde")
        for count in steps
        for guidance in guidances
        if count > 1 or (name == "euler" and bottom != 0.5)
    ]


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


def compare(
    stage: OrbitPipeline,
    subjects: Sequence[Subject],
    people: Sequence[Portraits],
    lowres: Sequence[Tensor] | None,
    tried: Sequence[Setting],
) -> None:
    """Print a row for each setting."""
    azimuths_deg = torch.from_numpy(subjects[0].azimuths_deg)
    print("| sampler | sigma | steps | guidance | PSNR dB | CPU s |\n|---|---|---|---|---|---|")
    for name, top, bottom, steps, guidance in tried:
        stage.register_modules(scheduler=samplers(top, bottom)[name])
        orbits, seconds = generate(stage, people, azimuths_deg, steps, guidance, lowres)
        quality = np.mean([psnr_db(o, s) for o, s in zip(orbits, subjects, strict=True)])
        print(
            f"| {name} | {top:g}..{bottom:g} | {steps} | {guidance:g} | {quality:.2f} | "
            f"{seconds:.2f} |",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--steps", type=int, nargs="+", default=(1, 2, 3, 4, 8))
    parser.add_argument("--guidance", type=float, nargs="+", default=(1.0,))
    parser.add_argument("--condition", choices=("front", "photo"), default="photo")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config, vae = ModelConfig.load(args.model), load_vae(args.model)
    dataset = HeadDataset(args.data, "test")
    subjects = list(held_out_subjects(dataset, args.subjects, args.condition))
    lowres: list[Tensor] | None = None
    for folder in ("lowres", "highres"):
        stage = load_pipeline(args.model, folder, "cpu", vae)
        own = getattr(config, folder)
        people = portraits(subjects, args.model, own.size_px)
        print(f"\n{folder}, {own.size_px} px, {len(subjects)} people, {args.threads} threads")
        azimuths_deg = torch.from_numpy(subjects[0].azimuths_deg)
        made, _ = generate(stage, people, azimuths_deg, own.steps, own.guidance, lowres)
        compare(stage, subjects, people, lowres, settings(stage, args.steps, args.guidance))
        lowres = made


if __name__ == "__main__":
    main()
