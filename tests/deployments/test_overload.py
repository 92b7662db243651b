"""More requests than the service can carry: what it takes it does in time, the rest it refuses."""

import asyncio
from pathlib import Path

import pytest
import toy_service
from live_service import live

from benchmarks.serving_load import offer

pytestmark = pytest.mark.slow
STEPS, QUEUE, UNDER_WAY = 4, 4, 2
WORK_S = STEPS * toy_service.STEP_S


def test_three_times_the_capacity(ray_cluster: None, tmp_path: Path) -> None:
    with live(tmp_path, queue=QUEUE, jobs_per_runner=UNDER_WAY) as service:
        url = str(service.client.base_url)
        little = asyncio.run(offer(url, 0.5 / WORK_S, number=20, seed=STEPS))
        much = asyncio.run(offer(url, 3 / WORK_S, number=120, seed=STEPS))
    assert set(little.statuses) == {200}
    assert set(much.statuses) == {200, 429}  # of whatever else, `offer` complains itself
    assert much.statuses[200] >= 0.5 * 120 / 3
    assert all(seconds >= 1 for seconds in much.retry_after_s)
    # whoever is taken waits for those before it, who cannot be more than this
    before = QUEUE + UNDER_WAY + 1
    assert max(much.seconds) < before * 2 * sorted(little.seconds)[len(little.seconds) // 2]
