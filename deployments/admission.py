"""Whether a job is taken: once for each idempotency key, and only while there is room."""

import math
import re

from sqlalchemy import ColumnElement, Connection, func, select

from deployments.job import Job, JobState, Submission
from deployments.schema import jobs
from pipeline.errors import IdempotencyConflict, QueueFull, TooManyJobs, UsageError

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING)
_RECENT = 20
_LEAST_S, _MOST_S = 1, 600
_TYPICAL_S = 30.0
"""A job's length while none has finished yet."""


def admit(connection: Connection, submission: Submission, queue: int) -> Job | None:
    """Find the job that the same request made before, or see whether a new one may be made.

    Args:
        connection: of the transaction in which the job is to be made.
        submission: what is asked for.
        queue: jobs that may wait.

    Returns:
        The earlier job, or None.

    Raises:
        IdempotencyConflict, QueueFull, TooManyJobs: as `JobStore.submit`.
        UsageError: the idempotency key is malformed.
    """
    earlier = _earlier(connection, submission)
    if earlier is not None:
        return earlier
    waiting = _count(connection, jobs.c.state == JobState.QUEUED)
    if waiting >= queue:
        raise QueueFull(
            f"{waiting} jobs wait, as many as may; try again later", _retry_after_s(connection)
        )
    if submission.max_jobs is not None:
        _check_owner(connection, submission.owner, submission.max_jobs)
    return None


def _earlier(connection: Connection, submission: Submission) -> Job | None:
    key = submission.idempotency_key
    if key is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise UsageError("an idempotency key has 1 to 255 visible ASCII characters")
    mine = (jobs.c.owner == submission.owner, jobs.c.idempotency_key == key)
    row = connection.execute(select(jobs).where(*mine)).one_or_none()
    if row is not None and row.fingerprint != submission.fingerprint:
        raise IdempotencyConflict(
            "this idempotency key was used for a request with other photos or options; use a new "
            "key for a new request"
        )
    return None if row is None else Job.of(row)


def _check_owner(connection: Connection, owner: str, max_jobs: int) -> None:
    unfinished = _count(connection, jobs.c.owner == owner, jobs.c.state.in_(_UNFINISHED))
    if unfinished >= max_jobs:
        raise TooManyJobs(
            f"{unfinished} of your jobs are unfinished, as many as may be; wait for one or cancel "
            "one",
            _retry_after_s(connection),
        )


def _count(connection: Connection, *conditions: ColumnElement[bool]) -> int:
    statement = select(func.count()).select_from(jobs).where(*conditions)
    return connection.execute(statement).scalar_one()


def _retry_after_s(connection: Connection) -> int:
    """When a worker will probably be free: a recent job's length, shared by those at work."""
    recent = (
        select((jobs.c.finished_s - jobs.c.started_s).label("length_s"))
        .where(jobs.c.state == JobState.SUCCEEDED)
        .order_by(jobs.c.number.desc())
        .limit(_RECENT)
        .subquery()
    )
    length_s = connection.execute(select(func.avg(recent.c.length_s))).scalar_one()
    workers = max(1, _count(connection, jobs.c.state == JobState.RUNNING))
    return min(max(math.ceil((length_s or _TYPICAL_S) / workers), _LEAST_S), _MOST_S)
