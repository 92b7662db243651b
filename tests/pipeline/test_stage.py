from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch

from pipeline.errors import Cancelled, DeviceBroken, InputError
from pipeline.stage import Context, Row, Stage, run_stage


class Double(Stage):
    name = "Double"
    inputs = ("x",)
    outputs = ("y",)
    batch_size = 4
    calls = 0

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        self.calls += 1
        context.checkpoint(self.name, 1, 2)
        for row in rows:
            if row["x"] == "bad":
                raise InputError("bad is not a number")
            if row["x"] == "bug":
                raise KeyError("bug")
            if row["x"] == "memory" and len(rows) == 1:
                raise MemoryError
        if len(rows) > 3:
            raise RuntimeError("CUDA out of memory")
        return [{**row, "y": row["x"] * 2} for row in rows]


class Forgetful(Double):
    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return list(rows)


def _run(*values: object) -> list[Row]:
    return run_stage(Double(), [{"x": value} for value in values])


def test_a_batch_of_good_rows_is_one_call() -> None:
    stage = Double()
    rows = run_stage(stage, [{"x": 1}, {"x": 2}])
    assert [row["y"] for row in rows] == [2, 4]
    assert stage.calls == 1
    assert all(set(row["timings_s"]) == {"Double"} for row in rows)


def test_bad_rows_keep_their_error_and_harm_no_neighbour() -> None:
    rows = _run(1, "bad", 3, "bug")
    assert [row.get("outcome") for row in rows] == [None, "rejected", None, "failed"]
    assert [row.get("y") for row in rows] == [2, None, 6, None]
    assert rows[1]["error_code"] == "bad_input"
    assert rows[1]["error_trace"] is None
    assert rows[3]["error_code"] == "processing"
    assert "KeyError" in rows[3]["error_trace"]
    assert rows[3]["error_stage"] == "Double"


class Limited(Stage):
    """Fits ``fits`` rows into a GPU's memory."""

    name = "Limited"
    inputs = ("x",)
    outputs = ("y",)
    batch_size = 8
    fits = 2

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        self.sizes.append(len(rows))
        if len(rows) > self.fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return [{**row, "y": row["x"] * 2} for row in rows]


def test_a_batch_that_is_too_large_is_run_in_halves() -> None:
    stage = Limited()
    rows = run_stage(stage, [{"x": value} for value in range(8)])
    assert [row["y"] for row in rows] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert stage.sizes == [8, 4, 2, 2, 4, 2, 2]


def test_what_does_not_fit_alone_is_out_of_memory() -> None:
    stage = Limited()
    stage.fits = 0
    assert {row["error_code"] for row in run_stage(stage, [{"x": 1}, {"x": 2}])} == {
        "out_of_memory"
    }


def test_a_broken_gpu_is_no_fault_of_the_rows() -> None:
    class Broken(Double):
        def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile")

    with pytest.raises(DeviceBroken, match=r"^Double: CUDA error: an illegal .* encountered$"):
        run_stage(Broken(), [{"x": 1}, {"x": 2}])


def test_each_call_has_its_own_time_and_the_caller_may_watch_it() -> None:
    watched: list[tuple[int, float]] = []

    @contextmanager
    def watch(rows: Sequence[Row], seconds: float) -> Iterator[None]:
        watched.append((len(rows), seconds))
        yield

    class Slow(Double):
        def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
            while any(row["x"] == "slow" for row in rows):
                context.checkpoint(self.name, 1, 2)
            return [{**row, "y": 0} for row in rows]

    given = [{"x": 1}, {"x": "slow"}, {"x": 3}]
    rows = run_stage(Slow(), given, Context(timeout_s=0.05, watch=watch))
    assert [row.get("error_code") for row in rows] == [None, "timed_out", None]
    assert "Double was at step 1 of 2 after 0.05 s a photo" in rows[1]["error_message"]
    assert watched == [(3, 0.05 * 3), (1, 0.05), (2, 0.1), (1, 0.05), (1, 0.05)]


def test_memory_that_runs_out_for_one_row_is_a_failure_with_a_name() -> None:
    assert _run("memory")[0]["error_code"] == "out_of_memory"


def test_rows_with_an_outcome_pass_through_in_their_place() -> None:
    done = {"x": 9, "outcome": "rejected"}
    rows = run_stage(Double(), [{"x": 1}, done, {"x": 2}])
    assert rows[1] is done
    assert [row["x"] for row in rows] == [1, 9, 2]


def test_a_column_that_was_promised_must_come() -> None:
    (row,) = run_stage(Forgetful(), [{"x": 1}])
    assert (row["outcome"], row["error_message"]) == ("failed", "Double did not write y")


def test_cancelling_stops_the_batch_and_records_nothing() -> None:
    with pytest.raises(Cancelled, match="cancelled in Double at step 1 of 2"):
        run_stage(Double(), [{"x": 1}], Context(is_cancelled=lambda: True))
