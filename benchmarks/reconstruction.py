"""How well Gaussians fit the true views of people never trained on, and how long that takes.

    python -m benchmarks.reconstruction --subjects 4 --steps 0 50 100 200 400 800

What it measures: 16 true views of an orbit go in (``seen``); PSNR and SSIM are of these, and of 24
true views from between and above and below them (``unseen``), all on white, background included.
``seconds`` is wall time from views in memory to Gaussians, everything in it, with the threads of
the rasteriser; rendering of the truth and scoring are not in it. Starts: ``hull`` carves,
``network`` is the model folder's Gaussian network, if it has one; ``tuned`` tunes that network's
weights as the paper does. 0 steps is the feed-forward result. The kernels are compiled before.

``--curve FILE`` draws quality over time (needs matplotlib).
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.cameras import Cameras, look_at_origin, orbit, orbit_azimuths_deg
from pipeline.digital_human.expression import sample_appearance
from pipeline.digital_human.identity import sample_identity
from pipeline.digital_human.scene import build_head
from pipeline.evaluation.metrics import psnr, ssim
from pipeline.gaussians import Gaussians
from pipeline.model_folder import resolve_model
from pipeline.portrait.alpha import on_white
from pipeline.reconstruction.carving import gaussians_from_views
from pipeline.reconstruction.evidence import Evidence
from pipeline.reconstruction.fit_options import FitOptions, TuneOptions
from pipeline.reconstruction.lgm import LargeGaussianModel, reconstruct
from pipeline.reconstruction.optimise import optimise_gaussians, tune_network
from pipeline.rendering import render_u8
from pipeline.stages.reconstruct import INPUT_VIEWS, NETWORK

TRUE_VIEWS_RATE = 1.5e-3
"""Of the positions: true views agree, so that Gaussians may move faster than for generated ones."""
Make = Callable[[Evidence, int, int], Gaussians]


@dataclass(frozen=True)
class Truth:
    """True views of one person: cameras and [V, H, W, 3] uint8, seen and unseen."""

    seen: Evidence
    unseen: Evidence


@dataclass(frozen=True)
class Result:
    """Of one subject, start and number of steps; dB, and SSIM from -1 to 1."""

    start: str
    steps: int
    seconds: float
    seen_db: float
    seen_ssim: float
    unseen_db: float
    unseen_ssim: float


def unseen_cameras() -> Cameras:
    """24 cameras: half way between the orbit's, and rings of four above and below."""
    between = orbit_azimuths_deg() + 180 / len(orbit_azimuths_deg())
    rings = np.arange(4) * 90.0 + 7
    azimuths_deg = np.concatenate([between, rings, rings + 45])
    return look_at_origin(azimuths_deg, [0.0] * 16 + [12.0] * 4 + [-8.0] * 4)


def truths(subjects: int, size_px: int) -> Iterator[Truth]:
    """Held-out people: identities whose number ends in 9."""
    for number in range(subjects):
        identity = sample_identity(10 * number + 9)
        head = build_head(identity, sample_appearance(identity, 0))
        seen, unseen = (
            Evidence(views=on_white(head.render(cameras, size_px, 3)), cameras=cameras)
            for cameras in (orbit(), unseen_cameras())
        )
        yield Truth(seen, unseen)


def makers(model: Path, threads: int) -> dict[str, Make]:
    """What turns views into Gaussians, by name."""

    def fit(start: Gaussians, evidence: Evidence, steps: int, seed: int) -> Gaussians:
        if not steps:
            return start
        options = FitOptions(steps=steps, patience=0, means_rate=TRUE_VIEWS_RATE)
        (fitted,) = optimise_gaussians(
            [start], [evidence], options=options, seeds=[seed], threads=threads
        )
        return fitted.gaussians

    def from_hull(evidence: Evidence, steps: int, seed: int) -> Gaussians:
        start = gaussians_from_views(evidence.views, evidence.cameras, seed=seed)
        return fit(start, evidence, steps, seed)

    if not (model / NETWORK).exists():
        return {"hull": from_hull}
    network = LargeGaussianModel.from_pretrained(model / NETWORK).float().eval()
    views = list(range(0, len(orbit()), len(orbit()) // INPUT_VIEWS))

    def from_network(evidence: Evidence, steps: int, seed: int) -> Gaussians:
        start = reconstruct(network, evidence.views[views], evidence.cameras[views])
        return fit(start, evidence, steps, seed)

    def tuned(evidence: Evidence, steps: int, seed: int) -> Gaussians:
        options = TuneOptions(steps=max(steps, 1))
        return tune_network(
            network, views, evidence, options=options, seed=seed, threads=threads
        ).gaussians

    return {"hull": from_hull, "network": from_network, "tuned": tuned}


def measure(name: str, make: Make, truth: Truth, steps: int) -> Result:
    """Make one head, take the time, and score it."""
    started = time.perf_counter()
    gaussians = make(truth.seen, steps, 0)
    seconds = time.perf_counter() - started
    seen, unseen = (_scores(gaussians, one) for one in (truth.seen, truth.unseen))
    return Result(name, steps, seconds, *seen, *unseen)


def _scores(gaussians: Gaussians, truth: Evidence) -> tuple[float, float]:
    shown = render_u8(gaussians, truth.cameras, truth.views.shape[1])
    pairs = list(zip(shown, truth.views, strict=True))
    scores = ([metric(*pair) for pair in pairs] for metric in (psnr, ssim))
    decibels, similarity = (float(np.mean(values)) for values in scores)
    return decibels, similarity


def table(results: list[Result]) -> str:
    """Means over subjects, as Markdown."""
    lines = [
        "| start | steps | seconds | seen PSNR | seen SSIM | unseen PSNR | unseen SSIM |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, steps in dict.fromkeys((one.start, one.steps) for one in results):
        mean = _mean(results, name, steps)
        lines.append("| {} | {} | {:.1f} | {:.2f} | {:.3f} | {:.2f} | {:.3f} |".format(*mean))
    return "\n".join(lines)


def _mean(results: list[Result], name: str, steps: int) -> tuple[str | int | float, ...]:
    of_case = [one for one in results if (one.start, one.steps) == (name, steps)]
    fields = ("seconds", "seen_db", "seen_ssim", "unseen_db", "unseen_ssim")
    means = [float(np.mean([getattr(one, field) for one in of_case])) for field in fields]
    return name, steps, *means


def draw_curve(results: list[Result], path: Path) -> None:
    """PSNR over seconds, one line a start, full for seen views and dashed for unseen ones."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name in dict.fromkeys(one.start for one in results):
        cases = dict.fromkeys(one.steps for one in results if one.start == name)
        means = np.array([_mean(results, name, steps)[2:] for steps in cases], np.float64)
        (line,) = axes.plot(means[:, 0], means[:, 1], "o-", label=f"{name}, seen views")
        axes.plot(means[:, 0], means[:, 3], "o--", color=line.get_color(), label=f"{name}, unseen")
    axes.set(xlabel="seconds a head", ylabel="PSNR, dB")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure every start and number of steps, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 50, 100, 200, 400, 800])
    parser.add_argument("--starts", nargs="+", default=["hull", "network"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--curve", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    made = makers(resolve_model(args.model), args.threads)
    chosen = {name: make for name, make in made.items() if name in args.starts}
    results: list[Result] = []
    for truth in truths(args.subjects, args.size_px):
        if not results:  # compiles the kernels
            made["hull"](truth.seen, 2, 0)
        for name, make in chosen.items():
            results += [measure(name, make, truth, steps) for steps in args.steps]
    print(f"{args.subjects} people, {args.size_px} px, {args.threads} threads")
    print(table(results))
    if args.curve:
        draw_curve(results, args.curve)


if __name__ == "__main__":
    main()
