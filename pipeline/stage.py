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
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from pipeline.errors import (
    Cancelled,
    DeviceBroken,
    HeadsplatError,
    InputError,
    OutOfMemory,
    ProcessingError,
    TimedOut,
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
        claim: called as ``claim(key, owner)``; returns the first owner who claimed ``key`` in this
            run, which tells the second of two equal photos that the first is already being made.
        timeout_s: most seconds that a stage may spend on one row.
        watch: entered as ``watch(rows, seconds)`` round each call of a stage that has a timeout;
            it may end the process if the call does not return, for native code cannot be stopped.
        call_deadline_s: `time.monotonic` value at which the present call times out, set by
            `run_stage`.
    """

    report: Callable[[str, int, int], None] = lambda stage, step, steps: None
    is_cancelled: Callable[[], bool] = lambda: False
    claim: Callable[[str, str], str] = lambda key, owner: owner
    timeout_s: float = float("inf")
    watch: Callable[[Sequence[Row], float], AbstractContextManager[Any]] = lambda rows, seconds: (
        nullcontext()
    )
    call_deadline_s: float = float("inf")

    def checkpoint(self, stage: str, step: int, steps: int) -> None:
        """Report progress and stop here if the caller wants that.

        Raises:
            Cancelled: the caller cancelled.
            TimedOut: the stage has spent ``timeout_s`` a row.
        """
        if self.is_cancelled():
            raise Cancelled(f"cancelled in {stage} at step {step} of {steps}")
        if time.monotonic() > self.call_deadline_s:
            raise TimedOut(
                f"{stage} was at step {step} of {steps} after {self.timeout_s:g} s a photo, the "
                "most that it may take (stage-timeout-s)"
            )
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
    other way, is run again in halves, so that one bad row never harms its neighbours. A stage
    that leaves out a column it declares has failed for that row.

    Returns:
        At least one row for each row given; order is kept.

    Raises:
        Cancelled: the caller stopped the work; nothing is recorded for the rows.
        DeviceBroken: the GPU fails until the process is started anew.
    """
    context = context or Context()
    _set_threads(stage)
    done: list[Row] = []
    live = [row for row in rows if row.get("outcome") is None]
    size = len(live) if stage.batch_size > 1 else 1
    parts = [live[i : i + size] for i in range(0, len(live), max(size, 1))]
    results = [result for part in parts for result in _run_live(stage, part, context)]
    for row in rows:
        done.extend([row] if row.get("outcome") is not None else results.pop(0))
    return done


def _set_threads(stage: Stage) -> None:
    if "torch" in sys.modules:  # a stage that uses torch imports it in its setup
        import torch

        torch.set_num_threads(max(1, int(stage.resources.cpus)))


def _run_live(stage: Stage, rows: list[Row], context: Context) -> list[list[Row]]:
    """The results of each row: of all at once, or, should that fail, of each half."""
    timer = _Timer()
    short_of_memory = False
    try:
        results = _checked(stage, _call(stage, rows, context))
    except Cancelled:
        raise
    except Exception as error:  # the one place where a row's failure is caught
        _raise_if_broken(stage, error)
        short_of_memory = _is_out_of_memory(error)
        results = [_failed(stage, rows[0], error)] if len(rows) == 1 else []
    if short_of_memory:  # here, because the error held on to what the call had allocated
        _release_memory()
    if len(rows) == 1:
        return [[_timed(stage, result, timer.per_row(len(results))) for result in results]]
    if len(results) == len(rows):
        return [[_timed(stage, result, timer.per_row(len(rows)))] for result in results]
    half = len(rows) // 2
    return [*_run_live(stage, rows[:half], context), *_run_live(stage, rows[half:], context)]


def _call(stage: Stage, rows: list[Row], context: Context) -> list[Row]:
    seconds = context.timeout_s * len(rows)
    if seconds == float("inf"):
        return stage.process(rows, context)
    with context.watch(rows, seconds):
        return stage.process(rows, replace(context, call_deadline_s=time.monotonic() + seconds))


def _raise_if_broken(stage: Stage, error: Exception) -> None:
    """Let what no further call in this process can survive through.

    After an illegal access, a failed device-side assertion and their like, every CUDA call of the
    process fails.
    """
    if "CUDA error" in str(error) and not _is_out_of_memory(error):
        raise DeviceBroken(f"{stage.name}: {str(error).splitlines()[0]}") from error


def _release_memory() -> None:
    """Give back what a failed batch leaves in CUDA's cache, in pieces that halves cannot use."""
    if "torch" in sys.modules:
        import torch

        torch.cuda.empty_cache()


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
    if _is_out_of_memory(error):
        return OutOfMemory(f"{text}; give the stage more memory or lower its batch size")
    return ProcessingError(text)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
