"""The batch job against the loop: throughput of the real embedded pipeline, and memory.

    python -m benchmarks.batch speed --photos 64
    python -m benchmarks.batch memory --photos 64 1000

Photos: the demo's portraits, each time turned a little, lighter or darker and encoded anew, so that
no two have the same content. Every command is a process of its own.

``speed`` runs ``headsplat make`` and ``headsplat generate`` on the same photos with the embedded
model and compares what they wrote, byte for byte. *wall* is the whole command; *steady* leaves out
the first and the last tenth of the avatars, and so start-up and the pipeline's emptying.

``memory`` runs ``generate`` with stages that only carry data, 12.6 MB a row as in the paper preset,
because a thousand photos through the real ones take hours here. Memory is PSS, which counts shared
pages once, summed over the driver, Ray and all workers every half second, by ``speed`` every three
seconds; the object store is in it.

What it said: docs/scale.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, ImageEnhance

from jobs.demo import demo_photos
from pipeline.avatar_folder import RECORD

ROOT = Path(__file__).parents[1]
_POLL_S = 0.2


@dataclass(frozen=True)
class Usage:
    """What a command took.

    Attributes:
        wall_s: from its start to its end.
        peak_mb: most PSS of all its processes together, MB of 1e6 bytes.
        driver_mb: most PSS of the process that was started.
    """

    wall_s: float
    peak_mb: float
    driver_mb: float


def write_photos(folder: Path, count: int) -> None:
    """Write ``count`` photos of the demo's people, no two alike."""
    folder.mkdir()
    originals = [Image.open(path).convert("RGB") for path in demo_photos()]
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = originals[number % len(originals)]
        photo = photo.rotate(rng.uniform(-3, 3), Image.Resampling.BILINEAR)
        photo = ImageEnhance.Brightness(photo).enhance(rng.uniform(0.85, 1.15))
        photo.save(folder / f"{number:05}.jpg", quality=int(rng.integers(88, 96)))


def run(command: list[str], sample_s: float) -> Usage:
    """Run a command to its end and look at its memory every ``sample_s`` seconds.

    Raises:
        RuntimeError: it failed.
    """
    environment = {
        "RAY_AUTH_MODE": "disabled",
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    started_s = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        job = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        family = psutil.Process(job.pid)
        peak = driver = 0
        sampled_s = started_s
        while job.poll() is None:
            time.sleep(_POLL_S)
            if time.monotonic() - sampled_s > sample_s:
                driver_now = _pss(family)
                peak = max(peak, driver_now + sum(map(_pss, _children(family))))
                driver = max(driver, driver_now)
                sampled_s = time.monotonic()
        wall_s = time.monotonic() - started_s
        log.seek(0)
        if job.returncode:
            raise RuntimeError(f"{' '.join(command)}:\n{log.read()[-3000:]}")
    return Usage(wall_s, peak / 1e6, driver / 1e6)


def speed(photos: int, loop_photos: int, folder: Path) -> None:
    """Print a row for the loop and one for the batch job."""
    write_photos(folder / "photos", photos)
    some = folder / "some.txt"
    names = sorted(str(path) for path in (folder / "photos").iterdir())
    some.write_text("\n".join(names[:loop_photos]))
    headsplat = [sys.executable, "-m", "jobs.cli"]
    here, on_ray = folder / "make", folder / "generate"
    commands = {
        here: [*headsplat, "make", str(some), "-o", str(here)],
        on_ray: [*headsplat, "generate", str(folder / "photos"), str(on_ray)],
    }
    print("| command | photos | wall | steady | times the loop | peak memory | the driver's |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    first: tuple[float, float] | None = None
    for out, command in commands.items():
        usage = run(command, sample_s=3.0)
        rate = steady_per_s(out)
        count = loop_photos if out == here else photos
        first = first or (count / usage.wall_s, rate)
        print(
            f"| {out.name} | {count} | {usage.wall_s:.1f} s | {rate:.3f} avatars/s "
            f"| {count / usage.wall_s / first[0]:.2f} wall, {rate / first[1]:.2f} steady "
            f"| {usage.peak_mb:.0f} MB | {usage.driver_mb:.0f} MB |",
            flush=True,
        )
    both, of_loop = artefacts(on_ray), artefacts(here)
    same = sum(both.get(name) == content for name, content in of_loop.items())
    print(f"\n{same} of the loop's {len(of_loop)} .ply and .json files are the same bytes")


def memory(photos: list[int], folder: Path) -> None:
    """Print a row for each number of photos."""
    print("| photos | peak memory | the driver's | wall |\n| ---: | ---: | ---: | ---: |")
    for count in photos:
        source, out = folder / f"photos-{count}", folder / f"out-{count}"
        write_photos(source, count)
        command = [sys.executable, "-m", "benchmarks.payload_graph", "generate"]
        usage = run([*command, str(source), str(out)], sample_s=0.5)
        print(
            f"| {count} | {usage.peak_mb:.0f} MB | {usage.driver_mb:.0f} MB "
            f"| {usage.wall_s:.0f} s |",
            flush=True,
        )


def steady_per_s(out: Path) -> float:
    """Avatars per second between the first and the last tenth, by their records' times."""
    times = sorted(path.stat().st_mtime for path in out.glob(f"*/{RECORD}"))
    edge = len(times) // 10
    return (len(times) - 1 - 2 * edge) / (times[-1 - edge] - times[edge])


def artefacts(out: Path) -> dict[str, object]:
    """The content of all avatars' files, the records without their timings."""
    found: dict[str, object] = {}
    for path in out.glob("*/avatar.*"):
        found[str(path.relative_to(out))] = path.read_bytes()
        if path.name == RECORD:
            record = {**json.loads(path.read_text()), "timings_s": None}
            found[str(path.relative_to(out))] = record
    return found


def _pss(process: psutil.Process) -> int:
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:  # it has just ended
        return 0
    return (
        next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    )


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["speed", "memory"])
    parser.add_argument("--photos", type=int, nargs="+", default=[64])
    parser.add_argument("--loop-photos", type=int, help="fewer for make, whose pace is constant")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "speed":
            loop_photos = options.loop_photos or options.photos[0]
            speed(options.photos[0], loop_photos, Path(folder))
        else:
            memory(options.photos, Path(folder))


if __name__ == "__main__":
    main()
