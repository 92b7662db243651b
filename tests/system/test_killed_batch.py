"""Short trials of `benchmarks.survival`: whatever is killed, one right outcome an input."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.survival import (
    Trial,
    cluster_of,
    disturbed,
    driver,
    full_disk,
    kill_worker,
    replace_node,
    undisturbed,
)
from benchmarks.survival_checks import Inputs, write_inputs

pytestmark = pytest.mark.timeout(900)  # starting workers takes long on a busy machine

ARGUMENTS = ("--stage-timeout-s", "3")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_of(2) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(tmp_path_factory.mktemp("survival") / "inputs", 30)


@pytest.fixture(scope="module")
def reference(
    inputs: Inputs, cluster: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, object]:
    home = tmp_path_factory.mktemp("reference") / "trial"
    return undisturbed(Trial(inputs, home, cluster.address, ARGUMENTS))


@pytest.fixture
def trial(inputs: Inputs, cluster: Any, tmp_path: Path) -> Trial:
    return Trial(inputs, tmp_path / "trial", cluster.address, ARGUMENTS)


def test_workers_and_a_node_may_die(
    trial: Trial, reference: dict[str, object], cluster: Any
) -> None:
    rng = random.Random(0)
    one_worker = lambda: kill_worker(cluster, rng)  # noqa: E731
    trial.environment["TOY_SLEEP_S"] = "0.3"
    disturbed(trial, [(2, one_worker), (6, lambda: replace_node(cluster)), (12, one_worker)])
    trial.check(reference)


def test_the_driver_may_die(trial: Trial, reference: dict[str, object]) -> None:
    trial.environment["TOY_SLEEP_S"] = "0.3"
    driver(trial, kills=2, seed=0)
    trial.check(reference)


def test_the_disk_may_fill_up(trial: Trial, reference: dict[str, object]) -> None:
    size = sum(len(data) for data in reference.values() if isinstance(data, bytes))
    try:
        full_disk(trial, size / 2e6)
    except PermissionError as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    trial.check(reference)
