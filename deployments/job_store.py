"""Jobs as clients see them: submitted, read, listed, cancelled and erased.

Workers use `deployments.job_leases`. All that one call does happens as a whole or not at all, and
has reached the disk when the call returns.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from deployments.admission import admit
from deployments.database import Database, Transaction
from deployments.job import Job, JobEvent, JobLimits, JobPage, JobState, Submission
from deployments.job_transitions import change, move
from deployments.schema import erasures, job_events, jobs
from pipeline.errors import NotFound, ProcessingError, UsageError

_RESERVED_S = 960.0
_MARGIN_S = 60.0
"""No submission uses a reservation that a sweep may be giving out at that moment."""
_SWEEP_ROWS = 1000
_MOST = 2**31 - 1
_JOB_ID = re.compile(r"av_[a-z2-7]{26}")


def new_job_id() -> str:
    """An id that nobody can guess: 128 random bits."""
    return "av_" + base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


def is_job_id(text: str) -> bool:
    """Whether ``text`` has the form of an id that `new_job_id` makes."""
    return _JOB_ID.fullmatch(text) is not None


class JobStore:
    """The jobs of the online service.

    Args:
        database: where they are.
        limits: how many may wait, how long they may take, how long they are kept.
    """

    def __init__(self, database: Database, limits: JobLimits | None = None) -> None:
        self._database = database
        self._limits = limits or JobLimits()

    def admit(self, submission: Submission) -> Job | None:
        """Refuse early what `submit` would refuse now, before its photos are stored.

        Returns:
            The job that the same request made before, or None if it would be a new one.

        Raises:
            IdempotencyConflict, QueueFull, TooManyJobs: as `submit`.
        """
        with self._database.reading() as connection:
            return admit(connection, submission, self._limits.queue)

    def reserve(self) -> str:
        """Make the id of a job to be submitted, under which its photos can be stored.

        If no submission follows within 15 minutes, `sweep` gives the id out for erasure.
        """
        job_id = new_job_id()
        with self._database.writing() as transaction:
            _owe_erasure(transaction, job_id, transaction.now_s + _RESERVED_S)
        return job_id

    def submit(self, job_id: str, submission: Submission) -> Job:
        """Accept a job; from the return on it survives whatever dies.

        Args:
            job_id: from `reserve`; the photos are stored under it.
            submission: what is asked for.

        Returns:
            The new job; or the one that the same request made before, with another id.

        Raises:
            IdempotencyConflict: its idempotency key was used for another request.
            QueueFull: as many jobs wait as may wait.
            TooManyJobs: the owner has as many unfinished jobs as it may have.
            ProcessingError: the reservation is older than 15 minutes.
        """
        with self._database.writing() as transaction:
            transaction.lock("queue")
            earlier = admit(transaction.connection, submission, self._limits.queue)
            return earlier or self._insert(transaction, job_id, submission)

    def get(self, owner: str, job_id: str) -> Job:
        """The job.

        Raises:
            NotFound: the owner has none of this id.
        """
        with self._database.reading() as connection:
            return Job.of(_owned(connection, owner, job_id))

    def list(self, owner: str, cursor: str | None = None, limit: int = 20) -> JobPage:
        """The owner's jobs, the newest first; those that come in between pages change no page.

        Args:
            owner: id of the API key.
            cursor: ``next_cursor`` of the page before.
            limit: jobs a page, 1 to 100.

        Raises:
            UsageError: the cursor is not one of ours, or the limit is out of range.
        """
        if not 1 <= limit <= 100:
            raise UsageError(f"limit {limit}: give 1 to 100 jobs a page")
        statement = select(jobs).where(jobs.c.owner == owner)
        if cursor is not None:
            statement = statement.where(jobs.c.number < _number(cursor))
        with self._database.reading() as connection:
            rows = connection.execute(
                statement.order_by(jobs.c.number.desc()).limit(limit + 1)
            ).all()
        page = rows[:limit]
        return JobPage(
            tuple(Job.of(row) for row in page),
            _cursor(page[-1].number) if len(rows) > limit else None,
        )

    def events(
        self, owner: str, job_id: str, after: int = 0, limit: int = 1000
    ) -> tuple[JobEvent, ...]:
        """What happened to a job after the event ``after``, in order.

        Raises:
            NotFound: the owner has no job of this id.
        """
        with self._database.reading() as connection:
            number = _owned(connection, owner, job_id).number
            rows = connection.execute(
                select(job_events)
                .where(job_events.c.job_number == number, job_events.c.id > min(after, _MOST))
                .order_by(job_events.c.id)
                .limit(limit)
            ).all()
        return tuple(JobEvent(row.id, row.created_s, row.kind, row.data) for row in rows)

    def last_events(self, job_ids: Iterable[str]) -> dict[str, int]:
        """The number of the last event of each of these jobs that there is."""
        statement = select(jobs.c.id, jobs.c.last_event).where(jobs.c.id.in_(list(job_ids)))
        with self._database.reading() as connection:
            return {row.id: row.last_event for row in connection.execute(statement)}

    def cancel(self, owner: str, job_id: str) -> Job:
        """Stop a job: a queued one at once, a running one at its worker's next heartbeat.

        A finished job stays as it is; one that is running will end as cancelled, whatever its
        worker says.

        Raises:
            NotFound: the owner has no job of this id.
        """
        with self._database.writing() as transaction:
            job = _owned(transaction.connection, owner, job_id, lock=True)
            if job.state == JobState.QUEUED:
                return move(transaction, job, JobState.CANCELLED, self._limits)
            if job.state == JobState.RUNNING and not job.cancel_requested:
                return change(transaction, job, "cancel_requested", {}, cancel_requested=True)
            return Job.of(job)

    def erase(self, owner: str, job_id: str) -> None:
        """Delete a job and all that is known of it; its worker is told at its next heartbeat.

        Its files are owed: `sweep` gives the id out, a running job's after its lease.

        Raises:
            NotFound: the owner has no job of this id.
        """
        with self._database.writing() as transaction:
            job = _owned(transaction.connection, owner, job_id, lock=True)
            _delete(transaction, [job])

    def waiting(self) -> int:
        """How many jobs wait."""
        waiting = select(func.count()).select_from(jobs).where(jobs.c.state == JobState.QUEUED)
        with self._database.reading() as connection:
            return connection.execute(waiting).scalar_one()

    def sweep(self) -> tuple[str, ...]:
        """Delete the jobs that were kept long enough, and say whose files have to be erased.

        The ids come again until `erased` confirms them, so that no file outlives a crash.
        """
        with self._database.writing() as transaction:
            expired = transaction.connection.execute(
                select(jobs)
                .where(jobs.c.expires_s <= transaction.now_s)
                .limit(_SWEEP_ROWS)
                .with_for_update(skip_locked=True)
            ).all()
            _delete(transaction, expired)
            due = select(erasures.c.job_id).where(erasures.c.due_s <= transaction.now_s)
            return tuple(transaction.connection.execute(due.limit(_SWEEP_ROWS)).scalars())

    def erased(self, job_ids: Iterable[str]) -> None:
        """Confirm that the files of these jobs are gone."""
        with self._database.writing() as transaction:
            transaction.connection.execute(
                delete(erasures).where(erasures.c.job_id.in_(list(job_ids)))
            )

    def _insert(self, transaction: Transaction, job_id: str, submission: Submission) -> Job:
        connection, now_s = transaction.connection, transaction.now_s
        valid = (erasures.c.job_id == job_id, erasures.c.due_s > now_s + _MARGIN_S)
        reserved = connection.execute(delete(erasures).where(*valid))
        if reserved.rowcount != 1:
            raise ProcessingError(f"{job_id} is not reserved, or not any more; submit anew")
        job = connection.execute(
            insert(jobs)
            .values(
                id=job_id,
                owner=submission.owner,
                state=JobState.QUEUED,
                options=submission.options,
                photo_sha256s=list(submission.photo_sha256s),
                idempotency_key=submission.idempotency_key,
                fingerprint=submission.fingerprint,
                created_s=now_s,
                deadline_s=now_s + self._limits.time_limit_s,
            )
            .returning(jobs)
        ).one()
        return move(transaction, job, JobState.QUEUED, self._limits)


def _owned(connection: Connection, owner: str, job_id: str, *, lock: bool = False) -> Row[Any]:
    statement = select(jobs).where(jobs.c.owner == owner, jobs.c.id == job_id)
    if lock:
        statement = statement.with_for_update()
    job = connection.execute(statement).one_or_none() if is_job_id(job_id) else None
    if job is None:
        raise NotFound(f"there is no avatar {job_id[:40]!r}")
    return job


def _delete(transaction: Transaction, rows: Iterable[Row[Any]]) -> None:
    for job in rows:
        transaction.connection.execute(delete(jobs).where(jobs.c.number == job.number))
        _owe_erasure(transaction, job.id, max(transaction.now_s, job.lease_expires_s or 0.0))


def _owe_erasure(transaction: Transaction, job_id: str, due_s: float) -> None:
    transaction.connection.execute(insert(erasures).values(job_id=job_id, due_s=due_s))


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(str(number).encode()).decode()


def _number(cursor: str) -> int:
    with suppress(binascii.Error, ValueError):
        number = int(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
        if 0 < number <= _MOST:
            return number
    raise UsageError(f"cursor {cursor[:40]!r} is not one of this service; begin without one")
