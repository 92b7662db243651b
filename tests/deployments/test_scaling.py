"""A stage's replicas grow under load, shrink after it, and come back from none."""

import time
from collections.abc import Iterator

import pytest
from live_service import LiveService, live, replicas, until

pytestmark = pytest.mark.slow
LONG = 60
"""3 s of work."""


@pytest.fixture(scope="module")
def service(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    scaling = {
        "min_replicas": 0,
        "max_replicas": 3,
        "target_ongoing_requests": 1.0,
        "upscale_delay_s": 0.5,
        "downscale_delay_s": 3.0,
    }
    folder = tmp_path_factory.mktemp("scaling")
    with live(folder, jobs_per_runner=6, stage_scaling={"Dream": scaling}) as service:
        yield service


def test_replicas_grow_and_shrink_and_start_from_none(service: LiveService) -> None:
    assert replicas("Dream") == []
    started_s = time.monotonic()
    assert service.submit(seed=1, wait_s=60).json()["state"] == "succeeded"
    print(f"cold start: {time.monotonic() - started_s:.1f} s")
    where = [service.submit(LONG).headers["location"] for _ in range(12)]
    until(lambda: len(replicas("Dream")) >= 2, within_s=60)
    for one in where:
        assert service.finished(one, within_s=90)["state"] == "succeeded"
    until(lambda: replicas("Dream") == [], within_s=90)
    assert service.submit(seed=2, wait_s=60).json()["state"] == "succeeded"
