"""What may be chosen about a service: the fields of a Serve config file's ``args``."""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from deployments.database import DEFAULT_URL, URL_VARIABLE
from deployments.job import JobLimits
from pipeline.graph import GraphOptions
from pipeline.storage import locate

_SQLITE = "sqlite:///"


class Scaling(BaseModel):
    """How many replicas a stage with a network has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_replicas: NonNegativeInt = Field(
        default=1, description="0 frees its share of a GPU when idle."
    )
    max_replicas: PositiveInt = 1
    target_ongoing_requests: PositiveFloat = Field(
        default=1.5, description="Jobs a replica that replicas are added or taken away to reach."
    )
    upscale_delay_s: float = Field(default=10.0, ge=0)
    downscale_delay_s: float = Field(default=300.0, ge=0)


class ServiceOptions(BaseModel):
    """The whole of a service's configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: str = Field(default="avatars", description="Folder or URI for photos and avatars.")
    database: str | None = Field(
        default=None, description=f"SQLite's or PostgreSQL's address; else {URL_VARIABLE} says it."
    )
    model: str | None = Field(default=None, description="Model folder; None is the embedded one.")
    threads: int = Field(default=1, description="As of headsplat make.")
    lowres_steps: int | None = Field(default=None, description="As of headsplat make.")
    highres_steps: int | None = Field(default=None, description="As of headsplat make.")
    fit: Literal["gaussians", "network"] = Field(
        default="gaussians", description="As of headsplat make."
    )
    fit_steps: int | None = Field(default=None, description="As of headsplat make.")
    turntable_frames: int = Field(default=32, description="As of headsplat make.")

    gpus: float | None = Field(
        default=None, ge=0, description="GPUs to plan for; None is those that the cluster has now."
    )
    scaling: Scaling = Field(default=Scaling(), description="Of the stages that load a network.")
    stage_scaling: dict[str, Scaling] = Field(
        default={}, description="Of single ones of these, by name."
    )
    api_replicas: PositiveInt = 1
    runners: PositiveInt = Field(
        default=1, description="Processes that take jobs through the stages."
    )
    jobs_per_runner: PositiveInt = Field(default=4, description="At the same time.")

    queue: PositiveInt = Field(default=100, description="Jobs that may wait.")
    attempts: PositiveInt = Field(default=3, description="Times that a runner may die over a job.")
    time_limit_s: PositiveFloat = Field(default=1800.0, description="Of a job, waiting included.")
    retention_s: PositiveFloat = Field(
        default=86400.0, description="From a job's end to its erasure."
    )
    stage_timeout_s: PositiveFloat = Field(
        default=600.0, description="Of a stage with one job; a process that hangs is ended."
    )
    lease_s: PositiveFloat = Field(
        default=30.0, description="Silence after which a runner counts as dead."
    )
    drain_s: PositiveFloat = Field(
        default=60.0, description="For running jobs when a runner shuts down."
    )
    max_photo_mb: PositiveInt = Field(default=32, le=32, description="MiB of one photo.")
    max_photos: PositiveInt = Field(default=4, description="Of one person, a job.")

    def resolved(self) -> "ServiceOptions":
        """The same with addresses that hold in any process: nothing relative, no defaults left.

        Raises:
            UsageError: the output's scheme is unknown.
        """
        database = self.database or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        if database.startswith(_SQLITE) and not database.startswith(_SQLITE + "/"):
            database = _SQLITE + str(Path(database.removeprefix(_SQLITE)).absolute())
        output = locate(self.output)
        return self.model_copy(
            update={
                "database": database,
                "output": output.path if output.is_local else self.output,
                "model": str(Path(self.model).expanduser().absolute()) if self.model else None,
            }
        )

    def graph_options(self) -> GraphOptions:
        """The options of the stages, as far as they are the same for all jobs."""
        return GraphOptions(
            model=Path(self.model) if self.model else None,
            threads=self.threads,
            lowres_steps=self.lowres_steps,
            highres_steps=self.highres_steps,
            fit=self.fit,
            fit_steps=self.fit_steps,
            turntable_frames=self.turntable_frames,
        )

    def limits(self) -> JobLimits:
        """The limits of the jobs."""
        return JobLimits(
            queue=self.queue,
            attempts=self.attempts,
            time_limit_s=self.time_limit_s,
            retention_s=self.retention_s,
        )
