"""How long LGM's network takes, in float32 and in bfloat16, and then all the way to a picture.

    python -m benchmarks.network --preset big

What it measures: `reconstruct` on four views of 256 px with random weights, wall clock and CPU time
of the process, the least of some runs; the network's Gaussians go through a .ply file into one
picture of 512 px. The weights are random, so that nothing it prints says how good a network is.

bfloat16 pays where the processor multiplies it: AMX, or AVX-512 BF16. Elsewhere PyTorch imitates
it, many times slower: leave it out with ``--precisions float32``, or compare at a small
``--input-px``, which must be 32 at least for small and big. What it said: docs/log.md.
"""

import argparse
import math
import re
import resource
import time
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from pipeline.cameras import orbit
from pipeline.formats.ply import read_ply, write_ply
from pipeline.gaussians import Gaussians
from pipeline.reconstruction.lgm import LargeGaussianModel, Preset, lgm_config, reconstruct
from pipeline.rendering import render_u8

VIEWS = 4
PICTURE_PX = 512


def matrix_units() -> str:
    """What this CPU has for bfloat16, by /proc/cpuinfo."""
    flags = set(re.findall(r"\b(?:amx|avx512)_(?:bf16|tile)\b", Path("/proc/cpuinfo").read_text()))
    return ", ".join(sorted(flags)) or "neither AMX nor AVX-512 BF16"


def measure(model: LargeGaussianModel, bf16: bool, runs: int) -> tuple[float, float, Gaussians]:
    """Wall clock and CPU seconds of the fastest run, and its Gaussians."""
    size_px = int(model.config.input_px)
    views = np.random.default_rng(0).integers(0, 256, (VIEWS, size_px, size_px, 3), np.uint8)
    best = (math.inf, math.inf)
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        gaussians = reconstruct(model, views, orbit(VIEWS), bf16=bf16).to("cpu")
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu))
    return *best, gaussians


def differences(first: Gaussians, second: Gaussians) -> list[tuple[str, float]]:
    """The largest difference of each property but the rotation, which may have no direction."""
    names = ("means", "scales", "opacities", "colors")
    pairs = [(name, getattr(first, name) - getattr(second, name)) for name in names]
    return [(name, float(difference.abs().max())) for name, difference in pairs]


def picture(gaussians: Gaussians) -> str:
    """Write, read and render the Gaussians, and say what that took and gave."""
    start = time.perf_counter()
    data = write_ply(gaussians)
    again = read_ply(data)
    middle = time.perf_counter()
    image = render_u8(again, orbit(1), PICTURE_PX, threads=torch.get_num_threads())
    end = time.perf_counter()
    covered = (image < 255).any(-1).mean()
    return (
        f"{len(again)} Gaussians, {len(data) / 1e6:.1f} MB of .ply in {middle - start:.2f} s, "
        f"one picture of {PICTURE_PX} px in {end - middle:.2f} s, {covered:.0%} not white"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--preset", choices=get_args(Preset), default="big")
    parser.add_argument("--input-px", type=int)
    parser.add_argument(
        "--precisions", nargs="+", choices=("float32", "bfloat16"), default=("float32", "bfloat16")
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = lgm_config(args.preset) | ({"input_px": args.input_px} if args.input_px else {})
    model = LargeGaussianModel(**config).eval().to(args.device)
    print(f"{matrix_units()}; {args.device}, {args.threads} threads; random weights")
    print(f"{args.preset}, {VIEWS} views of {model.config.input_px} px")
    results = {}
    for precision in args.precisions:
        wall, cpu, gaussians = measure(model, precision == "bfloat16", args.runs)
        results[precision] = wall, gaussians
        print(f"{precision:9}{wall:9.2f} s  {cpu:9.2f} s of CPU", flush=True)
    if len(results) == 2:
        (slow, exact), (fast, rounded) = results["float32"], results["bfloat16"]
        print(f"bfloat16 is {slow / fast:.3g} times as fast; largest differences: ", end="")
        print(", ".join(f"{name} {value:.1e}" for name, value in differences(exact, rounded)))
    print(picture(results[args.precisions[0]][1]))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main()
