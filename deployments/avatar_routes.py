"""The requests about avatars. Those that only read or write are plain functions, run in threads."""

import asyncio
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from deployments.access import Caller
from deployments.downloads import file_response
from deployments.job import Job, JobState
from deployments.job_body import JobBody, PageBody, job_body, job_path, page_body
from deployments.job_files import EARLY
from deployments.job_graph import AvatarOptions
from deployments.problems import documented, documented_status
from deployments.service import Asking, Known, Owned, Service
from deployments.submission import erase_due, submit_photos
from deployments.uploads import OPENAPI_BODY, Upload, read_upload
from pipeline.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    IdempotencyConflict,
    ImageTooLarge,
    NotFound,
    QueueFull,
    RateLimited,
    TooManyJobs,
    Unauthorized,
    UsageError,
)

MOST_WAIT_S = 300
_DATABASE_RETRY_S = 1.0
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})")
_MISSING = documented(NotFound)

_INVALID = documented_status(HTTPStatus.UNPROCESSABLE_ENTITY)

routes = APIRouter(responses={**documented(Unauthorized, DatabaseUnavailable), **_INVALID})


@routes.post(
    "",
    status_code=202,
    response_model=JobBody,
    responses={
        200: {"model": JobBody, "description": "It finished within the time to wait."},
        202: {"description": "It is queued or running; see Location."},
        **documented(
            UsageError,
            ImageTooLarge,
            IdempotencyConflict,
            QueueFull,
            TooManyJobs,
            RateLimited,
            DeadlineExceeded,
        ),
    },
    openapi_extra={"requestBody": OPENAPI_BODY},
)
async def create(
    request: Request,
    service: Known,
    caller: Asking,
    prefer: Annotated[str | None, Header(examples=["wait=60"])] = None,
    idempotency_key: Annotated[
        str | None, Header(description="The same key and body give the same job.")
    ] = None,
) -> JSONResponse:
    """Have an avatar made of a photo.

    With `Prefer: wait=SECONDS` the answer comes when the job has finished, or after that time. If
    the client goes away meanwhile, a job without an idempotency key is cancelled, since nobody
    could find it again; one with a key goes on.
    """
    if caller.key_id is not None:
        await asyncio.to_thread(service.backend.keys.take, caller.key_id)
    async with service.uploads:
        upload = await read_upload(request, service.backend.options)
        job = await asyncio.to_thread(_submit, service, upload, caller, idempotency_key)
        del upload  # while the client waits its photos would stay in memory
    service.wake()
    headers = {"Location": job_path(job.id)}
    wanted = _WAIT.search(prefer or "")
    if wanted is not None:
        wait_s = min(int(wanted[1]), MOST_WAIT_S)
        headers["Preference-Applied"] = f"wait={wait_s}"
        job = await _finished(service, job, wait_s, alone=idempotency_key is None)
    status = 200 if job.state.is_final else 202
    return JSONResponse(job_body(job).model_dump(mode="json"), status, headers)


@routes.get("", responses=documented(UsageError))
def list_avatars(
    service: Known,
    caller: Asking,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> PageBody:
    """Your avatars, the newest first."""
    return page_body(service.backend.store.list(caller.owner, cursor, limit))


@routes.get("/{avatar}", responses=_MISSING)
def read(job: Owned) -> JobBody:
    """How far an avatar is."""
    return job_body(job)


@routes.post("/{avatar}/cancel", responses=_MISSING)
def cancel(service: Known, job: Owned) -> JobBody:
    """Stop making an avatar; what is known of it stays until it expires.

    A running one stops within a second or at its next diffusion step.
    """
    return job_body(service.backend.store.cancel(job.owner, job.id))


@routes.delete("/{avatar}", status_code=204, responses=_MISSING)
def delete(service: Known, job: Owned) -> Response:
    """Stop making an avatar, and erase it, its photos and all that is known of it.

    The photos of one that is running are erased when its runner has let go of it.
    """
    service.backend.store.erase(job.owner, job.id)
    erase_due(service.backend.store, service.backend.files)
    return Response(status_code=204)


@routes.get("/{avatar}/events", response_class=EventSourceResponse, responses=_MISSING)
async def events(
    service: Known, job: Owned, last_event_id: Annotated[int, Header(ge=0)] = 0
) -> AsyncIterator[ServerSentEvent]:
    """What happens to an avatar: `state`, `progress`, and at last `state` again.

    The views in a progress event are names of files. With `Last-Event-ID` the stream goes on behind
    that event.
    """
    last = min(last_event_id, job.last_event)
    while True:
        try:
            read_events = service.backend.store.events
            news = await asyncio.to_thread(read_events, job.owner, job.id, last)
        except NotFound:
            yield ServerSentEvent(event="erased", data={})
            return
        for event in news:
            last = event.id
            data: dict[str, Any] = {"created_s": event.created_s, **event.data}
            yield ServerSentEvent(id=str(event.id), event=event.kind, data=data)
            if event.kind == "state" and JobState(event.data["state"]).is_final:
                return
        if not news and job.state.is_final:  # the client has seen its end
            return
        await service.watch.changed(job.id, last)


@routes.get(
    "/{avatar}/files/{name:path}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        206: {"description": "The range that was asked for."},
        304: {"description": "It has not changed."},
        416: {"description": "The range is not in the file."},
        **_MISSING,
    },
)
def read_file(request: Request, service: Known, job: Owned, name: str) -> Response:
    """A file of an avatar, or an early view of one that is being made."""
    files = service.backend.files
    for early in EARLY.values():
        if name == f"early/{early}":
            return file_response(request, files.early(job.id).child(early))
    if job.avatar_id is None or name not in AvatarOptions(**job.options).files:
        raise NotFound(f"there is no file {name[:60]!r} of this avatar, or not yet")
    return file_response(request, files.avatars(job.id).child(job.avatar_id, name))


def _submit(service: Service, upload: Upload, caller: Caller, idempotency_key: str | None) -> Job:
    return submit_photos(
        service.backend.store,
        service.backend.files,
        upload.photos,
        owner=caller.owner,
        options=upload.options.model_dump(mode="json"),
        idempotency_key=idempotency_key,
        max_jobs=caller.max_jobs,
    )


async def _finished(service: Service, job: Job, wait_s: int, *, alone: bool) -> Job:
    """The job when it has finished or the time is over; stopped if its only client goes away."""
    loop = asyncio.get_running_loop()
    store = service.backend.store
    try:
        async with asyncio.timeout(wait_s):
            while not job.state.is_final:
                try:
                    await service.watch.changed(job.id, job.last_event)
                    job = await asyncio.to_thread(store.get, job.owner, job.id)
                except DatabaseUnavailable:  # the job is accepted; its client has to learn its id
                    await asyncio.sleep(_DATABASE_RETRY_S)
    except TimeoutError:
        pass
    except asyncio.CancelledError:
        if alone:
            loop.run_in_executor(None, store.cancel, job.owner, job.id)
        raise
    return job
