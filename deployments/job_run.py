"""One job's way through the stages of the graph."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from deployments.job import JobState, Outcome
from deployments.job_files import EARLY
from deployments.stage_replica import CANCELLED, Call
from pipeline.errors import AttemptsExhausted, LeaseLost, ProcessingError
from pipeline.local import with_outcome
from pipeline.stage import Row
from pipeline.storage import Location

_log = logging.getLogger("ray.serve")
_TRIES = 3
"""How often a stage whose replica died over a row is given the row."""
_STATES: dict[str, JobState] = {"ok": JobState.SUCCEEDED, "rejected": JobState.REJECTED}


@dataclass(frozen=True)
class Step:
    """A stage as one job calls it.

    Attributes:
        name: the stage's.
        outputs: columns that it writes.
        handle: of its deployment.
        call: what goes with the row.
    """

    name: str
    outputs: tuple[str, ...]
    handle: DeploymentHandle[Any]
    call: Call


class JobRun:
    """A job that is taken through the stages.

    Rows travel from replica to replica by reference; the run looks at each only to see whether it
    came to an outcome, and to show pictures.

    Args:
        steps: the stages.
        photo: the job's photo.
        early: folder for the pictures.
        on_stage: called with a stage's name and seconds when it is done.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        photo: Location,
        early: Location,
        on_stage: Callable[[str, float], None],
    ) -> None:
        self._steps = steps
        self._photo = photo
        self._early = early
        self._on_stage = on_stage
        self._new_views: list[str] = []
        self.stage = ""
        """Name of the stage that has the row now."""

    def take_views(self) -> tuple[str, ...]:
        """Names of the pictures that became readable since the last call."""
        views, self._new_views = tuple(self._new_views), []
        return views

    async def __call__(self) -> Outcome:
        """Run the stages; what goes wrong with the photo in one of them is in the outcome.

        Cancelling the task that awaits this takes the job's row out of the stage's queue.

        Raises:
            AttemptsExhausted: the replicas of a stage died over the row.
            LeaseLost: the board that the stages ask is gone.
            RayServeException, RayError: a stage cannot be reached.
        """
        row: Row = {"source": self._photo.uri}
        given: Row | DeploymentResponse[Any] = row
        for step in self._steps:
            self.stage = step.name
            given, row = await _through(step, given)
            if row.get("outcome") == CANCELLED:
                raise LeaseLost(f"{step.name} was told to stop by another than this run")
            if row.get("outcome") is not None:
                break
            self._on_stage(step.name, row.get("timings_s", {}).get(step.name, 0.0))
            await asyncio.to_thread(self._show, step, row)
        return self._outcome(with_outcome(row))

    def _show(self, step: Step, row: Row) -> None:
        from pipeline import pictures

        for column in EARLY.keys() & set(step.outputs) & row.keys():
            pixels = row[column]
            flat = column == "portrait"
            data = pictures.png(pixels) if flat else pictures.webp(pictures.contact_sheet(pixels))
            self._early.child(EARLY[column]).write(data)
            self._new_views.append(f"early/{EARLY[column]}")

    def _outcome(self, row: Row) -> Outcome:
        if row.get("error_trace"):
            _log.error("stage %s failed:\n%s", row["error_stage"], row["error_trace"])
            return Outcome(
                state=JobState.FAILED,
                error_code=row["error_code"],
                error_message=f"{row['error_stage']} failed; the service's log says why",
            )
        message = row.get("error_message")
        return Outcome(
            state=_STATES.get(row["outcome"], JobState.FAILED),  # type: ignore[arg-type]
            avatar_id=row["id"] if row["outcome"] == "ok" else None,
            error_code=row.get("error_code"),
            error_message=message and message.replace(self._photo.uri, "the photo"),
        )


async def _through(
    step: Step, given: Row | DeploymentResponse[Any]
) -> tuple[DeploymentResponse[Any], Row]:
    """Have a stage's replica work on a row; another one if that dies.

    Raises:
        AttemptsExhausted: they all died.
    """
    for _ in range(_TRIES):
        response: DeploymentResponse[Any] = step.handle.remote(given, step.call)  # type: ignore
        try:
            return response, await response
        except asyncio.CancelledError:
            response.cancel()  # type: ignore[no-untyped-call]
            raise
        except RayActorError:
            _log.warning("a replica of %s died at work", step.name)
    raise AttemptsExhausted(f"the worker of {step.name} died each of {_TRIES} times")


def unreachable(error: Exception) -> Outcome:
    """The outcome of a job that raised ``error``."""
    if isinstance(error, AttemptsExhausted):
        return Outcome(state=JobState.FAILED, error_code=error.code, error_message=str(error))
    _log.error("the stages could not be run", exc_info=error)
    return Outcome(
        state=JobState.FAILED,
        error_code=ProcessingError.code,
        error_message="the service could not run the stages; its log says why",
    )
