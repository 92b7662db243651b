"""More requests than the service can carry: what it takes it does in time, the rest it refuses."""

import asyncio
import time
from pathlib import Path

import pytest
from live_service import LiveService, live

from benchmarks.serving_load import offer

pytestmark = pytest.mark.slow
STEPS, QUEUE, UNDER_WAY = 4, 4, 2


def job_s(service: LiveService) -> float:
    """What a job takes on this machine, alone, when all processes have imported what they need."""
    assert service.submit(STEPS, wait_s=100).status_code == 200
    started_s = time.monotonic()
    for _ in range(3):
        assert service.submit(STEPS, wait_s=100).status_code == 200
    return (time.monotonic() - started_s) / 3


def test_three_times_the_capacity(ray_cluster: None, tmp_path: Path) -> None:
    with live(tmp_path, queue=QUEUE, jobs_per_runner=UNDER_WAY) as service:
        url = str(service.client.base_url)
        capacity = 1 / job_s(service)  # at least: of two under way, one is in another stage
        little = asyncio.run(offer(url, 0.5 * capacity, number=20, seed=STEPS))
        much = asyncio.run(offer(url, 3 * capacity, number=120, seed=STEPS))
    assert set(little.statuses) == {200}
    assert set(much.statuses) == {200, 429}  # of whatever else, `offer` complains itself
    assert much.statuses[200] >= 0.5 * 120 / 3
    assert all(seconds >= 1 for seconds in much.retry_after_s)
    # whoever is taken waits for those before it, who cannot be more than this
    before = QUEUE + UNDER_WAY + 1
    assert max(much.seconds) < before * 2 * sorted(little.seconds)[len(little.seconds) // 2]
