"""Short trials of `benchmarks.survival`: whatever is killed, one right outcome an input."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.survival import (
    Trial,
    add_node,
    cluster_of,
    disturbed,
    driver,
    full_disk,
    kill_node,
    kill_worker,
    one_by_one,
)
from benchmarks.survival_checks import write_inputs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # starting workers takes long on a busy machine
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of Ray's clusters for tests
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SLOW = {"TOY_SLEEP_S": "0.3"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_of(2) as nodes:
        yield nodes


def test_workers_and_a_node_may_die_among_bad_files(cluster: Any, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs", 30, lethal=["segfault.jpg"])
    reference = one_by_one(Trial(inputs, tmp_path / "reference"))
    trial = Trial(inputs, tmp_path / "trial", cluster.address, environment=SLOW)
    rng = random.Random(0)
    one_worker = lambda: kill_worker(cluster, rng)  # noqa: E731
    node, another = lambda: kill_node(cluster), lambda: add_node(cluster)
    disturbed(trial, [(2, one_worker), (6, node, another), (12, one_worker)])
    trial.check(reference)


def test_the_driver_may_die(cluster: Any, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs", 20, lethal=[])
    reference = one_by_one(Trial(inputs, tmp_path / "reference"))
    trial = Trial(inputs, tmp_path / "trial", cluster.address, environment=SLOW)
    driver(trial, kills=1, seed=0)
    trial.check(reference)


def test_the_disk_may_fill_up(cluster: Any, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs", 20, lethal=[])
    reference = one_by_one(Trial(inputs, tmp_path / "reference"))
    trial = Trial(inputs, tmp_path / "trial", cluster.address)
    size = sum(len(data) for data in reference.values() if isinstance(data, bytes))
    try:
        full_disk(trial, size / 2e6)
    except PermissionError as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    trial.check(reference)
