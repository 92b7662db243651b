from collections import Counter
from pathlib import Path

import pytest
import toy_stages
from ray import cloudpickle
from toy_stages import Consume, Parse, Produce, Scale

from jobs.pools import Pool, plan_pools
from jobs.ray_data import RayOptions, run_ray
from pipeline.errors import GraphError, UsageError
from pipeline.local import run_local
from pipeline.stage import Row

cloudpickle.register_pickle_by_value(toy_stages)  # workers cannot import a test module

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # its own calls
    pytest.mark.filterwarnings("ignore:The minimum number of concurrent actors:UserWarning"),
]

SOURCES = ["7", "x", "200", "13", "1", "50", "-", "101"]


def _rows(sources: list[str]) -> list[Row]:
    return [{"source": source} for source in sources]


def _comparable(rows: list[Row]) -> list[Row]:
    kept = [{k: v for k, v in row.items() if k not in ("timings_s", "error_trace")} for row in rows]
    return sorted(kept, key=lambda row: (row["source"], row.get("part", 0)))


@pytest.mark.usefixtures("ray_cluster")
def test_ray_gives_the_rows_of_the_local_loop() -> None:
    local = list(run_local(toy_stages.toy_stages(), _rows(SOURCES)))
    pools = plan_pools(toy_stages.toy_stages(), cpus=4, gpus=1)
    remote = list(run_ray(pools, _rows(SOURCES), RayOptions()))
    assert _comparable(remote) == _comparable(local)
    outcomes = Counter(row["outcome"] for row in remote)
    assert outcomes == {"ok": 7, "rejected": 2, "failed": 1}


@pytest.mark.usefixtures("ray_cluster")
def test_a_row_that_kills_its_worker_takes_no_other_row_along() -> None:
    sources = ["1", "2", "kill", "3", "4"]
    rows = list(run_ray(plan_pools([Parse()], cpus=1), _rows(sources), RayOptions()))
    assert sorted(row["source"] for row in rows) == ["1", "2", "3", "4"]
    assert {row["outcome"] for row in rows} == {"ok"}


@pytest.mark.usefixtures("ray_cluster")
def test_a_fast_stage_does_not_fill_the_memory_before_a_slow_one(tmp_path: Path) -> None:
    stages = [Produce(tmp_path / "log"), Consume(tmp_path / "log")]
    pools = [Pool(stage=stage, actors=1, cpus=1, gpus=0) for stage in stages]
    rows = list(run_ray(pools, _rows([str(i) for i in range(80)]), RayOptions()))
    assert len(rows) == 80
    assert max(row["ahead"] for row in rows) < 30


@pytest.mark.usefixtures("ray_cluster")
def test_stages_that_do_not_fit_are_refused_before_anything_starts() -> None:
    pools = plan_pools([Scale(), Parse()], cpus=4)
    with pytest.raises(GraphError, match="Scale reads 'pixels', which only the later stage Parse"):
        list(run_ray(pools, _rows(["1"]), RayOptions()))


def test_pools_fill_the_machine_and_never_ask_for_more() -> None:
    for cpus in (1.0, 2.0, 4.0, 9.0, 64.0):
        pools = plan_pools(toy_stages.toy_stages(), cpus=cpus)
        assert sum(pool.actors * pool.cpus for pool in pools) <= cpus
        assert all(pool.actors >= 1 and pool.gpus == 0 for pool in pools)
    assert plan_pools(toy_stages.toy_stages(), cpus=64)[0].actors == 16
    assert plan_pools(toy_stages.toy_stages(), cpus=64, gpus=3)[0].actors == 3


def test_a_plan_that_cannot_start_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(UsageError, match=r"Parse 0\.1 \+ Scale 0\.1 .* = 0\.4 GiB .* has 0\.3"):
        plan_pools(toy_stages.toy_stages(), cpus=4, memory_gb=0.3)
