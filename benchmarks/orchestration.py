"""What an executor costs: how much of its time the slowest stage works, with large intermediates.

    python -m benchmarks.orchestration
    python -m benchmarks.orchestration --case fast --views-px 256 --xenna

Simulated stages sleep for a set time and hand on 16 real images, 3.1 or 12.6 MB (16 x 256 x 256 x 3
or 16 x 512 x 512 x 3 bytes). One after the other, each in a process of its own: a plain loop, Ray
Data with its defaults, hand-written actors with two items each, cosmos-xenna if asked for, and our
executor.

- efficiency: the time that the actors of the slowest stage work, by their set time, over the time
  that there is: from when the last of them got its first item to when the first of them had done
  its last.
- whole: the time that the slowest stage needs for all items if its actors never wait, over the time
  from its first call to the end of its last. Actors that get ready late, and filling and emptying
  the pipeline, are in it; a perfect executor reaches the number in the column "at best".
- first: seconds from the start of the process, with its imports and that of Ray, to the end of the
  first item's last stage.
- wall: seconds from the start of the process to its end.

``--xenna`` installs cosmos-xenna 0.3.0 into an environment of its own below ``--cache``, which is
kept. What it said: docs/scale.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.executors import EXECUTORS
from benchmarks.simulated import Call, Case, read_calls

CASES = {
    "slow": ((0.2, 0.6, 0.4), (1, 3, 2), 160),
    "fast": ((0.02, 0.06, 0.04), (1, 1, 1), 600),
}
"""Seconds a call, actors, items."""
SEQUENTIAL_ITEMS = 20
TIMEOUT_S = 600
XENNA = ("cosmos-xenna==0.3.0", "ray==2.60.0", "numpy", "tqdm")
XENNA_WANTS = {
    "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",
    "RAY_MAX_LIMIT_FROM_API_SERVER": "40000",
    "RAY_MAX_LIMIT_FROM_DATA_SOURCE": "40000",
}
"""What it sets where it starts Ray itself, with as many CPUs as the machine has."""
COLUMNS = ("executor", "stages", "MB", "items", "efficiency", "whole", "at best", "first", "wall")


def main() -> None:
    """Run the cases and print one row a case and executor."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=[*CASES, "all"], default="all")
    parser.add_argument("--views-px", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--executors", nargs="+", choices=list(EXECUTORS), default=list(EXECUTORS))
    parser.add_argument("--items", type=int, help="fewer or more than usual")
    parser.add_argument("--xenna", action="store_true", help="compare with cosmos-xenna as well")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir(), "headsplat-bench")
    )
    options = parser.parse_args()
    pythons = dict.fromkeys(options.executors, sys.executable)
    if "xenna" in pythons and not options.xenna:
        del pythons["xenna"]
        print("cosmos-xenna is left out; --xenna installs and runs it\n")
    elif options.xenna:
        pythons["xenna"] = str(xenna_python(options.cache))
    print(_line(COLUMNS) + "\n" + _line(["---"] * 2 + ["---:"] * 7))
    for name in CASES if options.case == "all" else [options.case]:
        costs_s, actors, items = CASES[name]
        for views_px in options.views_px:
            for executor, python in pythons.items():
                count = options.items or items
                count = min(count, SEQUENTIAL_ITEMS) if executor == "sequential" else count
                case = Case(costs_s=costs_s, actors=actors, views_px=views_px, items=count, log="")
                try:
                    print(_line(measure(executor, python, case)), flush=True)
                except RuntimeError as error:  # the others are still worth comparing
                    print(error, file=sys.stderr)
                    print(_line([executor, "failed", *[""] * 7]), flush=True)


def measure(executor: str, python: str, case: Case) -> list[str]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as log:
        case = Case(**{**case.as_dict(), "log": log})
        started_s = time.monotonic()
        run_process(executor, python, case)
        wall_s = time.monotonic() - started_s
        calls = read_calls(log)
    stages = range(len(case.costs_s))
    assert all(sum(call.stage == stage for call in calls) == case.items for stage in stages), (
        f"{executor} did not run every stage once an item"
    )
    slowest = [call for call in calls if call.stage == case.bottleneck]
    span_s = max(call.ended_s for call in slowest) - slowest[0].started_s
    first_s = min(call.ended_s for call in calls if call.stage == stages[-1]) - started_s
    ramp_s = case.costs_s[case.bottleneck] * (1 - 1 / case.actors[case.bottleneck])
    milliseconds = "/".join(f"{1000 * cost:g}" for cost in case.costs_s)
    return [
        executor,
        f"{milliseconds} ms, {'/'.join(map(str, case.actors))}",
        f"{case.payload_mb:.1f}",
        str(case.items),
        f"{busy_share(case, slowest):.3f}",
        f"{case.ideal_s / span_s:.3f}",
        f"{case.ideal_s / (case.ideal_s + ramp_s):.3f}" if executor != "sequential" else "",
        f"{first_s:.1f} s",
        f"{wall_s:.1f} s",
    ]


def busy_share(case: Case, calls: Sequence[Call]) -> float:
    """The share of their time that the slowest stage's actors work while all of them could."""
    own: dict[int, list[Call]] = {}
    for call in calls:
        own.setdefault(call.process, []).append(call)
    begins = max(some[0].started_s for some in own.values())
    ends = min(some[-1].ended_s for some in own.values())
    cost_s = case.costs_s[case.bottleneck]
    busy_s = sum(
        max(0.0, min(call.started_s + cost_s, ends) - max(call.started_s, begins)) for call in calls
    )
    return busy_s / (case.actors[case.bottleneck] * (ends - begins))


def run_process(executor: str, python: str, case: Case) -> None:
    """Run one executor to its end; what it prints is shown if it fails."""
    command = [python, "-m", "benchmarks.executors", executor, json.dumps(case.as_dict())]
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        **XENNA_WANTS,
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{executor} failed:\n{done.stdout}\n{done.stderr}")


def xenna_python(cache: Path) -> Path:
    """The interpreter of an environment with cosmos-xenna, made on first use."""
    folder = cache / "xenna"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *XENNA], check=True)
        (folder / "installed").touch()
    return python


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
