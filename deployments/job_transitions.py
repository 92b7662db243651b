"""How a job's row changes, and how each change becomes an event, in one transaction."""

from typing import Any

from sqlalchemy import Row, insert, update

from deployments.database import Transaction
from deployments.job import Job, JobLimits, JobState
from deployments.schema import job_events, jobs
from pipeline.errors import HeadsplatError


def move(
    transaction: Transaction, job: Row[Any], state: JobState, limits: JobLimits, **values: Any
) -> Job:
    """Take a locked job to ``state``, with further columns set to ``values``."""
    if state.is_final:
        now_s = transaction.now_s
        values |= {"finished_s": now_s, "expires_s": now_s + limits.retention_s}
    # a cancelled job keeps its lease, for its worker may still be at work until that ends
    if state not in (JobState.RUNNING, JobState.CANCELLED):
        values = {"lease_expires_s": None} | values
    data = {"state": state}
    if values.get("error_code"):
        data["error_code"] = values["error_code"]
    return change(transaction, job, "state", data, state=state, **values)


def change(
    transaction: Transaction, job: Row[Any], kind: str, data: dict[str, Any], **values: Any
) -> Job:
    """Set columns of a locked job and append the event that tells of it."""
    number = job.last_event + 1
    connection = transaction.connection
    changed = connection.execute(
        update(jobs)
        .where(jobs.c.number == job.number)
        .values(last_event=number, **values)
        .returning(jobs)
    ).one()
    connection.execute(
        insert(job_events).values(
            job_number=job.number, id=number, created_s=transaction.now_s, kind=kind, data=data
        )
    )
    return Job.of(changed)


def failure(error: type[HeadsplatError], message: str) -> dict[str, str]:
    """The columns of a job that failed with ``error``."""
    return {"error_code": error.code, "error_message": message}
