"""What every request is lent: the service, and who asks."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from deployments.access import Caller, Credentials, identify
from deployments.backend import Backend
from deployments.job import Job
from deployments.watch import Watch

_UPLOADS = 8


@dataclass(frozen=True)
class Service:
    """A service as its API sees it.

    Attributes:
        backend: the durable part.
        wake: tells the runners that there is a job.
        not_ready: names what has not loaded yet.
        watch: where requests wait for their jobs.
        uploads: held by those whose photos are in memory.
    """

    backend: Backend
    wake: Callable[[], None]
    not_ready: Callable[[], Awaitable[list[str]]]
    watch: Watch
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_UPLOADS))


async def _service(request: Request) -> Service:  # not a plain function, which costs a thread
    service: Service = request.app.state.service
    return service


Known = Annotated[Service, Depends(_service)]


def _caller(service: Known, request: Request, credentials: Credentials) -> Caller:
    return identify(service.backend.keys, request, credentials)


Asking = Annotated[Caller, Depends(_caller)]


def _owned(service: Known, caller: Asking, avatar: str) -> Job:
    return service.backend.store.get(caller.owner, avatar)


Owned = Annotated[Job, Depends(_owned)]
"""The job that the path names, if it is the caller's."""
