"""What a job of the online service is: its states, progress, outcome and events.

    queued --> running --> succeeded | rejected | failed | cancelled
      ^           |
      '-----------'   the worker's lease expired, or it gave the job back

A queued job may also become cancelled or, when it is out of time, failed. Times are seconds since
1970 UTC.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Literal, Self

from sqlalchemy import Row


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether a job in this state stays in it."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it was when it was read.

    Attributes:
        id: made by the server, not to be guessed.
        owner: id of the API key that submitted it.
        state: where it stands.
        options: of the avatar, as the client gave them.
        photo_sha256s: digest of each photo, in order.
        idempotency_key: what the client called its request.
        created_s: when it was submitted.
        started_s: when a worker last claimed it.
        finished_s: when it came to its final state.
        deadline_s: when it fails if it has not finished.
        expires_s: when it is erased; None until it has finished.
        attempts: how often a worker began it.
        cancel_requested: a running job that shall stop.
        worker: who runs it, or ran it last.
        lease_expires_s: when a running job is taken back from a silent worker.
        stage: which stage is at work.
        step: how many of the stage's steps are done.
        steps: how many it has.
        last_event: number of its last event.
        avatar_id: of the avatar it made.
        error_code: why it was rejected or failed, for programs.
        error_message: the same for people.
    """

    id: str
    owner: str
    state: JobState
    options: dict[str, Any]
    photo_sha256s: tuple[str, ...]
    idempotency_key: str | None
    created_s: float
    started_s: float | None
    finished_s: float | None
    deadline_s: float
    expires_s: float | None
    attempts: int
    cancel_requested: bool
    worker: str | None
    lease_expires_s: float | None
    stage: str | None
    step: int | None
    steps: int | None
    last_event: int
    avatar_id: str | None
    error_code: str | None
    error_message: str | None

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """The job in a row of the table."""
        values = {field.name: getattr(row, field.name) for field in fields(cls)}
        values["state"] = JobState(row.state)
        values["photo_sha256s"] = tuple(row.photo_sha256s)
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a client asks for.

    Attributes:
        owner: id of the API key.
        options: of the avatar; JSON.
        photo_sha256s: digest of each photo, in order.
        idempotency_key: the client's name for this request; the same name again gives the same job.
        max_jobs: unfinished jobs that the owner may have; None is no limit.
    """

    owner: str
    options: dict[str, Any]
    photo_sha256s: tuple[str, ...]
    idempotency_key: str | None = None
    max_jobs: int | None = None

    @property
    def fingerprint(self) -> str:
        """Digest of what the avatar is made from."""
        asked = json.dumps([self.options, self.photo_sha256s], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class JobLimits:
    """The same for all jobs of a service.

    Attributes:
        queue: jobs that may wait.
        attempts: times that a worker may die over a job.
        time_limit_s: from submission to the end, waiting included.
        retention_s: from the end to the erasure.
    """

    queue: int = 100
    attempts: int = 3
    time_limit_s: float = 1800.0
    retention_s: float = 86400.0


@dataclass(frozen=True)
class Lease:
    """A worker's right to one job, until it finishes, gives the job back or stays silent too long.

    Attributes:
        job: as it was claimed.
        token: tells this lease from earlier ones of the same job.
    """

    job: Job
    token: str


class Signal(StrEnum):
    """What a heartbeat tells the worker."""

    CONTINUE = "continue"
    CANCEL = "cancel"
    """Stop and `finish` the job; whatever the outcome, it is recorded as cancelled."""
    LOST = "lost"
    """Stop and write nothing more; the job was deleted or is another worker's now."""


@dataclass(frozen=True)
class Progress:
    """What a worker reports.

    Attributes:
        stage: the stage at work.
        step: how many of its steps are done.
        steps: how many it has.
        views: names of early views that became readable since the last report.
    """

    stage: str
    step: int
    steps: int
    views: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        state: a final one.
        avatar_id: of the avatar that was made.
        error_code: why there is none, as in `pipeline.errors`.
        error_message: the same for people.
    """

    state: Literal[JobState.SUCCEEDED, JobState.REJECTED, JobState.FAILED, JobState.CANCELLED]
    avatar_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job.

    Attributes:
        id: 1, 2, 3 and so on in each job, in the order in which they happened.
        created_s: when.
        kind: ``state`` or ``progress``.
        data: of a state, ``state`` and, if there is one, ``error_code``; of progress, the fields
            of `Progress`.
    """

    id: int
    created_s: float
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class JobPage:
    """Some of an owner's jobs, the newest first.

    Attributes:
        jobs: the jobs.
        next_cursor: where the next page begins; None if this is the last.
    """

    jobs: tuple[Job, ...]
    next_cursor: str | None
