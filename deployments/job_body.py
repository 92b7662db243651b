"""Jobs as the HTTP API shows them."""

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from deployments.job import Job, JobPage, JobState
from deployments.job_graph import AvatarOptions
from deployments.problems import Problem, job_problem

_EXAMPLE_ID = "av_7dq3kz2m5xg4t6w5a2c4y7bqhe"


class ProgressBody(BaseModel):
    """How far a running job is."""

    stage: str = Field(examples=["HighRes"])
    step: int = Field(description="Steps of the stage that are done.")
    steps: int = Field(description="Steps that it has; 0 if it does not say.")


class JobBody(BaseModel):
    """An avatar that is made, or was."""

    id: str = Field(examples=[_EXAMPLE_ID])
    state: JobState
    created_at: datetime
    started_at: datetime | None = Field(description="When it was last begun.")
    finished_at: datetime | None
    deadline_at: datetime = Field(description="When it fails if it is not finished.")
    expires_at: datetime | None = Field(description="When it is erased.")
    attempts: int = Field(description="How often it was begun.")
    cancel_requested: bool
    options: AvatarOptions
    photos: int
    progress: ProgressBody | None
    avatar_id: str | None = Field(description="As of headsplat make with photo, model and seed.")
    files: dict[str, str] = Field(
        description="Paths of the avatar's files by name.",
        examples=[{"avatar.ply": f"/v1/avatars/{_EXAMPLE_ID}/files/avatar.ply"}],
    )
    error: Problem | None = Field(description="Why it was rejected or failed.")


class PageBody(BaseModel):
    """Some jobs, the newest first."""

    avatars: list[JobBody]
    next_cursor: str | None = Field(description="Of the next page; none on the last.")


def job_path(job_id: str) -> str:
    """Where the API has a job."""
    return f"/v1/avatars/{job_id}"


def job_body(job: Job) -> JobBody:
    """A job as the API shows it."""
    options = AvatarOptions(**job.options)
    names = options.files if job.state == JobState.SUCCEEDED else ()
    return JobBody(
        id=job.id,
        state=job.state,
        created_at=datetime.fromtimestamp(job.created_s, UTC),
        started_at=_time(job.started_s),
        finished_at=_time(job.finished_s),
        deadline_at=datetime.fromtimestamp(job.deadline_s, UTC),
        expires_at=_time(job.expires_s),
        attempts=job.attempts,
        cancel_requested=job.cancel_requested,
        options=options,
        photos=len(job.photo_sha256s),
        progress=_progress(job),
        avatar_id=job.avatar_id,
        files={name: f"{job_path(job.id)}/files/{name}" for name in names},
        error=job_problem(job.error_code, job.error_message or "") if job.error_code else None,
    )


def page_body(page: JobPage) -> PageBody:
    """A page of jobs as the API shows it."""
    return PageBody(avatars=[job_body(job) for job in page.jobs], next_cursor=page.next_cursor)


def _progress(job: Job) -> ProgressBody | None:
    if job.state != JobState.RUNNING or job.stage is None:
        return None
    return ProgressBody(stage=job.stage, step=job.step or 0, steps=job.steps or 0)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
