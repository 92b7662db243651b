"""Rows that hang, crash or break the GPU get their outcome, and their neighbours theirs."""

import pytest
import toy_stages
from ray import cloudpickle
from toy_stages import Trouble

from jobs.pools import plan_pools
from jobs.ray_data import RayOptions, run_ray

cloudpickle.register_pickle_by_value(toy_stages)  # workers cannot import a test module

pytestmark = [
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # its own calls
    pytest.mark.filterwarnings("ignore:The minimum number of concurrent actors:UserWarning"),
    pytest.mark.timeout(600),  # starting workers takes long on a busy machine
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
