"""The Ray Serve executor's half of a stage: one deployment each, through `run_stage` as ever.

A stage with weights loads them once and serves every job. One without, whose configuration names
the job's own folder and seed, comes with each call instead.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray import serve
from ray.serve import Deployment

from deployments.board import stage_context
from deployments.options import Scaling
from jobs.devices import stage_device
from jobs.pools import Pool
from jobs.watchdog import end_process
from pipeline.errors import Cancelled, DeviceBroken
from pipeline.graph import trim
from pipeline.stage import Row, Stage, run_stage

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
        stage: the job's own stage, if this is one without weights.
    """

    board: Any
    token: str
    stage: Stage | None


def is_large(value: Any) -> bool:
    """Whether a column's value travels by reference."""
    return isinstance(value, bytes | np.ndarray)


def brings_weights(stage: Stage) -> bool:
    """Whether a replica has something to load for this stage."""
    return type(stage).setup is not Stage.setup


class _Worker:
    """One worker of a stage: rows one after the other, in a thread that keeps the loop free.

    Args:
        stage: the stage.
        needed: columns that the stages behind it read.
        timeout_s: most seconds that it may spend on a job.
    """

    def __init__(self, stage: Stage, needed: frozenset[str], timeout_s: float) -> None:
        stage = copy(stage)  # Ray Serve pickles what it gave the constructor, which stays small
        self._stage = stage
        self._needed = needed
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=stage.name)
        self._thread.submit(stage.setup, stage_device(stage)).result()

    def _joined(self, row: Row, parts: Sequence[Row]) -> Row:
        """The whole row: ``row`` with the columns of the earlier stages' results that are read."""
        large = {name: part[name] for part in parts for name in part if name in self._stage.inputs}
        return {**row, **{name: value for name, value in large.items() if is_large(value)}}

    async def _run(self, rows: Sequence[Row], calls: Sequence[Call]) -> list[Row]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._work, rows, calls, time.monotonic())

    def _work(self, rows: Sequence[Row], calls: Sequence[Call], sent_s: float) -> list[Row]:
        context = stage_context([(call.board, call.token) for call in calls], self._timeout_s)
        try:
            if time.monotonic() - sent_s > _LONG_S and context.is_cancelled():
                raise Cancelled(f"cancelled before {self._stage.name}")
            for call in calls:
                call.board.begin.remote(call.token, self._stage.name)
            results = run_stage(calls[0].stage or self._stage, rows, context)
        except Cancelled:
            return [{"outcome": CANCELLED} for _ in rows]
        except DeviceBroken:  # Ray Serve starts another replica, and the runner calls that one
            end_process()
            raise
        return [self._news(*pair) for pair in zip(rows, results, strict=True)]

    def _news(self, row: Row, result: Row) -> Row:
        """A result without the arrays that came with the row; they are where they were."""
        return {
            name: value
            for name, value in trim(result, self._needed).items()
            if not (is_large(value) and value is row.get(name))
        }


class StageReplica(_Worker):
    """A worker that takes rows as they come."""

    async def __call__(self, row: Row, call: Call, *parts: Row) -> Row:
        """Run the stage on a row.

        Args:
            row: its small columns.
            call: what comes with it.
            parts: results of earlier stages, which hold the large columns.

        Returns:
            The row with the stage's columns, or with the outcome that it had or came to; of the
            large ones only those that are new.
        """
        return (await self._run([self._joined(row, parts)], [call]))[0]


def stage_deployment(pool: Pool, needed: frozenset[str], scaling: Scaling) -> Deployment:
    """The deployment of a stage.

    Args:
        pool: the stage and the share of the machine that a replica has.
        needed: columns that the stages behind it read.
        scaling: how many replicas.
    """
    stage = pool.stage
    batch_size = pool.batch
    replica: type[_Worker] = _batched(batch_size) if batch_size > 1 else StageReplica
    # the class is named after the stage, so that dashboards, logs and process lists read well
    named = type(stage.name, (replica,), {"__module__": __name__})
    options: dict[str, Any] = {"num_replicas": scaling.min_replicas}
    if scaling.min_replicas != scaling.max_replicas:
        options = {"autoscaling_config": scaling.model_dump()}
    return serve.deployment(
        name=stage.name,
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
            done: Row = await self._batch(self._joined(row, parts), call)  # type: ignore
            return done

        # Ray's types know batched methods of one argument only
        @serve.batch(max_batch_size=size, batch_wait_timeout_s=_BATCH_WAIT_S)  # type: ignore
        async def _batch(  # type: ignore
            self, rows: list[Row], calls: list[Call]
        ) -> list[Row]:
            return await self._run(rows, calls)

    return Batched
