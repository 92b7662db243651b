"""What digital humans cost: seconds to make and light one, milliseconds a view, one thread.

    python -m benchmarks.heads

What it said on 2026-11-24 for 12 people, on one of two virtual Zen 3 cores, the other one busy:
1.2 s to make a head for 256 px (at most 1.7), 80 ms a view (at most 106); 1.9 s, 290 ms at 512 px.

CPU time, so that a busy machine disturbs little; hair as dense as in a dataset of that size.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.cameras import orbit
from pipeline.digital_human import build_head, sample_appearance, sample_identity
from pipeline.digital_human.sequence import hair_quality

SIZES_PX = (128, 256, 512)
CAMERAS = orbit(4)


def main() -> None:
    """Measure and print one row a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--samples", type=int, default=3)
    options = parser.parse_args()
    measure(0, 64, options.samples)  # compiles the kernels
    print(f"{options.people} people, {options.samples} x {options.samples} samples a pixel")
    print(f"{'size':>8}{'make (mean)':>14}{'(max)':>10}{'view (mean)':>14}{'(max)':>10}")
    for size_px in SIZES_PX:
        costs = [measure(seed, size_px, options.samples) for seed in range(options.people)]
        make_s, view_s = np.array(costs).T
        print(
            f"{size_px:>5} px{make_s.mean():>12.2f} s{make_s.max():>8.2f} s"
            f"{1e3 * view_s.mean():>11.0f} ms{1e3 * view_s.max():>7.0f} ms"
        )


def measure(seed: int, size_px: int, samples: int) -> tuple[float, float]:
    """CPU seconds to make a person's head, and to render one view of it."""
    identity = sample_identity(seed)
    appearance = sample_appearance(identity, 0)
    scene, make_s = timed(lambda: build_head(identity, appearance, hair_quality(size_px)))
    scene.render(CAMERAS[:1], size_px, samples)
    _, views_s = timed(lambda: scene.render(CAMERAS, size_px, samples))
    return make_s, views_s / len(CAMERAS)


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """The result and the CPU seconds of a call."""
    started = time.process_time()
    result = run()
    return result, time.process_time() - started


if __name__ == "__main__":
    main()
