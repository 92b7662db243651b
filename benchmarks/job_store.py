"""What the online service's jobs cost the database: milliseconds a call while 10,000 jobs wait.

    python -m benchmarks.job_store sqlite:////tmp/bench.db

Every call is a transaction that has reached the disk when it returns, so the disk's fsync is in it.
What it said last is in docs/serving.md. The database has to be a new one.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from sqlalchemy import insert, select

from deployments.database import Database
from deployments.job import JobLimits, JobState, Outcome, Progress, Submission
from deployments.job_leases import JobLeases
from deployments.job_store import JobStore, new_job_id
from deployments.schema import jobs

LIMITS = JobLimits(queue=1_000_000)
OWNERS = 10
LEASE_S = 600.0


def main() -> None:
    """Measure and print one row a call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    database = Database(options.database)
    fill(database, options.jobs)
    print(f"{options.jobs:,} jobs of {OWNERS} owners wait, {options.calls} calls, ms")
    print(f"{'call':<12}{'median':>10}{'95 %':>10}")
    for name, seconds in measure(database, options.calls).items():
        median, most = np.percentile(np.array(seconds) * 1e3, [50, 95])
        print(f"{name:<12}{median:>10.1f}{most:>10.1f}")
    database.close()


def fill(database: Database, number: int) -> None:
    """Queue ``number`` jobs, all as the first one."""
    store = JobStore(database, LIMITS)
    asked = Submission(owner="owner-0", options={"seed": 0}, photo_sha256s=("0" * 64,))
    store.submit(store.reserve(), asked)
    with database.writing() as transaction:
        row = transaction.connection.execute(select(jobs)).one()._asdict()
        del row["number"]
        copies = [
            {**row, "id": new_job_id(), "owner": f"owner-{n % OWNERS}"} for n in range(1, number)
        ]
        transaction.connection.execute(insert(jobs), copies)


def measure(database: Database, calls: int) -> dict[str, list[float]]:
    """Seconds of each call of a job's life, and of a page of 100 jobs."""
    store, workers = JobStore(database, LIMITS), JobLeases(database, LIMITS)
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = call()
        seconds[name].append(time.perf_counter() - started)
        return result

    asked = Submission(owner="owner-1", options={"seed": 1}, photo_sha256s=("1" * 64,))
    done = Outcome(state=JobState.SUCCEEDED, avatar_id="x")
    cursor = None
    for _ in range(calls):
        job_id = timed("reserve", store.reserve)
        timed("submit", lambda job_id=job_id: store.submit(job_id, asked))
        lease = timed("claim", lambda: workers.claim("w", LEASE_S))
        step = Progress("LowRes", 1, 25)
        timed("heartbeat", lambda lease=lease, step=step: workers.heartbeat(lease, LEASE_S, step))
        timed("finish", lambda lease=lease: workers.finish(lease, done))
        timed("get", lambda job_id=job_id: store.get("owner-1", job_id))
        page = timed("list 100", lambda cursor=cursor: store.list("owner-1", cursor, limit=100))
        cursor = page.next_cursor
    return seconds


if __name__ == "__main__":
    main()
