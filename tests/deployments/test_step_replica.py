"""Which stages share a replica, and what it makes of rows that come in parts, without Ray Serve."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deployments.step import Step, steps_of
from deployments.step_replica import CANCELLED, Call, StepReplica, _batched
from pipeline.graph import GraphOptions, build_graph, build_recipe
from pipeline.stage import Context, Resources, Row, Stage


class Board:
    """Stands for the runner's actor, of which a row that does not wait asks nothing."""

    def __init__(self) -> None:
        self.begin = self.report = SimpleNamespace(remote=lambda token, news: None)


class Double(Stage):
    name = "Double"
    inputs = ("views", "seed")
    outputs = ("twice",)
    resources = Resources(cpus=0.1)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        assert all(set(row) == {"source", "seed", "views"} for row in rows)
        return [{**row, "twice": row["views"] * 2} for row in rows]


class Weighted(Double):
    """A stage that loads something."""

    name = "Weighted"

    def setup(self, device: str) -> None:
        pass


class Marker(Stage):
    """A stage without weights, each job's own."""

    name = "Marker"
    inputs = ("twice",)
    outputs = ("mark", "sum")
    resources = Resources(cpus=0.1)

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        return [{**row, "mark": self.mark, "sum": int(row["twice"].sum())} for row in rows]


@pytest.fixture
def replica() -> StepReplica:
    return StepReplica(Step((Double(),)), frozenset({"views", "twice"}), 60.0)


def run(replica: StepReplica, *arguments: Row) -> Row:
    row, *parts = arguments
    return asyncio.run(replica(row, Call(Board(), "token", {}), *parts))


def test_the_stage_sees_one_row_and_the_arrays_that_came_stay_where_they_are(
    replica: StepReplica,
) -> None:
    views = np.arange(6, dtype=np.uint8)
    first = {"views": views, "image": b"not read by it", "seed": 1, "source": "old"}
    news = run(replica, {"source": "x", "seed": 5}, first)
    assert set(news) == {"source", "seed", "twice", "timings_s"}
    assert (news["source"], news["seed"]) == ("x", 5)
    assert np.array_equal(news["twice"], views * 2)


def test_a_row_that_failed_brings_no_arrays_back(replica: StepReplica) -> None:
    news = run(replica, {"source": "x", "seed": 5}, {"views": np.array(["a"])})
    assert news["outcome"] == "failed"
    assert not any(isinstance(value, np.ndarray | bytes) for value in news.values())
    assert news["outcome"] != CANCELLED


def test_stages_without_weights_go_along_with_the_next_that_has_some_or_the_last() -> None:
    first, heavy, last = Double(), Weighted(), Marker("")
    shared = [step.stages for step in steps_of([first, heavy, heavy, first, last])]
    assert shared == [(first, heavy), (heavy, first, last)]
    assert [step.name for step in steps_of([first, heavy, last])] == ["Weighted"]
    assert [step.name for step in steps_of([first, last])] == ["Marker"]


def test_the_graph_has_a_deployment_for_each_network(tmp_path: Path) -> None:
    options = GraphOptions()
    steps = steps_of(build_graph(options, str(tmp_path), build_recipe(options)))
    assert [tuple(stage.name for stage in step.stages) for step in steps] == [
        ("Load", "Prepare"),
        ("LowRes",),
        ("HighRes",),
        ("Reconstruct",),
        ("Judge", "Export"),
    ]


def test_jobs_that_share_a_call_keep_stages_of_their_own() -> None:
    replica = StepReplica(Step((Weighted(), Marker(""))), frozenset({"twice"}), 60.0)
    calls = [Call(Board(), mark, {"Marker": Marker(mark)}) for mark in "ab"]
    rows = [{"source": "x", "seed": 5, "views": np.full(3, value)} for value in (1, 2)]
    news = asyncio.run(replica._run(rows, calls))
    assert [(one["mark"], one["sum"]) for one in news] == [("a", 6), ("b", 12)]
    assert [set(one["timings_s"]) for one in news] == [{"Weighted", "Marker"}] * 2


def test_a_row_that_is_to_be_alone_shares_no_batch() -> None:
    """Its neighbours of the batch over which a process died are not to die with it again."""
    seen: list[int] = []

    class Counted(Weighted):
        batch_size = 2

        def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
            seen.append(len(rows))
            return super().process(rows, context)

    async def alone() -> None:
        replica = _batched(2)(Step((Counted(),)), frozenset({"twice"}), 60.0)
        row = {"source": "x", "seed": 5, "views": np.ones(3)}
        calls = (replica(row, Call(Board(), mark, {}, alone=True)) for mark in "ab")
        assert [one["twice"].tolist() for one in await asyncio.gather(*calls)] == [[2] * 3] * 2

    asyncio.run(alone())
    assert seen == [1, 1]


def test_a_row_that_failed_in_a_step_passes_its_other_stages() -> None:
    replica = StepReplica(Step((Weighted(), Marker(""))), frozenset(), 60.0)
    row = {"source": "x", "seed": 5, "views": np.array(["a"])}
    (news,) = asyncio.run(replica._run([row], [Call(Board(), "a", {"Marker": Marker("a")})]))
    assert (news["outcome"], news["error_stage"]) == ("failed", "Weighted")
    assert "mark" not in news
