"""The HTTP API: what `docs/serving.md` describes, over the durable part of a service.

It knows no Ray: it writes jobs into the database and reads how they are. Endpoints that only do
that are plain functions, which FastAPI runs in threads.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from deployments.access import Caller, Credentials, SafeHeaders, identify
from deployments.backend import Backend
from deployments.downloads import file_response
from deployments.job import Job, JobState
from deployments.job_body import JobBody, PageBody, job_body, job_path, page_body
from deployments.job_files import EARLY
from deployments.job_graph import AvatarOptions
from deployments.problems import documented, install_problems
from deployments.submission import erase_due, submit_photos
from deployments.uploads import OPENAPI_BODY, BodyLimit, Upload, read_upload
from pipeline import __version__
from pipeline.errors import (
    DatabaseUnavailable,
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
_POLL_S = 0.1
_UPLOADS = 4
"""Bodies that are held in memory at the same time."""
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})")
_ALWAYS = (Unauthorized, DatabaseUnavailable)


@dataclass(frozen=True)
class Surroundings:
    """What the API has besides the database.

    Attributes:
        wake: tells the runners that there is a job.
        not_ready: names what has not loaded yet.
    """

    wake: Callable[[], None]
    not_ready: Callable[[], Awaitable[list[str]]]


def create_api(backend: Backend, around: Surroundings) -> FastAPI:
    """The API as an ASGI application.

    Whoever adds a page mounts it at "/" behind the routes, with its own Content-Security-Policy.
    """
    limits = backend.options
    api = FastAPI(
        title="headsplat",
        version=__version__,
        description="A portrait photo in, a full-head 3D Gaussian avatar out.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    api.add_middleware(BodyLimit, most_mb=limits.max_photos * limits.max_photo_mb + 1)
    api.add_middleware(SafeHeaders)
    install_problems(api)
    api.include_router(_health(around), prefix="/v1/health", tags=["health"])
    api.include_router(_avatars(backend, around), prefix="/v1/avatars", tags=["avatars"])
    return api


def _health(around: Surroundings) -> APIRouter:
    routes = APIRouter()

    @routes.get("/live")
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "live"}

    @routes.get("/ready", responses={503: {"description": "Models are still being loaded."}})
    async def ready() -> JSONResponse:
        """The models are loaded and jobs are being run."""
        missing = await around.not_ready()
        if missing:
            headers = {"Retry-After": "2"}
            return JSONResponse({"status": "loading", "missing": missing}, 503, headers)
        return JSONResponse({"status": "ready"})

    return routes


def _avatars(backend: Backend, around: Surroundings) -> APIRouter:
    store, files = backend.store, backend.files
    routes = APIRouter(responses=documented(*_ALWAYS))
    uploads = asyncio.Semaphore(_UPLOADS)

    def caller(request: Request, credentials: Credentials) -> Caller:
        return identify(backend.keys, request, credentials)

    Known = Annotated[Caller, Depends(caller)]

    def submit(upload: Upload, known: Caller, idempotency_key: str | None) -> Job:
        job = submit_photos(
            store,
            files,
            upload.photos,
            owner=known.owner,
            options=upload.options.model_dump(mode="json"),
            idempotency_key=idempotency_key,
            max_jobs=known.max_jobs,
        )
        around.wake()
        return job

    async def finished(job: Job, wait_s: int, *, alone: bool) -> Job:
        """The job when it has finished or the time is over; stopped if its client goes away."""
        deadline = asyncio.get_running_loop().time() + wait_s
        try:
            while not job.state.is_final and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(_POLL_S)
                job = await asyncio.to_thread(store.get, job.owner, job.id)
        except asyncio.CancelledError:
            if alone:
                loop = asyncio.get_running_loop()
                loop.run_in_executor(None, store.cancel, job.owner, job.id)
            raise
        return job

    @routes.post(
        "",
        status_code=202,
        response_model=JobBody,
        responses={
            200: {"model": JobBody, "description": "It finished within the time to wait."},
            202: {"description": "It is queued or running; see Location."},
            **documented(
                UsageError, ImageTooLarge, IdempotencyConflict, QueueFull, TooManyJobs, RateLimited
            ),
        },
        openapi_extra={"requestBody": OPENAPI_BODY},
    )
    async def create(
        request: Request,
        known: Known,
        prefer: Annotated[str | None, Header(examples=["wait=60"])] = None,
        idempotency_key: Annotated[
            str | None, Header(description="The same key and body give the same job.")
        ] = None,
    ) -> JSONResponse:
        """Have an avatar made of a photo.

        With `Prefer: wait=SECONDS` the answer comes when the job has finished, or after that
        time. If the client goes away meanwhile, a job without an idempotency key is cancelled,
        since nobody could find it again; one with a key goes on.
        """
        if known.key_id is not None:
            await asyncio.to_thread(backend.keys.take, known.key_id)
        async with uploads:
            upload = await read_upload(request, backend.options)
            job = await asyncio.to_thread(submit, upload, known, idempotency_key)
        headers = {"Location": job_path(job.id)}
        wanted = _WAIT.search(prefer or "")
        if wanted is not None:
            wait_s = min(int(wanted[1]), MOST_WAIT_S)
            headers["Preference-Applied"] = f"wait={wait_s}"
            job = await finished(job, wait_s, alone=idempotency_key is None)
        status = 200 if job.state.is_final else 202
        return JSONResponse(job_body(job).model_dump(mode="json"), status, headers)

    @routes.get("", responses=documented(UsageError))
    def list_avatars(
        known: Known,
        cursor: Annotated[str | None, Query(description="`next_cursor` of the last page.")] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> PageBody:
        """Your avatars, the newest first."""
        return page_body(store.list(known.owner, cursor, limit))

    def owned(known: Known, avatar: str) -> Job:
        return store.get(known.owner, avatar)

    Owned = Annotated[Job, Depends(owned)]
    missing = documented(NotFound)

    @routes.get("/{avatar}", responses=missing)
    def read(job: Owned) -> JobBody:
        """How far an avatar is."""
        return job_body(job)

    @routes.post("/{avatar}/cancel", responses=missing)
    def cancel(job: Owned) -> JobBody:
        """Stop making an avatar; what is known of it stays until it expires.

        A running one stops within a second or at its next diffusion step.
        """
        return job_body(store.cancel(job.owner, job.id))

    @routes.delete("/{avatar}", status_code=204, responses=missing)
    def delete(job: Owned) -> Response:
        """Stop making an avatar, and erase it, its photos and all that is known of it.

        The photos of one that is running are erased when its runner has let go of it.
        """
        store.erase(job.owner, job.id)
        erase_due(store, files)
        return Response(status_code=204)

    @routes.get("/{avatar}/events", response_class=EventSourceResponse, responses=missing)
    async def events(
        job: Owned, last_event_id: Annotated[int, Header(ge=0)] = 0
    ) -> AsyncIterator[ServerSentEvent]:
        """What happens to an avatar: `state`, `progress`, and at last `state` again.

        The views in a progress event are names of files. With `Last-Event-ID` the stream goes on
        behind that event.
        """
        last = last_event_id
        while True:
            try:
                news = await asyncio.to_thread(store.events, job.owner, job.id, last)
            except NotFound:
                yield ServerSentEvent(event="erased", data={})
                return
            for event in news:
                last = event.id
                data: dict[str, Any] = {"created_s": event.created_s, **event.data}
                yield ServerSentEvent(id=str(event.id), event=event.kind, data=data)
                if event.kind == "state" and JobState(event.data["state"]).is_final:
                    return
            await asyncio.sleep(_POLL_S)

    @routes.get(
        "/{avatar}/files/{name:path}",
        response_class=Response,
        responses={
            200: {"content": {"application/octet-stream": {}}},
            206: {"description": "The range that was asked for."},
            304: {"description": "It has not changed."},
            416: {"description": "The range is not in the file."},
            **missing,
        },
    )
    def read_file(request: Request, job: Owned, name: str) -> Response:
        """A file of an avatar, or an early view of one that is being made."""
        folder = files.early(job.id)
        for early in EARLY.values():
            if name == f"early/{early}":
                return file_response(request, folder.child(early))
        if job.avatar_id is None or name not in AvatarOptions(**job.options).files:
            raise NotFound(f"there is no file {name[:60]!r} of this avatar, or not yet")
        return file_response(request, files.avatars(job.id).child(job.avatar_id, name))

    return routes
