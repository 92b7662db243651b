"""What the processes do that the crash tests start and kill; imported by each of them."""

import os
import signal
import time
from multiprocessing import get_context, set_forkserver_preload
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from sqlalchemy import event, func, select

from deployments.database import Database
from deployments.job import JobLimits, JobState, Outcome, Progress
from deployments.job_files import JobFiles
from deployments.job_leases import JobLeases
from deployments.job_store import JobStore
from deployments.schema import jobs
from deployments.submission import erase_due, submit_photos
from pipeline.errors import LeaseLost
from pipeline.storage import locate

LIMITS = JobLimits(queue=1000, attempts=30)
LEASE_S = 0.4
START_S = 1_000_000.0
_PRELOADED = [
    "pytest",
    "deployments.job_leases",
    "deployments.submission",
    "psycopg",
    "pyarrow.fs",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
]


def start(target: Any, *arguments: Any) -> ForkServerProcess:
    """Run ``target`` in a process that is forked, in milliseconds, from a clean one."""
    set_forkserver_preload(_PRELOADED)
    context: ForkServerContext = get_context("forkserver")
    process = context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def work(url: str, name: str, log: str, closed: str) -> None:
    """Claim and finish jobs until there is the file ``closed`` and none is unfinished.

    Each step is noted after it was confirmed.
    """
    database = Database(url)
    workers = JobLeases(database, LIMITS)
    with open(log, "a", buffering=1) as notes:

        def note(what: str, job_id: str, token: str) -> None:
            notes.write(f"{time.monotonic_ns()} {what} {job_id} {token}\n")

        while not os.path.exists(closed) or _unfinished(database):
            lease = workers.claim(name, LEASE_S)
            if lease is None:
                time.sleep(0.02)
                continue
            note("claimed", lease.job.id, lease.token)
            time.sleep(0.005)
            workers.heartbeat(lease, LEASE_S, Progress("LowRes", 1, 2))
            try:
                outcome = Outcome(state=JobState.SUCCEEDED, avatar_id=lease.token)
                workers.finish(lease, outcome)
                note("finished", lease.job.id, lease.token)
            except LeaseLost:
                note("lost", lease.job.id, lease.token)


def _unfinished(database: Database) -> int:
    active = jobs.c.state.in_(["queued", "running"])
    with database.reading() as connection:
        return connection.execute(select(func.count()).where(active)).scalar_one()


def live(url: str, folder: str, kill_at: int) -> None:
    """Do everything that the store can do, killed just before the statement ``kill_at``."""
    database = Database(url, clock=lambda: START_S)
    _kill_before_statement(database, kill_at)
    store, workers = JobStore(database, LIMITS), JobLeases(database, LIMITS)
    files = JobFiles(locate(folder))

    def submit(photo: bytes, key: str | None = None) -> str:
        return submit_photos(store, files, [photo], owner="ann", options={}, idempotency_key=key).id

    done = submit(b"done", "key")
    lease = workers.claim("w", 10.0)
    assert lease is not None
    workers.heartbeat(lease, 10.0, Progress("LowRes", 1, 25, ("view-0.webp",)))
    files.avatars(done).child("x", "avatar.ply").write(b"ply")
    workers.finish(lease, Outcome(state=JobState.SUCCEEDED, avatar_id="x"))
    store.cancel("ann", submit(b"cancelled"))
    erased = submit(b"erased while running")
    lease = workers.claim("w", 0.0)
    assert lease is not None
    store.cancel("ann", erased)
    store.erase("ann", erased)
    submit(b"done", "key")
    submit(b"given back")
    lease = workers.claim("w", 10.0)
    assert lease is not None
    workers.release(lease)
    workers.claim("w", 0.0)
    workers.expire()
    store.erase("ann", done)
    erase_due(store, files)


def _kill_before_statement(database: Database, kill_at: int) -> None:
    """Die before the commit or change ``kill_at``; statements that only read change no state."""
    reached = 0

    def count(statement: str) -> None:
        nonlocal reached
        reached += statement.startswith(("INSERT", "UPDATE", "DELETE", "COMMIT"))
        if reached == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    engine = database._engine
    event.listen(engine, "before_cursor_execute", lambda *arguments: count(arguments[2]))
    event.listen(engine, "commit", lambda _: count("COMMIT"))


def noted(folder: Path) -> list[tuple[int, str, str, str]]:
    """All processes' notes, in the order of time."""
    lines = [line.split() for log in folder.glob("*.log") for line in log.read_text().splitlines()]
    whole = [line for line in lines if len(line) == 4]
    return sorted((int(line[0]), line[1], line[2], line[3]) for line in whole)
