"""One job's way through the stages of the graph."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from deployments.job import JobState, Outcome
from deployments.job_files import EARLY
from deployments.step import Step
from deployments.step_replica import CANCELLED, Call, is_large
from pipeline.errors import AttemptsExhausted, DestinationUnavailable, LeaseLost, ProcessingError
from pipeline.local import with_outcome
from pipeline.stage import Row
from pipeline.storage import Location

if TYPE_CHECKING:
    from pipeline.pictures import Pixels

_log = logging.getLogger("ray.serve")
_TRIES = 3
"""How often a step may take up a row over which its replica dies."""
_DEATHS = 10
"""Of replicas in which a row was, at work or waiting. One that ends its replica at once may not be
known to have been taken up."""
_STATES: dict[str, JobState] = {"ok": JobState.SUCCEEDED, "rejected": JobState.REJECTED}


@dataclass(frozen=True)
class StepCall:
    """A step as one job calls it.

    Attributes:
        step: the step.
        handle: of its deployment.
        call: what goes with the row.
    """

    step: Step
    handle: DeploymentHandle[Any]
    call: Call


class JobRun:
    """A job that is taken through the stages.

    Each array stays where its step put it, and goes by reference to the steps that read it.
    Numbers and texts go through the run, which sees by them whether the row came to an outcome.

    Args:
        calls: of the steps, in order.
        photo: the job's photo.
        early: folder for the pictures.
        on_stage: called with a stage's name and seconds when its process is done.
    """

    def __init__(
        self,
        calls: Sequence[StepCall],
        photo: Location,
        early: Location,
        on_stage: Callable[[str, float], None],
    ) -> None:
        self._calls = calls
        self._photo = photo
        self._early = early
        self._on_stage = on_stage
        self._new_views: list[str] = []
        self._shows: list[asyncio.Task[None]] = []
        self._writes: list[asyncio.Task[None]] = []
        self.stages: tuple[str, ...] = ("",)
        """Names of the stages whose process has the row now."""

    def take_views(self) -> tuple[str, ...]:
        """Names of the pictures that became readable since the last call."""
        views, self._new_views = tuple(self._new_views), []
        return views

    async def __call__(self) -> Outcome:
        """Run the stages; what goes wrong with the photo in one of them is in the outcome.

        Cancelling the task that awaits this takes the job's row out of the step's queue.

        Raises:
            AttemptsExhausted: the replicas of a step died over the row.
            LeaseLost: the board that the stages ask is gone.
            RayServeException, RayError: a step cannot be reached.
        """
        try:
            row = await self._through_all()
            await asyncio.gather(*self._shows)
            return self._outcome(with_outcome(row))
        finally:  # a picture that is written later would outlive the erasure of its job
            for show in self._shows:
                show.cancel()
            await asyncio.gather(*self._writes, return_exceptions=True)

    async def _through_all(self) -> Row:
        row: Row = {"source": self._photo.address}
        holders: dict[str, DeploymentResponse[Any]] = {}
        for call in self._calls:
            self.stages = tuple(stage.name for stage in call.step.stages)
            reads = [name for name in call.step.inputs if name in holders]
            parts = {id(holders[name]): holders[name] for name in reads}
            response, news = await _through(call, row, [*parts.values()])
            large = {name: value for name, value in news.items() if is_large(value)}
            holders |= dict.fromkeys(large, response)
            row |= {name: value for name, value in news.items() if name not in large}
            if row.get("outcome") == CANCELLED:
                raise LeaseLost(f"{call.step.name} was told to stop by another than this run")
            if row.get("outcome") in (None, "ok"):
                timings_s = row.get("timings_s", {})
                for name in timings_s.keys() & set(self.stages):
                    self._on_stage(name, timings_s[name])
            if row.get("outcome") is not None:
                break
            for column in EARLY.keys() & large.keys():
                self._shows.append(asyncio.create_task(self._show(column, large[column])))
        return row

    async def _show(self, column: str, pixels: "Pixels") -> None:
        """Make a column's picture readable while the next stages are at work."""
        file = self._early.child(EARLY[column])
        try:
            data = await asyncio.to_thread(_picture, column, pixels)
            write = asyncio.create_task(asyncio.to_thread(file.write, data))
            self._writes.append(write)
            await asyncio.shield(write)
            self._new_views.append(f"early/{EARLY[column]}")
        except Exception as error:  # whatever it is, the avatar does not need the picture
            _log.warning("a picture could not be shown: %s", error)

    def _outcome(self, row: Row) -> Outcome:
        if row.get("error_trace") or row.get("error_code") == DestinationUnavailable.code:
            why = row.get("error_trace") or row["error_message"]  # has paths in it
            _log.error("stage %s failed:\n%s", row["error_stage"], why)
            return Outcome(
                state=JobState.FAILED,
                error_code=row["error_code"],
                error_message=f"{row['error_stage']} failed; the service's log says why",
            )
        message = row.get("error_message") or ""
        for name in (self._photo.address, self._photo.uri):
            message = message.replace(name, "the photo")
        return Outcome(
            state=_STATES.get(row["outcome"], JobState.FAILED),  # type: ignore[arg-type]
            avatar_id=row["id"] if row["outcome"] == "ok" else None,
            error_code=row.get("error_code"),
            error_message=message or None,
        )


def _picture(column: str, pixels: "Pixels") -> bytes:
    from pipeline import pictures

    flat = column == "portrait"
    return pictures.png(pixels) if flat else pictures.webp(pictures.contact_sheet(pixels))


async def _through(
    call: StepCall, row: Row, parts: Sequence[DeploymentResponse[Any]]
) -> tuple[DeploymentResponse[Any], Row]:
    """Have a step's replica work on a row; another one if that dies.

    Returns:
        The response and the new columns in it.

    Raises:
        AttemptsExhausted: too many died.
    """
    name, goes_with = call.step.name, call.call
    for _ in range(_DEATHS):
        response: DeploymentResponse[Any] = call.handle.remote(row, goes_with, *parts)  # type: ignore
        try:
            return response, await response
        except asyncio.CancelledError:
            response.cancel()  # type: ignore[no-untyped-call]
            raise
        except RayActorError:
            _log.warning("a replica of %s died", name)
            goes_with = replace(goes_with, alone=True)
            if await goes_with.board.begun.remote(goes_with.token, name) >= _TRIES:
                raise AttemptsExhausted(f"the worker of {name} died {_TRIES} times") from None
    raise AttemptsExhausted(f"{_DEATHS} workers of {name} died")


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
