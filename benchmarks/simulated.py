"""Simulated stages: they take a set time, hand on real images, and note when they worked.

A call makes its images first and then sleeps for what is left of its time, as a network on a GPU
leaves the CPU alone. Each process appends one line a call to a file of its own, so the same notes
come from every executor, and from processes that were killed.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.stage import Context, Resources, Row, Stage

VIEWS = 16


@dataclass(frozen=True, kw_only=True)
class Case:
    """One graph of simulated stages.

    Attributes:
        costs_s: seconds a call of each stage takes.
        actors: of each stage.
        views_px: side of the `VIEWS` images that each stage but the last hands on.
        items: how many go through.
        log: folder of the notes.
    """

    costs_s: tuple[float, ...]
    actors: tuple[int, ...]
    views_px: int
    items: int
    log: str

    @property
    def bottleneck(self) -> int:
        """Number of the stage that can do the least; of equal ones, that with most actors."""
        stages = range(len(self.costs_s))
        return max(
            stages, key=lambda i: (round(self.costs_s[i] / self.actors[i], 6), self.actors[i])
        )

    @property
    def ideal_s(self) -> float:
        """Seconds the bottleneck needs for all items if it never waits."""
        return self.items * self.costs_s[self.bottleneck] / self.actors[self.bottleneck]

    @property
    def payload_mb(self) -> float:
        """What a stage hands on, MB of 1e6 bytes."""
        return VIEWS * self.views_px**2 * 3 / 1e6

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Call:
    """One line of the notes: `time.monotonic` seconds, which all processes of a machine share."""

    stage: int
    item: str
    process: int
    started_s: float
    ended_s: float


def work(case: Case, stage: int, item: str) -> npt.NDArray[np.uint8]:
    """Be busy as ``stage`` for one item.

    Returns:
        What it hands on: [16, px, px, 3] uint8, or from the last stage a single byte.
    """
    started_s = time.monotonic()
    is_last = stage == len(case.costs_s) - 1
    shape = (1,) if is_last else (VIEWS, case.views_px, case.views_px, 3)
    views = np.full(shape, stage, np.uint8)
    time.sleep(max(0.0, case.costs_s[stage] - (time.monotonic() - started_s)))
    line = f"{stage} {item} {os.getpid()} {started_s:.4f} {time.monotonic():.4f}\n"
    with Path(case.log, str(os.getpid())).open("a") as notes:
        notes.write(line)
    return views


def read_calls(log: str | Path) -> list[Call]:
    """The notes of all processes, in the order of their starts."""
    lines = [line.split() for path in Path(log).iterdir() for line in path.read_text().splitlines()]
    calls = [Call(int(a), b, int(c), float(d), float(e)) for a, b, c, d, e in lines]
    return sorted(calls, key=lambda call: call.started_s)


class Simulated(Stage):
    """`work` as a stage of ours.

    Args:
        case: the graph.
        number: which of its stages this is.
        resources: what one actor needs.
    """

    def __init__(self, case: Case, number: int, resources: Resources | None = None) -> None:
        self.case, self.number = case, number
        self.name = f"Simulated{number}"
        self.inputs = (f"views{number - 1}",) if number else ("source",)
        self.outputs = (f"views{number}",)
        self.resources = resources or Resources(memory_gb=0.1)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Work on the rows one after the other."""
        return [
            {**row, self.outputs[0]: work(self.case, self.number, row["source"])} for row in rows
        ]


def simulated_stages(case: Case) -> list[Stage]:
    """The stages of a case."""
    return [Simulated(case, number) for number in range(len(case.costs_s))]
