"""Rows that hang, crash or break the GPU get their outcome, and their neighbours theirs."""

import time
import urllib.request

import pytest
import ray
import toy_stages
from ray import cloudpickle
from toy_stages import Parse, Scale, Trouble

from jobs.pools import plan_pools
from jobs.ray_data import RayOptions, actor_pool, run_ray

cloudpickle.register_pickle_by_value(toy_stages)  # workers cannot import a test module

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # its own calls
    pytest.mark.filterwarnings("ignore:The minimum number of concurrent actors:UserWarning"),
]


@pytest.mark.usefixtures("ray_cluster")
def test_trouble_is_named_and_harms_no_neighbour() -> None:
    sources = ["ok 1", "nap", "ok 2", "hang", "ok 3", "segfault", "ok 4", "broken", "ok 5", "deaf"]
    pools = plan_pools([Trouble()], cpus=2)
    options = RayOptions(stage_timeout_s=1.0)
    rows = {row["source"]: row for row in run_ray(pools, [{"source": s} for s in sources], options)}
    codes = {source: row.get("error_code") for source, row in rows.items()}
    good = {source: None for source in sources if source.startswith("ok")}
    named = {"nap": "timed_out", "hang": "timed_out", "broken": "device_broken"}
    assert codes == {**good, **named}
    assert "did not return within 1 s; tried 2 times" in rows["hang"]["error_message"]
    assert rows["hang"]["error_stage"] == "Trouble"


@pytest.mark.slow  # its metrics are only seen by the first Ray of a process: run it by itself
@pytest.mark.usefixtures("ray_cluster")
def test_pools_for_a_cluster_that_never_grows_still_finish() -> None:
    """Planned for 4 GPUs where there is one, which the last pool alone could fill."""
    stages = [Parse(), Scale(), Trouble()]
    pools = plan_pools(stages, cpus=16, gpus=4)
    assert [pool.actors for pool in pools] == [4, 4, 4]
    strategy = actor_pool(pools[1], alone=False, grows=True)
    assert (strategy.min_size, strategy.initial_size, strategy.max_size) == (1, 1, 4)
    fixed = actor_pool(pools[1], alone=False, grows=False)
    assert (fixed.min_size, fixed.initial_size, fixed.max_size) == (4, 4, 4)
    sources = [str(number) for number in range(20, 60)]
    rows = list(run_ray(pools, [{"source": s} for s in sources], RayOptions(grows=True)))
    assert sorted(row["source"] for row in rows) == sources
    assert {row["outcome"] for row in rows} == {"ok"}
    _check_metrics()


def _check_metrics() -> None:
    """What Ray's agent on this node tells Prometheus."""
    port = ray.nodes()[0]["MetricsExportPort"]
    deadline = time.monotonic() + 60
    wanted = ("ray_headsplat_photos_total", "ray_headsplat_stage_seconds_sum")
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        told = [line for line in lines if line.startswith("ray_headsplat_")]
        if all(any(line.startswith(name) for line in told) for name in wanted):
            break
        assert time.monotonic() < deadline, told
        time.sleep(1)
    photos = [line for line in told if "photos_total" in line and 'outcome="ok"' in line]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in photos) >= 40
    assert any('stage="Trouble"' in line for line in told if "stage_seconds_sum" in line)
    assert any('stage="Scale"' in line for line in told if "stage_actors" in line)
