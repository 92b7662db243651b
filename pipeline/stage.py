"""The stage contract: what a step of the graph declares and how one batch of rows is run.

A stage is a plain class with a frozen config. It knows nothing about who runs it: the local
executor, Ray Data and Ray Serve all go through `run_stage`, so the same row gives the same result
everywhere. A row is a dict of columns; a row that already has an ``outcome`` is passed through
untouched, which is how a bad input flows past the later stages without failing the job.
"""

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pipeline.errors import (
    Cancelled,
    DeadlineExceeded,
    HeadsplatError,
    InputError,
    OutOfMemory,
    ProcessingError,
)

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one actor of a stage needs.

    Attributes:
        cpus: CPU cores; torch uses as many threads, whatever the machine has, because its results
            depend on the number in the last bit.
        gpus: share of one GPU, 0 to 1; 0 runs the stage on the CPU.
        memory_gb: host memory, GiB.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float = 1.0


@dataclass
class Context:
    """What the caller of a stage lends it for one batch.

    Attributes:
        report: called as ``report(stage, step, steps)`` while a stage works.
        is_cancelled: polled between steps.
        deadline_s: `time.monotonic` value after which the work is abandoned.
        claim: called as ``claim(key, owner)``; returns the first owner who claimed ``key`` in this
            run, which tells the second of two equal photos that the first is already being made.
    """

    report: Callable[[str, int, int], None] = lambda stage, step, steps: None
    is_cancelled: Callable[[], bool] = lambda: False
    deadline_s: float = float("inf")
    claim: Callable[[str, str], str] = lambda key, owner: owner

    def checkpoint(self, stage: str, step: int, steps: int) -> None:
        """Report progress and stop here if the caller wants that.

        Raises:
            Cancelled: the caller cancelled.
            DeadlineExceeded: the deadline has passed.
        """
        if self.is_cancelled():
            raise Cancelled(f"cancelled in {stage} at step {step} of {steps}")
        if time.monotonic() > self.deadline_s:
            raise DeadlineExceeded(f"out of time in {stage} at step {step} of {steps}")
        self.report(stage, step, steps)


class Stage:
    """Base of the stages. Subclasses set the class attributes and override the methods.

    The constructor takes the stage's frozen config, is cheap and leaves the object picklable;
    ``setup`` loads the weights once per actor.

    Attributes:
        name: column prefix, actor class name and log name, CamelCase.
        inputs: columns read.
        outputs: columns written on every row that succeeds.
        resources: what one actor needs.
        batch_size: rows per call on a GPU; on CPUs, where company brings nothing, one.
    """

    name: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    outputs: ClassVar[tuple[str, ...]]
    resources: Resources = Resources()
    batch_size: int = 1

    def setup(self, device: str) -> None:
        """Load weights onto ``device`` ("cpu" or "cuda")."""

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        """Turn rows that have ``inputs`` into rows that also have ``outputs``.

        A stage may return several rows for one (a portrait with several faces), and a row with
        its ``outcome`` set where the work ends early.
        """
        raise NotImplementedError


@dataclass
class _Timer:
    started: float = field(default_factory=time.perf_counter)

    def per_row(self, rows: int) -> float:
        return round((time.perf_counter() - self.started) / max(rows, 1), 3)


def run_stage(stage: Stage, rows: Sequence[Row], context: Context | None = None) -> list[Row]:
    """Run one batch, turning every exception into the outcome of the row that caused it.

    Rows whose ``outcome`` is set pass through. A batch that runs out of memory, or fails in any
    other way, is run again row by row, so that one bad row never harms its neighbours. A stage
    that leaves out a column it declares has failed for that row.

    Returns:
        At least one row for each row given; order is kept.

    Raises:
        Cancelled: the caller stopped the work; nothing is recorded for the rows.
    """
    context = context or Context()
    _set_threads(stage)
    done: list[Row] = []
    live = [row for row in rows if row.get("outcome") is None]
    results = _run_live(stage, live, context)
    for row in rows:
        done.extend([row] if row.get("outcome") is not None else results.pop(0))
    return done


def _set_threads(stage: Stage) -> None:
    if "torch" in sys.modules:  # a stage that uses torch imports it in its setup
        import torch

        torch.set_num_threads(max(1, int(stage.resources.cpus)))


def _run_live(stage: Stage, rows: list[Row], context: Context) -> list[list[Row]]:
    if len(rows) > 1 and stage.batch_size > 1:
        timer = _Timer()
        try:
            results = _checked(stage, stage.process(rows, context))
        except Cancelled:
            raise
        except Exception:  # the row at fault is found by running them one at a time
            results = []
        if len(results) == len(rows):
            return [[_timed(stage, result, timer.per_row(len(rows)))] for result in results]
    return [_run_one(stage, row, context) for row in rows]


def _run_one(stage: Stage, row: Row, context: Context) -> list[Row]:
    timer = _Timer()
    try:
        results = _checked(stage, stage.process([row], context))
    except Cancelled:
        raise
    except Exception as error:  # the one place where a row's failure is caught
        results = [_failed(stage, row, error)]
    return [_timed(stage, result, timer.per_row(len(results))) for result in results]


def _checked(stage: Stage, results: list[Row]) -> list[Row]:
    """Hold the stage to its contract: every row has the declared columns or an outcome."""
    if not results:
        raise ProcessingError(f"{stage.name} returned no row")
    for row in results:
        missing = [name for name in stage.outputs if name not in row]
        if missing and row.get("outcome") is None:
            raise ProcessingError(f"{stage.name} did not write {', '.join(missing)}")
    return results


def _timed(stage: Stage, row: Row, seconds: float) -> Row:
    return {**row, "timings_s": {**row.get("timings_s", {}), stage.name: seconds}}


def _failed(stage: Stage, row: Row, error: Exception) -> Row:
    typed = error if isinstance(error, HeadsplatError) else _typed(error)
    unexpected = typed is not error
    return {
        **row,
        "outcome": "rejected" if isinstance(typed, InputError) else "failed",
        "error_code": typed.code,
        "error_message": str(typed),
        "error_stage": stage.name,
        "error_trace": "".join(traceback.format_exception(error)) if unexpected else None,
    }


def _typed(error: Exception) -> HeadsplatError:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return OutOfMemory(f"{text}; give the stage more memory or lower its batch size")
    return ProcessingError(text)
