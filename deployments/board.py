"""Where the stages of a runner's jobs say how far they are, and ask whether to go on.

The board is an actor that its runner owns, so it dies with the runner; stages at work for a runner
that is gone stop at their next step, because the job is another runner's by then.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError

from deployments.job import Progress
from jobs.ray_cluster import actor_here
from jobs.watchdog import watch
from pipeline.stage import Context, Row

_log = logging.getLogger("ray.serve")


class Board:
    """Progress of the jobs that are under way, by the token of their lease."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress | None] = {}
        self._begun: dict[str, Counter[str]] = {}

    def open(self, token: str) -> None:
        """Begin a job."""
        self._progress[token] = None
        self._begun[token] = Counter()

    def close(self, token: str) -> None:
        """End a job, or cancel it: whichever stage is at work for it stops."""
        self._progress.pop(token, None)
        self._begun.pop(token, None)

    def begin(self, token: str, step: str) -> None:
        """Note that a step takes up a job's row, which may until then have waited for another."""
        if token in self._begun:
            self._begun[token][step] += 1

    def begun(self, token: str, step: str) -> int:
        """How often a step took up a job's row."""
        return self._begun.get(token, Counter())[step]

    def is_open(self, token: str) -> bool:
        """Whether a job is to go on."""
        return token in self._progress

    def report(self, token: str, progress: Progress) -> None:
        """Note how far a job is."""
        if token in self._progress:
            self._progress[token] = progress

    def progress(self, token: str) -> Progress | None:
        """How far a job is."""
        return self._progress.get(token)


def new_board() -> Any:
    """A board that lives as long as the process that calls this; a Ray actor."""
    return actor_here(Board)


def stage_context(boards: Sequence[tuple[Any, str]], timeout_s: float) -> Context:
    """What a stage is lent for a batch of jobs.

    One job's cancellation does not stop its neighbours in the batch.

    Args:
        boards: each job's board and token.
        timeout_s: most seconds a job; a process that does not return soon after is ended.
    """

    def report(stage: str, step: int, steps: int) -> None:
        for board, token in boards:
            board.report.remote(token, Progress(stage, step, steps))

    def is_cancelled() -> bool:
        return not any(_is_open(board, token) for board, token in boards)

    return Context(
        report=report,
        is_cancelled=is_cancelled,
        timeout_s=timeout_s,
        watch=partial(watch, report=_say_that_it_hangs),
    )


def _say_that_it_hangs(rows: Sequence[Row], seconds: float) -> None:
    _log.error("%d jobs were not done after %g s; the process ends", len(rows), seconds)


def _is_open(board: Any, token: str) -> bool:
    try:
        return bool(ray.get(board.is_open.remote(token)))
    except RayActorError:
        return False
