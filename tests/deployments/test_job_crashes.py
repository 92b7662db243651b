import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from job_history import broken_promises, illegal_rows
from job_processes import LEASE_S, LIMITS, START_S, live, noted, start, work
from sqlalchemy import select
from store_helpers import Clock, wipe

from deployments.database import Database
from deployments.job import JobState, Outcome, Submission
from deployments.job_files import JobFiles
from deployments.job_leases import JobLeases
from deployments.job_store import JobStore
from deployments.schema import erasures, jobs
from deployments.submission import erase_due
from pipeline.storage import locate

JOBS, WORKERS, KILLS = 200, 4, 20
FEWEST_WAITING = 8


def test_workers_that_are_killed_and_paused_end_every_job_once(
    url: str, opened: Callable[..., Database], tmp_path: Path
) -> None:
    database = opened(url)  # with the time of the workers
    store = JobStore(database, LIMITS)
    accepted: list[str] = []

    def submit(fewest: int) -> None:
        while store.waiting() < fewest:
            n = len(accepted)
            asked = Submission(owner=f"owner-{n % 5}", options={"seed": n}, photo_sha256s=("p",))
            accepted.append(store.submit(store.reserve(), asked).id)

    submit(JOBS)
    _kill_and_pause(url, tmp_path, lambda: submit(FEWEST_WAITING))
    with database.reading() as connection:
        rows = connection.execute(select(jobs)).all()
    final = {row.id: (row.state, row.avatar_id) for row in rows}
    assert broken_promises(accepted, noted(tmp_path), final) == []
    assert illegal_rows(database) == []
    assert any(row.attempts > 1 for row in rows)


def _kill_and_pause(url: str, folder: Path, supply: Callable[[], None]) -> None:
    """Let workers do all jobs, of which there are always more, while chosen ones die or freeze."""
    chaos = random.Random(7)
    logs = [folder / f"{number}.log" for number in range(WORKERS)]
    closed = folder / "closed"
    workers = [start(work, url, log.name, str(log), str(closed)) for log in logs]
    for number in [chaos.randrange(WORKERS) for _ in range(KILLS)]:
        worker, noted_bytes = workers[number], _size(logs[number])
        while _size(logs[number]) == noted_bytes:
            assert worker.is_alive()
            supply()
            time.sleep(0.005)
        if chaos.random() < 0.2:
            os.kill(worker.pid, signal.SIGSTOP)
            time.sleep(1.2 * LEASE_S)  # others take over what it holds
            os.kill(worker.pid, signal.SIGCONT)
        else:
            worker.kill()
            worker.join()
            log = logs[number]
            workers[number] = start(work, url, log.name, str(log), str(closed))
    closed.touch()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


@pytest.mark.parametrize(
    ("notes", "final", "broken"),
    [
        ([], {}, "a is lost"),
        ([], {"a": ("running", None)}, "a never ended"),
        ([], {"a": ("failed", None), "b": ("failed", None)}, "b came from nowhere"),
        (
            [(1, "finished", "a", "t"), (2, "claimed", "a", "u")],
            {"a": ("succeeded", "t")},
            "a was claimed after it had finished",
        ),
        (
            [(1, "finished", "a", "t"), (2, "finished", "a", "u")],
            {"a": ("succeeded", "u")},
            "a was finished after it had finished",
        ),
        (
            [(1, "finished", "a", "t")],
            {"a": ("failed", None)},
            "a did not keep its confirmed outcome",
        ),
    ],
)
def test_the_history_checker_sees_what_is_wrong(
    notes: list[tuple[int, str, str, str]],
    final: dict[str, tuple[str, str | None]],
    broken: str,
) -> None:
    assert broken_promises(["a"], notes, final) == [broken]


def test_a_crash_before_any_statement_leaves_a_legal_state(
    url: str, database: Database, clock: Clock, tmp_path: Path
) -> None:
    """On SQLite at every statement; on PostgreSQL, which is slower, at every third from any."""
    stride = 1 if url.startswith("sqlite") else 3
    exit_code, kill_at = -signal.SIGKILL, random.randrange(stride)
    while exit_code == -signal.SIGKILL:
        kill_at += stride
        wipe(database)
        clock.now_s = START_S
        folder = tmp_path / str(kill_at)
        process = start(live, url, str(folder), kill_at)
        process.join(60)
        assert process.exitcode is not None
        exit_code = process.exitcode
        assert illegal_rows(database) == []
        _files_are_accounted_for(database, folder)
        _another_process_can_go_on(database, clock, folder)
    assert exit_code == 0
    assert kill_at > 50


def _files_are_accounted_for(database: Database, folder: Path) -> None:
    """No file without a row that will see to its erasure, no unfinished job without its photo."""
    with database.reading() as connection:
        known = set(connection.execute(select(jobs.c.id)).scalars())
        owed = set(connection.execute(select(erasures.c.job_id)).scalars())
        active = jobs.c.state.in_(["queued", "running"])
        unfinished = set(connection.execute(select(jobs.c.id).where(active)).scalars())
    stored = {path.name for path in folder.glob("*")}
    assert not known & owed
    assert stored <= known | owed
    assert unfinished <= stored


def _another_process_can_go_on(database: Database, clock: Clock, folder: Path) -> None:
    store, workers = JobStore(database, LIMITS), JobLeases(database, LIMITS)
    clock.now_s += 961.0  # after every lease and reservation
    deadline = time.monotonic() + 20  # until PostgreSQL sees that a client died, it keeps its locks
    while not all(job.state.is_final for job in store.list("ann").jobs):
        assert time.monotonic() < deadline
        while (lease := workers.claim("next", 10.0)) is not None:
            workers.finish(lease, Outcome(state=JobState.SUCCEEDED))
    if folder.exists():
        erase_due(store, JobFiles(locate(str(folder))))
    assert {path.name for path in folder.glob("*")} == {job.id for job in store.list("ann").jobs}
