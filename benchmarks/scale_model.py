"""What happens at 1,000 GPUs and 10 million photos: a discrete-event model, held against runs.

    python -m benchmarks.scale_model --runs scaling.json limit.json

The model knows rows, stages, actors and the driver. An actor takes a row from its own queue,
works on it, and tells the driver; the driver deals with one such message after the other, hands the
row on and gives the actor another one. Its parameters are few and come from the files of
`benchmarks.scaling`:

- driver seconds a task = a + b x actors, a line through the runs in which the driver was the limit;
- the gap between two rows of an actor that has more waiting;
- when the first actor is ready, and how many get ready in a second;
- 4 rows in flight an actor, which is Ray Data's number with two concurrent calls.

Memory, network and failures are not in it. It prints how far it is from each measured run, and then
what it says of larger clusters, with the arithmetic for listing, manifest and S3. docs/scale.md has
the result and what was not run.
"""

import argparse
import heapq
import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

IN_FLIGHT = 4
TASKS, ACTORS = 7, 5
"""Of the real graph: stages, and actors for each GPU, three of which share it."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What was measured.

    Attributes:
        task_s: driver seconds a task with no actors.
        task_s_per_actor: what each actor adds to that.
        gap_s: between two rows of an actor.
        first_s: until the first actor works.
        starts_per_s: actors that get ready in a second.
        in_flight: rows that an actor has been given and not finished.
    """

    task_s: float
    task_s_per_actor: float
    gap_s: float
    first_s: float
    starts_per_s: float
    in_flight: int = IN_FLIGHT

    def driver_s(self, actors: int) -> float:
        """Driver seconds a task with so many actors."""
        return self.task_s + self.task_s_per_actor * actors


@dataclass(frozen=True)
class Outcome:
    """What the model says: ``efficiency`` of the slowest stage as in `benchmarks.scaling`."""

    efficiency: float
    done_s: float
    driver_busy: float


class Simulation:
    """One run of the model.

    Args:
        costs_s: of the stages.
        actors: of the stages.
        rows: that go through.
        parameters: see `Parameters`.
    """

    def __init__(
        self, costs_s: Sequence[float], actors: Sequence[int], rows: int, parameters: Parameters
    ) -> None:
        self._costs_s, self._actors, self._rows = costs_s, actors, rows
        self._parameters = parameters
        self._driver_s = parameters.driver_s(sum(actors))
        self._events: list[tuple[float, int, str, int, int]] = []
        self._count = 0
        self._waiting = [0] * len(actors)
        self._waiting[0] = rows
        self._held = [[0] * n for n in actors]  # given, and not yet known to be done
        self._todo = [[0] * n for n in actors]  # given, and not yet begun
        self._working = [[False] * n for n in actors]
        # actors of each stage that may be given a row, the emptiest first
        self._open: list[list[tuple[int, int]]] = [[] for _ in actors]
        self._inbox: deque[tuple[int, int]] = deque()
        self._driver_busy_s, self._driver_free = 0.0, True
        self._calls: list[list[tuple[float, float]]] = []

    def run(self) -> Outcome:
        """Let the rows go through."""
        slowest = max(range(len(self._actors)), key=lambda i: self._costs_s[i] / self._actors[i])
        self._calls = [[] for _ in range(self._actors[slowest])]
        starts = [
            (i, n) for i in range(max(self._actors)) for n, a in enumerate(self._actors) if i < a
        ]
        for order, (actor, stage) in enumerate(starts):
            at_s = self._parameters.first_s + order / self._parameters.starts_per_s
            self._push(at_s, "ready", stage, actor)
        finished, now_s = 0, 0.0
        while finished < self._rows:
            now_s, _, kind, stage, actor = heapq.heappop(self._events)
            if kind == "ready":
                heapq.heappush(self._open[stage], (0, actor))
                self._hand_out(stage, now_s)
            elif kind == "worked":
                if stage == slowest:
                    self._calls[actor].append((now_s - self._costs_s[stage], now_s))
                self._working[stage][actor] = False
                self._begin(stage, actor, now_s)
                self._inbox.append((stage, actor))
                self._wake(now_s)
            else:
                finished += self._told(stage, actor, now_s)
        return self._outcome(now_s)

    def _push(self, at_s: float, kind: str, stage: int, actor: int) -> None:
        self._count += 1
        heapq.heappush(self._events, (at_s, self._count, kind, stage, actor))

    def _wake(self, now_s: float) -> None:
        if self._driver_free and self._inbox:
            self._driver_free = False
            self._driver_busy_s += self._driver_s
            self._push(now_s + self._driver_s, "told", *self._inbox.popleft())

    def _told(self, stage: int, actor: int, now_s: float) -> int:
        """The driver knows of a finished row: whether it was in the last stage."""
        self._driver_free = True
        self._held[stage][actor] -= 1
        heapq.heappush(self._open[stage], (self._held[stage][actor], actor))
        is_last = stage == len(self._actors) - 1
        if not is_last:
            self._waiting[stage + 1] += 1
            self._hand_out(stage + 1, now_s)
        self._hand_out(stage, now_s)
        if stage:
            self._hand_out(stage - 1, now_s)
        self._wake(now_s)
        return int(is_last)

    def _hand_out(self, stage: int, now_s: float) -> None:
        while self._waiting[stage] and self._open[stage] and self._has_room(stage):
            queued, actor = heapq.heappop(self._open[stage])
            if queued != self._held[stage][actor]:  # an older entry
                continue
            self._waiting[stage] -= 1
            self._held[stage][actor] += 1
            self._todo[stage][actor] += 1
            if queued + 1 < self._parameters.in_flight:
                heapq.heappush(self._open[stage], (queued + 1, actor))
            self._begin(stage, actor, now_s)

    def _has_room(self, stage: int) -> bool:
        """Ray Data stops a stage while twice what the next one holds waits for it."""
        if stage + 1 == len(self._actors):
            return True
        capacity = self._actors[stage + 1] * self._parameters.in_flight
        return self._waiting[stage + 1] < 2 * capacity

    def _begin(self, stage: int, actor: int, now_s: float) -> None:
        if self._working[stage][actor] or not self._todo[stage][actor]:
            return
        self._working[stage][actor] = True
        self._todo[stage][actor] -= 1
        self._push(now_s + self._parameters.gap_s + self._costs_s[stage], "worked", stage, actor)

    def _outcome(self, done_s: float) -> Outcome:
        calls = [own for own in self._calls if own]
        begins = max(own[0][0] for own in calls)
        ends = min(own[-1][1] for own in calls)
        busy_s = sum(
            max(0.0, min(ended, ends) - max(started, begins))
            for own in calls
            for started, ended in own
        )
        share = busy_s / (len(calls) * (ends - begins)) if ends > begins else math.nan
        return Outcome(share, done_s, self._driver_busy_s / done_s)


def fitted(runs: Sequence[dict[str, Any]]) -> Parameters:
    """The parameters from the runs of `benchmarks.scaling`."""
    limits = [run for run in runs if not run["gpu_s"]]
    others = [run for run in runs if run["gpu_s"]]
    actors = [_actors(run) for run in limits]
    slope, base = np.polyfit(actors, [run["driver_s"] for run in limits], 1)
    grown = [run for run in others if run["gpus"] > 1]
    spans_s = sum(run["last_first_s"] - run["first_s"] for run in grown)
    return Parameters(
        task_s=max(float(base), 0.0),
        task_s_per_actor=max(float(slope), 0.0),
        gap_s=min(run["gap_s"] for run in others),
        first_s=float(np.median([run["first_s"] for run in others])),
        starts_per_s=sum(run["gpus"] - 1 for run in grown) / spans_s,
    )


def validate(runs: Sequence[dict[str, Any]], parameters: Parameters) -> None:
    """Print what the model says of the runs beside what they said."""
    print("| GPUs | rows | efficiency | model | error | finished | model | error |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for run in (run for run in runs if run["gpu_s"]):
        costs_s = (run["edge_s"], run["gpu_s"], run["edge_s"])
        actors = (run["edge_actors"], run["gpus"], run["edge_actors"])
        found = Simulation(costs_s, actors, run["rows"], parameters).run()
        print(
            f"| {run['gpus']} | {run['rows']} "
            f"| {run['efficiency']:.3f} | {found.efficiency:.3f} "
            f"| {100 * (found.efficiency / run['efficiency'] - 1):+.1f} % "
            f"| {run['done_s']:.0f} s | {found.done_s:.0f} s "
            f"| {100 * (found.done_s / run['done_s'] - 1):+.0f} % |"
        )


def extrapolate(parameters: Parameters, gpus: Sequence[int], seconds: Sequence[float]) -> None:
    """Print how busy one driver keeps a number of GPUs, for avatars of some GPU seconds."""
    print("| GPUs of one driver | " + " | ".join(f"{s:g} s an avatar" for s in seconds) + " |")
    print("| ---: |" + " ---: |" * len(seconds))
    for count in gpus:
        shares = [one_driver(parameters, count, gpu_s).efficiency for gpu_s in seconds]
        print(f"| {count} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")


def one_driver(parameters: Parameters, gpus: int, gpu_s: float) -> Outcome:
    """One driver with the real graph: `TASKS` tasks an avatar, `ACTORS` actors a GPU."""
    driver_s = parameters.driver_s(ACTORS * gpus) * TASKS / 3
    real = Parameters(
        task_s=driver_s,
        task_s_per_actor=0.0,
        gap_s=parameters.gap_s,
        first_s=0.0,
        starts_per_s=math.inf,
    )
    edges = max(2, math.ceil(gpus / 8))
    return Simulation((0.05, gpu_s, 0.05), (edges, gpus, edges), 20 * gpus, real).run()


def _actors(run: dict[str, Any]) -> int:
    return int(run["gpus"] + 2 * run["edge_actors"])


def main() -> None:
    """Fit, validate, extrapolate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--gpus", type=int, nargs="+", default=[64, 125, 250, 500, 1000])
    parser.add_argument("--gpu-s", type=float, nargs="+", default=[5.0, 20.0, 60.0])
    options = parser.parse_args()
    runs = [run for path in options.runs for run in json.loads(path.read_text())]
    parameters = fitted(runs)
    print(f"{parameters}\n")
    validate(runs, parameters)
    print()
    extrapolate(parameters, options.gpus, options.gpu_s)


if __name__ == "__main__":
    main()
