"""The Ray Serve executor's half of a step: its stages in one process, through `run_stage` as ever.

A stage with weights loads them once and serves every job. One without, whose configuration names
the job's own folder and seed, comes with each call instead.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray import serve
from ray.serve import Deployment

from deployments.board import stage_context
from deployments.options import Scaling
from deployments.step import Step
from jobs.devices import stage_device
from jobs.pools import Pool
from jobs.watchdog import end_process
from pipeline.errors import Cancelled, DeviceBroken
from pipeline.graph import trim
from pipeline.stage import Context, Row, Stage, run_stage

CANCELLED = "cancelled"
"""The outcome of a row whose job was stopped; other executors have none for it."""
_BATCH_WAIT_S = 0.02
_LONG_S = 0.1
"""A row that waited no longer than this for the thread has just been sent: its job is on."""
_HEALTH_S = 3.0


@dataclass(frozen=True)
class Call:
    """What comes with a row.

    Attributes:
        board: the runner's `Board`.
        token: of the job's lease.
        own: the job's own stages, which are those without weights, by name.
        alone: whether the row is to share no batch, since a process died over one that it was in.
    """

    board: Any
    token: str
    own: Mapping[str, Stage]
    alone: bool = False


def is_large(value: Any) -> bool:
    """Whether a column's value travels by reference."""
    return isinstance(value, bytes | np.ndarray)


class _Worker:
    """One worker of a step: rows one after the other, in a thread that keeps the loop free.

    Args:
        step: the step.
        needed: columns that the steps behind it read.
        timeout_s: most seconds that a stage may spend on a job.
    """

    def __init__(self, step: Step, needed: frozenset[str], timeout_s: float) -> None:
        # Ray Serve pickles what it gave the constructor, which stays small
        self._step = Step(tuple(copy(stage) for stage in step.stages))
        self._needed = needed
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=step.name)
        lead = self._step.lead
        self._thread.submit(lead.setup, stage_device(lead)).result()

    def _joined(self, row: Row, parts: Sequence[Row]) -> Row:
        """The whole row: ``row`` with the columns of the earlier steps' results that are read."""
        large = {name: part[name] for part in parts for name in part if name in self._step.inputs}
        return {**row, **{name: value for name, value in large.items() if is_large(value)}}

    async def _run(self, rows: Sequence[Row], calls: Sequence[Call]) -> list[Row]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._work, rows, calls, time.monotonic())

    def _work(self, rows: Sequence[Row], calls: Sequence[Call], sent_s: float) -> list[Row]:
        context = stage_context([(call.board, call.token) for call in calls], self._timeout_s)
        try:
            if time.monotonic() - sent_s > _LONG_S and context.is_cancelled():
                raise Cancelled(f"cancelled before {self._step.name}")
            for call in calls:
                call.board.begin.remote(call.token, self._step.name)
            results = self._through(rows, calls, context)
        except Cancelled:
            return [{"outcome": CANCELLED} for _ in rows]
        except DeviceBroken:  # Ray Serve starts another replica, and the runner calls that one
            end_process()
            raise
        return [self._news(*pair) for pair in zip(rows, results, strict=True)]

    def _through(self, rows: Sequence[Row], calls: Sequence[Call], context: Context) -> list[Row]:
        results = list(rows)
        for stage in self._step.stages:
            if stage is not self._step.stages[0]:  # which the runner takes it to be at
                context.report(stage.name, 0, 0)
            if stage.name in calls[0].own:
                pairs = zip(calls, results, strict=True)
                results = [run_stage(job.own[stage.name], [row], context)[0] for job, row in pairs]
            else:
                results = run_stage(stage, results, context)
        return results

    def _news(self, row: Row, result: Row) -> Row:
        """A result without the arrays that came with the row; they are where they were."""
        return {
            name: value
            for name, value in trim(result, self._needed).items()
            if not (is_large(value) and value is row.get(name))
        }


class StepReplica(_Worker):
    """A worker that takes rows as they come."""

    async def __call__(self, row: Row, call: Call, *parts: Row) -> Row:
        """Run the stages on a row.

        Args:
            row: its small columns.
            call: what comes with it.
            parts: results of earlier steps, which hold the large columns.

        Returns:
            The row with the stages' columns, or with the outcome that it had or came to; of the
            large ones only those that are new.
        """
        return (await self._run([self._joined(row, parts)], [call]))[0]


def step_deployment(pool: Pool, scaling: Scaling) -> Deployment:
    """The deployment of a step.

    Args:
        pool: the step's lead and the share of the machine that a replica has.
        scaling: how many replicas.
    """
    name, batch_size = pool.stage.name, pool.batch
    replica: type[_Worker] = _batched(batch_size) if batch_size > 1 else StepReplica
    # the class is named after the step, so that dashboards, logs and process lists read well
    named = type(name, (replica,), {"__module__": __name__})
    options: dict[str, Any] = {"num_replicas": scaling.min_replicas}
    if scaling.min_replicas != scaling.max_replicas:
        options = {"autoscaling_config": scaling.model_dump()}
    return serve.deployment(
        name=name,
        ray_actor_options={"num_cpus": pool.cpus, "num_gpus": pool.gpus},
        max_ongoing_requests=2 * batch_size,  # one at work, one that is there when it is done
        health_check_period_s=_HEALTH_S,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=120.0,
        **options,
    )(named)


def _batched(size: int) -> type[_Worker]:
    class Batched(_Worker):
        async def __call__(self, row: Row, call: Call, *parts: Row) -> Row:
            if call.alone:
                return (await self._run([self._joined(row, parts)], [call]))[0]
            done: Row = await self._batch(self._joined(row, parts), call)  # type: ignore
            return done

        # Ray's types know batched methods of one argument only
        @serve.batch(max_batch_size=size, batch_wait_timeout_s=_BATCH_WAIT_S)  # type: ignore
        async def _batch(  # type: ignore
            self, rows: list[Row], calls: list[Call]
        ) -> list[Row]:
            return await self._run(rows, calls)

    return Batched
