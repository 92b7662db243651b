"""What a stage's replica makes of a row that comes in parts, without Ray Serve round it."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from deployments.stage_replica import CANCELLED, Call, StageReplica
from pipeline.stage import Context, Resources, Row, Stage


class Board:
    """Stands for the runner's actor, of which a row that does not wait asks nothing."""

    def __init__(self) -> None:
        self.begin = SimpleNamespace(remote=lambda token, stage: None)


class Double(Stage):
    name = "Double"
    inputs = ("views", "seed")
    outputs = ("twice",)
    resources = Resources(cpus=0.1)

    def process(self, rows: Sequence[Row], context: Context) -> list[Row]:
        assert all(set(row) == {"source", "seed", "views"} for row in rows)
        return [{**row, "twice": row["views"] * 2} for row in rows]


@pytest.fixture
def replica() -> StageReplica:
    return StageReplica(Double(), frozenset({"views", "twice"}), 60.0)


def run(replica: StageReplica, *arguments: Row) -> Row:
    row, *parts = arguments
    return asyncio.run(replica(row, Call(Board(), "token", None), *parts))


def test_the_stage_sees_one_row_and_the_arrays_that_came_stay_where_they_are(
    replica: StageReplica,
) -> None:
    views = np.arange(6, dtype=np.uint8)
    first = {"views": views, "image": b"not read by it", "seed": 1, "source": "old"}
    news = run(replica, {"source": "x", "seed": 5}, first)
    assert set(news) == {"source", "seed", "twice", "timings_s"}
    assert (news["source"], news["seed"]) == ("x", 5)
    assert np.array_equal(news["twice"], views * 2)


def test_a_row_that_failed_brings_no_arrays_back(replica: StageReplica) -> None:
    news = run(replica, {"source": "x", "seed": 5}, {"views": np.array(["a"])})
    assert news["outcome"] == "failed"
    assert not any(isinstance(value, np.ndarray | bytes) for value in news.values())
    assert news["outcome"] != CANCELLED
