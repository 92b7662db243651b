"""Those who wait for a job are woken soon, together, and told when they cannot be."""

import asyncio
import time
from pathlib import Path

import pytest

from deployments.database import Database
from deployments.job import Submission
from deployments.job_store import JobStore
from deployments.watch import Watch
from pipeline.errors import DatabaseUnavailable


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(Database(f"sqlite:///{tmp_path}/jobs.db"))


def submit(store: JobStore) -> str:
    asked = Submission(owner="ann", options={}, photo_sha256s=("p",))
    return store.submit(store.reserve(), asked).id


def test_each_is_woken_by_its_own_job(store: JobStore) -> None:
    first, second = submit(store), submit(store)

    async def run() -> None:
        watch = Watch(store)
        one = asyncio.create_task(watch.changed(first, 1))
        two = asyncio.create_task(watch.changed(second, 1))
        await asyncio.sleep(0.2)
        assert not one.done()
        await asyncio.to_thread(store.cancel, "ann", second)
        await asyncio.wait_for(two, 5)
        assert not one.done()
        await asyncio.to_thread(store.erase, "ann", first)
        await asyncio.wait_for(one, 5)

    asyncio.run(run())


def test_news_that_are_there_already_are_told_at_once(store: JobStore) -> None:
    job_id = submit(store)
    started = time.monotonic()
    asyncio.run(asyncio.wait_for(Watch(store).changed(job_id, 0), 5))
    assert time.monotonic() - started < 1.0


def test_one_statement_asks_for_all_and_none_when_nobody_waits(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [submit(store) for _ in range(20)]
    asked: list[int] = []
    ask = store.last_events

    def count(job_ids):
        asked.append(len(set(job_ids)))
        return ask(job_ids)

    monkeypatch.setattr(store, "last_events", count)

    async def run() -> None:
        watch = Watch(store)
        waiting = [asyncio.create_task(watch.changed(job_id, 1)) for job_id in jobs]
        await asyncio.sleep(0.5)
        assert set(asked) == {20}
        assert len(asked) < 40
        for one in waiting:
            one.cancel()
        await asyncio.sleep(0.3)
        before = len(asked)
        await asyncio.sleep(0.3)
        assert len(asked) == before

    asyncio.run(run())


def test_a_database_that_is_away_is_told_to_those_who_wait(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(job_ids):
        raise DatabaseUnavailable("the database does not answer")

    monkeypatch.setattr(store, "last_events", broken)
    with pytest.raises(DatabaseUnavailable):
        asyncio.run(asyncio.wait_for(Watch(store).changed("av_x", 1), 5))
