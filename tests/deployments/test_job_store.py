from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from job_processes import start
from sqlalchemy import select
from store_helpers import Clock

from deployments.database import Database
from deployments.job import Job, JobLimits, JobState, Outcome, Progress, Signal, Submission
from deployments.job_leases import JobLeases
from deployments.job_store import JobStore, is_job_id, new_job_id
from deployments.schema import erasures, job_events, jobs
from pipeline.errors import (
    HeadsplatError,
    IdempotencyConflict,
    LeaseLost,
    NotFound,
    ProcessingError,
    QueueFull,
    TooManyJobs,
    UsageError,
)

ASKED = Submission(owner="ann", options={"seed": 1}, photo_sha256s=("p",))


def submit(store: JobStore, submission: Submission = ASKED) -> Job:
    return store.submit(store.reserve(), submission)


def test_the_same_key_from_fifty_threads_makes_one_job(database: Database) -> None:
    store, asked = JobStore(database), replace(ASKED, idempotency_key="k")
    with ThreadPoolExecutor(50) as threads:
        ids = list(threads.map(lambda _: submit(store, asked).id, range(50)))
    assert len(set(ids)) == 1
    assert [job.id for job in store.list("ann").jobs] == ids[:1]
    with pytest.raises(IdempotencyConflict):
        submit(store, replace(asked, photo_sha256s=("another",)))
    assert submit(store, replace(asked, owner="bob")).id != ids[0]


@pytest.mark.parametrize("key", ["", "a b", "\0", "é", "x" * 256])
def test_malformed_idempotency_keys_are_refused(database: Database, key: str) -> None:
    with pytest.raises(UsageError, match="1 to 255 visible ASCII"):
        submit(JobStore(database), replace(ASKED, idempotency_key=key))


def _accepted(store: JobStore, submissions: list[Submission]) -> tuple[int, set[type]]:
    def tried(submission: Submission) -> Job | HeadsplatError:
        try:
            return submit(store, submission)
        except HeadsplatError as error:
            return error

    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(tried, submissions))
    errors = {type(result) for result in results if not isinstance(result, Job)}
    return sum(isinstance(result, Job) for result in results), errors


def test_bounds_are_exact_under_concurrency(database: Database) -> None:
    store = JobStore(database, JobLimits(queue=7))
    one_owner = [replace(ASKED, max_jobs=3)] * 30
    assert _accepted(store, one_owner) == (3, {TooManyJobs})
    many_owners = [replace(ASKED, owner=f"owner-{n}") for n in range(30)]
    assert _accepted(store, many_owners) == (4, {QueueFull})


def fill(url: str) -> None:
    with closing(Database(url)) as database:
        _accepted(JobStore(database, JobLimits(queue=7)), [ASKED] * 10)


def test_the_queue_bound_is_exact_over_processes(url: str, database: Database) -> None:
    processes = [start(fill, url) for _ in range(3)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(JobStore(database).list("ann", limit=100).jobs) == 7


def test_retry_after_comes_from_the_length_of_recent_jobs(database: Database, clock: Clock) -> None:
    limits = JobLimits(queue=1)
    store, workers = JobStore(database, limits), JobLeases(database, limits)
    submit(store)
    with pytest.raises(QueueFull, match="1 jobs wait") as unknown:
        submit(store)
    for _ in range(2):
        lease = workers.claim("w", 1000.0)
        assert lease is not None
        clock.now_s += 90.0
        workers.finish(lease, Outcome(state=JobState.SUCCEEDED))
        submit(store)
    with pytest.raises(QueueFull) as idle:
        submit(store)
    for _ in range(2):
        workers.claim("w", 1000.0)
        submit(store)
    with pytest.raises(QueueFull) as two_at_work:
        submit(store)
    seconds = [refused.value.retry_after_s for refused in (unknown, idle, two_at_work)]
    assert seconds == [30, 90, 45]


def test_pages_stay_the_same_while_jobs_come_and_go(database: Database) -> None:
    store = JobStore(database)
    ids = [submit(store).id for _ in range(7)]
    first = store.list("ann", limit=3)
    late = submit(store).id
    store.erase("ann", ids[4])  # where the next page begins
    second = store.list("ann", first.next_cursor, limit=3)
    third = store.list("ann", second.next_cursor, limit=3)
    seen = [job.id for page in (first, second, third) for job in page.jobs]
    assert seen == list(reversed(ids))
    assert third.next_cursor is None
    assert late not in seen
    assert store.list("bob") == store.list("nobody")


@pytest.mark.parametrize("cursor", ["", "x", "LTE=", "MA==", "OTk5OTk5OTk5OTk5OTk5OQ==", "\0é"])
def test_cursors_of_others_are_refused(database: Database, cursor: str) -> None:
    with pytest.raises(UsageError, match="begin without one"):
        JobStore(database).list("ann", cursor)
    with pytest.raises(UsageError, match="1 to 100"):
        JobStore(database).list("ann", limit=101)


@pytest.mark.parametrize("job_id", ["", "av_x", "../../etc/passwd", "av_\0", "av_" + 26 * "a"])
def test_nobody_learns_of_jobs_that_are_not_theirs(database: Database, job_id: str) -> None:
    store = JobStore(database)
    mine = submit(store).id
    for owner, asked in (("ann", job_id), ("bob", mine)):
        for call in (store.get, store.events, store.cancel, store.erase):
            with pytest.raises(NotFound, match="there is no avatar"):
                call(owner, asked)
    assert store.get("ann", mine).state == JobState.QUEUED


def test_events_can_be_read_from_any_point(database: Database) -> None:
    store, workers = JobStore(database), JobLeases(database)
    job_id = submit(store).id
    lease = workers.claim("w", 10.0)
    assert lease is not None
    workers.heartbeat(lease, 10.0, Progress("HighRes", 5, 25, ("view-0.webp", "view-1.webp")))
    workers.heartbeat(lease, 10.0)
    assert store.get("ann", job_id).step == 5
    events = store.events("ann", job_id)
    assert [event.id for event in events] == [1, 2, 3]
    assert store.events("ann", job_id, after=2) == events[2:]
    assert store.events("ann", job_id, after=10**12) == ()
    assert store.events("ann", job_id, limit=1) == events[:1]
    assert events[2].kind == "progress"
    assert events[2].data == {
        "stage": "HighRes",
        "step": 5,
        "steps": 25,
        "views": ["view-0.webp", "view-1.webp"],
    }


def test_erasing_leaves_nothing_but_the_debt_of_its_files(database: Database, clock: Clock) -> None:
    store, workers = JobStore(database), JobLeases(database)
    job_id = submit(store, replace(ASKED, idempotency_key="k")).id
    lease = workers.claim("w", 10.0)
    assert lease is not None
    store.erase("ann", job_id)
    with database.reading() as connection:
        assert connection.execute(select(jobs)).all() == []
        assert connection.execute(select(job_events)).all() == []
        assert [row.job_id for row in connection.execute(select(erasures))] == [job_id]
    assert store.sweep() == ()  # its worker may write until it misses a heartbeat
    assert workers.heartbeat(lease, 10.0) == Signal.LOST
    with pytest.raises(LeaseLost):
        workers.finish(lease, Outcome(state=JobState.SUCCEEDED))
    clock.now_s += 10.0
    assert store.sweep() == store.sweep() == (job_id,)
    store.erased([job_id])
    assert store.sweep() == ()
    assert submit(store, replace(ASKED, idempotency_key="k")).id != job_id


def test_finished_jobs_are_kept_as_long_as_promised(database: Database, clock: Clock) -> None:
    limits = JobLimits(retention_s=60.0)
    store, workers = JobStore(database, limits), JobLeases(database, limits)
    done, waiting = submit(store).id, submit(store).id
    lease = workers.claim("w", 10.0)
    assert lease is not None
    workers.finish(lease, Outcome(state=JobState.SUCCEEDED, avatar_id="x"))
    clock.now_s += 59.0
    assert (store.sweep(), store.get("ann", done).avatar_id) == ((), "x")
    clock.now_s += 1.0
    assert store.sweep() == (done,)
    assert [job.id for job in store.list("ann").jobs] == [waiting]


def test_a_reservation_holds_for_a_while_and_once(database: Database, clock: Clock) -> None:
    store = JobStore(database)
    job_id = store.reserve()
    assert is_job_id(job_id)
    clock.now_s += 900.0
    assert store.sweep() == ()
    with pytest.raises(ProcessingError, match="not reserved"):
        store.submit(job_id, ASKED)
    clock.now_s += 60.0
    assert store.sweep() == (job_id,)
    store.erased([job_id])
    with pytest.raises(ProcessingError, match="not reserved"):
        store.submit(job_id, ASKED)
    used = submit(store).id
    with pytest.raises(ProcessingError, match="not reserved"):
        store.submit(used, ASKED)


def test_ten_thousand_jobs_are_no_burden(database: Database) -> None:
    """Far more than a queue holds; benchmarks/job_store.py says how long it takes."""
    store, workers = JobStore(database), JobLeases(database)
    first = submit(store)
    with database.writing() as transaction:
        row = transaction.connection.execute(select(jobs)).one()
        copied = {**row._mapping}
        del copied["number"]
        transaction.connection.execute(
            jobs.insert(),
            [{**copied, "id": new_job_id(), "owner": f"owner-{n % 10}"} for n in range(9_999)],
        )
    lease = workers.claim("w", 10.0)
    assert lease is not None
    assert lease.job.id == first.id
    second = workers.claim("w", 10.0)
    assert second is not None
    assert second.job.owner == "owner-0"
    cursor, seen = None, 0
    while True:
        page = store.list("owner-3", cursor, limit=100)
        seen, cursor = seen + len(page.jobs), page.next_cursor
        if cursor is None:
            break
    assert seen == 1_000
