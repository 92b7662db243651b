"""The deployment that claims jobs and takes them through the stages.

It holds each job under a lease. If it dies, or the machine does, the lease expires and another
runner, or the same one after a restart, begins the job again; if it was only cut off, the lease's
token keeps it from writing over what the other did.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from dataclasses import replace
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from deployments.backend import open_backend
from deployments.board import new_board
from deployments.job import JobState, Lease, Outcome, Progress, Signal
from deployments.job_graph import AvatarOptions, JobGraph
from deployments.job_run import JobRun, StepCall, unreachable
from deployments.metrics import Metrics
from deployments.options import ServiceOptions
from deployments.step import steps_of
from deployments.step_replica import Call
from deployments.submission import erase_due
from pipeline.errors import DatabaseUnavailable, LeaseLost
from pipeline.storage import remove_stale

_log = logging.getLogger("ray.serve")
_POLL_S = 0.5
_BEAT_S = 0.4
"""How soon progress is seen and a cancelled job noticed; leases allow more."""
_SWEEP_S = 10.0
_FINISH_TRIES = 5


class Runner:
    """Claims and runs jobs until it is told to stop."""

    def __init__(
        self, options: ServiceOptions, graph: JobGraph, stages: dict[str, DeploymentHandle[Any]]
    ) -> None:
        self._options = options
        self._graph = graph
        self._stages = stages
        self._backend = open_backend(options)
        self._board = new_board()
        self._metrics = Metrics()
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        loop = asyncio.get_running_loop()  # Ray Serve constructs replicas inside theirs
        self._loops = [
            loop.create_task(self._claim_forever()),
            loop.create_task(self._sweep_forever()),
        ]

    async def wake(self) -> None:
        """Look for a job now rather than at the next poll."""
        self._wake.set()

    async def drain(self) -> None:
        """Claim no more, give the running jobs time to finish, give back those that did not."""
        if self._stopping:
            return
        self._stopping = True
        self._wake.set()
        await asyncio.wait(self._loops[:1])
        if self._running:
            await asyncio.wait(self._running, timeout=self._options.drain_s)
        for task in (*self._running, self._loops[1]):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def check_health(self) -> None:
        """Have this replica replaced if it cannot go on.

        Raises:
            RuntimeError: it claims or erases no more.
            RayActorError: its board died.
        """
        if not self._stopping and any(loop.done() for loop in self._loops):
            raise RuntimeError("the runner claims or erases no more")
        await self._board.is_open.remote("")

    async def __del__(self) -> None:
        """Ray Serve calls this before it stops the replica."""
        await self.drain()

    async def _claim_forever(self) -> None:
        while not self._stopping:
            lease = None
            if len(self._running) < self._options.jobs_per_runner:
                lease = await self._claim()
            if lease is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _POLL_S)
                self._wake.clear()
                continue
            task = asyncio.create_task(self._hold(lease))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            _log.error("a job was left to its lease", exc_info=task.exception())

    async def _claim(self) -> Lease | None:
        """A job, if there is one.

        Raises:
            RayActorError: the board is gone, so no job could be run.
        """
        await self._board.is_open.remote("")
        leases = self._backend.leases
        try:
            return await asyncio.to_thread(leases.claim, self._name, self._options.lease_s)
        except DatabaseUnavailable as error:
            _log.warning("%s", error)
            return None

    async def _sweep_forever(self) -> None:
        store, files = self._backend.store, self._backend.files
        while True:
            try:
                await asyncio.to_thread(self._backend.leases.expire)
                await asyncio.to_thread(erase_due, store, files)
                self._metrics.queue(await asyncio.to_thread(store.waiting))
            except (DatabaseUnavailable, OSError) as error:
                _log.warning("nothing could be taken back or erased: %s", error)
            await asyncio.sleep(_SWEEP_S)

    async def _hold(self, lease: Lease) -> None:
        """Bring a job to its end, or give it back."""
        try:
            outcome = await self._run(lease)
        except asyncio.CancelledError:
            await asyncio.to_thread(self._backend.leases.release, lease)
            raise
        except (LeaseLost, RayActorError):  # the board died; it takes a new runner to go on
            return
        except Exception as error:  # whatever it is, the job has to come to an end
            if self._stopping:  # the stages may have gone first
                await asyncio.to_thread(self._backend.leases.release, lease)
                return
            outcome = unreachable(error)
        if outcome is not None:
            await self._finish(lease, outcome)

    async def _run(self, lease: Lease) -> Outcome | None:
        """Run a job under its lease; when this ends, no more is begun or written for it here."""
        run = JobRun(
            self._calls(lease),
            self._backend.files.photo(lease.job.id),
            self._backend.files.early(lease.job.id),
            self._metrics.stage,
        )
        await self._board.open.remote(lease.token)
        work = asyncio.create_task(run())
        try:
            return await self._beat_until_done(lease, run, work)
        finally:
            self._board.close.remote(lease.token)
            work.cancel()
            await asyncio.wait({work})

    def _calls(self, lease: Lease) -> list[StepCall]:
        destination = self._backend.files.avatars(lease.job.id).address
        stages = self._graph.stages(AvatarOptions(**lease.job.options), destination)
        return [
            StepCall(step, self._stages[step.name], Call(self._board, lease.token, step.own))
            for step in steps_of(stages)
        ]

    async def _beat_until_done(
        self, lease: Lease, run: JobRun, work: "asyncio.Task[Outcome]"
    ) -> Outcome | None:
        """The job's outcome; None if it is no longer this runner's."""
        told: Progress | None = None
        views: tuple[str, ...] = ()
        heard_s = time.monotonic()
        beat_s = min(_BEAT_S, self._options.lease_s / 3)
        while not (await asyncio.wait({work}, timeout=beat_s))[0]:
            now = await self._board.progress.remote(lease.token)
            if now is None or now.stage not in run.stages:
                now = Progress(run.stages[0], 0, 0)
            views += run.take_views()
            news = replace(now, views=views) if views or now != told else None
            asked_s = time.monotonic()
            signal = await self._beat(lease, news)
            if signal is not None:
                heard_s, told, views = asked_s, now, ()
            if signal == Signal.LOST or time.monotonic() - heard_s > self._options.lease_s:
                return None
            if signal == Signal.CANCEL:
                return Outcome(state=JobState.CANCELLED)
        if views := views + run.take_views():
            await self._beat(lease, Progress(run.stages[-1], 0, 0, views))
        return work.result()

    async def _beat(self, lease: Lease, news: Progress | None) -> Signal | None:
        """What the database says; None if it does not answer."""
        beat = self._backend.leases.heartbeat
        try:
            return await asyncio.to_thread(beat, lease, self._options.lease_s, news)
        except DatabaseUnavailable as error:  # it may come back before the lease expires
            _log.warning("%s", error)
            return None

    async def _finish(self, lease: Lease, outcome: Outcome) -> None:
        await asyncio.to_thread(remove_stale, self._backend.files.avatars(lease.job.id))
        for _ in range(_FINISH_TRIES):
            try:
                job = await asyncio.to_thread(self._backend.leases.finish, lease, outcome)
            except LeaseLost:
                return
            except DatabaseUnavailable as error:
                _log.warning("%s", error)
                await asyncio.sleep(1.0)
            else:
                self._metrics.job(job.state, time.time() - job.created_s)
                return
