"""Jobs as workers see them: claimed under a lease, kept alive, finished or given back.

A worker owns a job by a token that only its claim knows. Taking a job back (its lease expired, its
time ran out, its owner erased it) makes the token void, so a worker that was only slow or cut off
can neither finish nor bring back a job that is no longer its own.
"""

import secrets
from typing import Any

from sqlalchemy import Row, Select, and_, func, or_, select, update

from deployments.database import Database, Transaction
from deployments.job import Job, JobLimits, JobState, Lease, Outcome, Progress, Signal
from deployments.job_transitions import change, failure, move
from deployments.schema import jobs
from pipeline.errors import AttemptsExhausted, DeadlineExceeded, LeaseLost

_EXPIRE_ROWS = 100


class JobLeases:
    """The worker's side of the jobs.

    Args:
        database: where they are.
        limits: how often a job may be attempted, how long it is kept; as the `JobStore`'s.
    """

    def __init__(self, database: Database, limits: JobLimits | None = None) -> None:
        self._database = database
        self._limits = limits or JobLimits()

    def claim(self, worker: str, lease_s: float) -> Lease | None:
        """Take the oldest queued job of an owner who has the fewest jobs running.

        What other workers left behind is taken back first.

        Args:
            worker: its name, for people.
            lease_s: how long it may stay silent; beat at least three times as often.

        Returns:
            The job and the right to it, or None if nothing waits.
        """
        with self._database.writing() as transaction:
            self._expire(transaction)
            job = transaction.connection.execute(_next_job()).one_or_none()
            if job is None:
                return None
            token = secrets.token_hex(16)
            claimed = move(
                transaction,
                job,
                JobState.RUNNING,
                self._limits,
                worker=worker,
                lease_token=token,
                lease_expires_s=transaction.now_s + lease_s,
                started_s=transaction.now_s,
                attempts=job.attempts + 1,
            )
            return Lease(claimed, token)

    def heartbeat(self, lease: Lease, lease_s: float, progress: Progress | None = None) -> Signal:
        """Say that the worker lives, and how far it is; learn whether to go on."""
        with self._database.writing() as transaction:
            job = _held(transaction, lease)
            if job is None or job.state != JobState.RUNNING:
                return Signal.LOST
            expires_s = transaction.now_s + lease_s
            if progress is None:
                transaction.connection.execute(
                    update(jobs)
                    .where(jobs.c.number == job.number)
                    .values(lease_expires_s=expires_s)
                )
            else:
                _report(transaction, job, progress, expires_s)
            return Signal.CANCEL if job.cancel_requested else Signal.CONTINUE

    def finish(self, lease: Lease, outcome: Outcome) -> Job:
        """Record how the job ended; a second call, after a lost answer, changes nothing.

        A job whose cancellation was asked for ends as cancelled.

        Raises:
            LeaseLost: the job is no longer the worker's; nothing is recorded.
        """
        with self._database.writing() as transaction:
            job = _held(transaction, lease)
            if job is None:
                raise LeaseLost(f"{lease.job.id} was taken back from its worker or erased")
            if job.state != JobState.RUNNING:
                return Job.of(job)
            if job.cancel_requested:
                return move(transaction, job, JobState.CANCELLED, self._limits)
            return move(
                transaction,
                job,
                outcome.state,
                self._limits,
                avatar_id=outcome.avatar_id,
                error_code=outcome.error_code,
                error_message=_storable(outcome.error_message),
            )

    def release(self, lease: Lease) -> None:
        """Give an unfinished job back, as a worker that shuts down does; no attempt is counted."""
        with self._database.writing() as transaction:
            job = _held(transaction, lease)
            if job is not None and job.state == JobState.RUNNING:
                self._take_back(transaction, job, attempts=job.attempts - 1)

    def expire(self) -> int:
        """Take jobs back from silent workers, fail those out of time or attempts.

        Returns:
            How many. `claim` does the same, but workers that have enough to do do not claim.
        """
        with self._database.writing() as transaction:
            return self._expire(transaction)

    def _expire(self, transaction: Transaction) -> int:
        now_s = transaction.now_s
        lapsed = or_(jobs.c.lease_expires_s <= now_s, jobs.c.deadline_s <= now_s)
        overdue = transaction.connection.execute(
            select(jobs)
            .where(
                or_(
                    and_(jobs.c.state == JobState.RUNNING, lapsed),
                    and_(jobs.c.state == JobState.QUEUED, jobs.c.deadline_s <= now_s),
                )
            )
            .order_by(jobs.c.number)
            .limit(_EXPIRE_ROWS)
            .with_for_update(skip_locked=True)
        ).all()
        for job in overdue:
            self._take_back(transaction, job, attempts=job.attempts)
        return len(overdue)

    def _take_back(self, transaction: Transaction, job: Row[Any], attempts: int) -> None:
        values: dict[str, Any] = {"lease_token": None, "attempts": attempts}
        state = JobState.FAILED
        if job.cancel_requested:
            state = JobState.CANCELLED
        elif job.deadline_s <= transaction.now_s:
            limit_s = job.deadline_s - job.created_s
            values |= failure(DeadlineExceeded, f"not finished {limit_s:g} s after submission")
            values["lease_expires_s"] = job.lease_expires_s  # its worker may still be at work
        elif attempts >= self._limits.attempts:
            values |= failure(AttemptsExhausted, f"its worker died at each of {attempts} attempts")
        else:
            state = JobState.QUEUED
            values |= {"stage": None, "step": None, "steps": None}
        move(transaction, job, state, self._limits, **values)


def _held(transaction: Transaction, lease: Lease) -> Row[Any] | None:
    """The job, if ``lease`` is still the right to it."""
    statement = select(jobs).where(jobs.c.id == lease.job.id, jobs.c.lease_token == lease.token)
    return transaction.connection.execute(statement.with_for_update()).one_or_none()


def _storable(message: str | None) -> str | None:
    """Without what PostgreSQL refuses: libraries quote bytes of damaged images in their errors."""
    return message and message.encode(errors="replace").decode().replace("\0", "")


def _report(transaction: Transaction, job: Row[Any], progress: Progress, expires_s: float) -> None:
    done = {"stage": progress.stage, "step": progress.step, "steps": progress.steps}
    told = {**done, "views": list(progress.views)}
    change(transaction, job, "progress", told, lease_expires_s=expires_s, **done)


def _next_job() -> Select[Any]:
    others = jobs.alias("others")
    running = (
        select(others.c.owner, func.count().label("number"))
        .where(others.c.state == JobState.RUNNING)
        .group_by(others.c.owner)
        .cte("running")
    )
    return (
        select(jobs)
        .outerjoin(running, running.c.owner == jobs.c.owner)
        .where(jobs.c.state == JobState.QUEUED)
        .order_by(func.coalesce(running.c.number, 0), jobs.c.number)
        .limit(1)
        .with_for_update(of=jobs, skip_locked=True)
    )
