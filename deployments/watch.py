"""Waking those who wait for something to happen to a job.

Whoever runs a job may be another process on another machine, so all that is certain to reach it is
the database. One loop asks for all who wait in this process, in a single statement, and as often as
suits the youngest of them: a job that takes 50 ms is noticed after 5 ms more, one of a minute after
a tenth of a second.
"""

import asyncio
import time

from deployments.job_store import JobStore

_LATE = 0.1
"""How late news may be, as a part of the time that was waited for it."""
_LEAST_S, _MOST_S = 0.005, 0.1


class Watch:
    """Where the requests of a process wait for their jobs.

    Args:
        store: the jobs.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._waiting: dict[asyncio.Future[None], tuple[str, int, float]] = {}
        self._loop: asyncio.Task[None] | None = None

    async def changed(self, job_id: str, after: int) -> None:
        """Wait until the job has an event behind ``after``, or is erased.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[news] = (job_id, after, time.monotonic())
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._ask_while_some_wait())
        try:
            await news
        finally:
            self._waiting.pop(news)

    async def _ask_while_some_wait(self) -> None:
        while self._waiting:
            youngest_s = time.monotonic() - max(since for _, _, since in self._waiting.values())
            await asyncio.sleep(min(max(_LATE * youngest_s, _LEAST_S), _MOST_S))
            await self._ask()

    async def _ask(self) -> None:
        asked = dict(self._waiting)
        try:
            last = await asyncio.to_thread(
                self._store.last_events, {job_id for job_id, _, _ in asked.values()}
            )
        except Exception as error:  # whoever waits has to hear of it
            for news in asked:
                if not news.done():
                    news.set_exception(error)
            return
        for news, (job_id, after, _) in asked.items():
            if last.get(job_id, after + 1) > after and not news.done():
                news.set_result(None)
