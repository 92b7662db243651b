"""A small client of the HTTP API.

with Client("http://127.0.0.1:8000") as client:
job = client.make("me.jpg", seed=7)
client.download(job, "avatars/me")
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from pipeline.errors import HeadsplatError

Job = dict[str, Any]
"""As the API describes it in `/v1/openapi.json`."""
_FINAL = ("succeeded", "rejected", "failed", "cancelled")
_TIMEOUT = 60.0


class ServiceError(HeadsplatError):
    """The service refused a request, or an avatar came to nothing.

    Attributes:
        problem: the RFC 9457 document.
        retry_after_s: when it is worth trying again; None if the service did not say.
    """

    def __init__(self, problem: Mapping[str, Any], retry_after_s: int | None = None) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or "no reason was given")
        self.problem = dict(problem)
        self.retry_after_s = retry_after_s


class Client:
    """Avatars from a service.

    Args:
        url: of the service, as in ``http://127.0.0.1:8000``.
        key: from ``headsplat keys create``, if the service asks for one.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self,
        *photos: str | Path,
        seed: int = 0,
        formats: Sequence[str] = ("ply",),
        idempotency_key: str | None = None,
    ) -> Job:
        """Ask for an avatar of one person; the first photo is the one it is made from.

        Raises:
            ServiceError: the service refuses.
            OSError: a photo cannot be read.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        files = [("photo", ("photo", Path(photo).read_bytes())) for photo in photos]
        options = json.dumps({"seed": seed, "formats": list(formats)})
        return self._job("POST", "", files=files, data={"options": options}, headers=headers)

    def make(self, *photos: str | Path, within_s: float = 1800.0, **options: Any) -> Job:
        """Ask for an avatar and wait for it; ``options`` as of `submit`.

        Raises:
            ServiceError: the service refuses, or no avatar came of it.
            TimeoutError: it was not finished in time; it goes on.
        """
        job = self.wait(self.submit(*photos, **options), within_s)
        if job["state"] != "succeeded":
            raise ServiceError(job["error"] or {"detail": f"{job['id']} was {job['state']}"})
        return job

    def get(self, job_id: str) -> Job:
        """How far an avatar is."""
        return self._job("GET", f"/{job_id}")

    def wait(self, job: Job, within_s: float = 1800.0, poll_s: float = 0.5) -> Job:
        """The job when it has finished.

        Raises:
            TimeoutError: it has not in ``within_s``.
        """
        deadline = time.monotonic() + within_s
        while job["state"] not in _FINAL:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{job['id']} is {job['state']} after {within_s:g} s")
            time.sleep(poll_s)
            job = self.get(job["id"])
        return job

    def events(self, job: Job, after: int = 0) -> Iterator[dict[str, Any]]:
        """What happens to an avatar, until it has finished.

        Yields:
            The fields of each event, with its ``id`` and ``kind``; a broken connection is taken
            up again behind the last ``id``.
        """
        done = False
        while not done:
            headers = {"Last-Event-ID": str(after)}
            with self._http.stream("GET", _path(f"/{job['id']}/events"), headers=headers) as answer:
                if answer.is_error:
                    answer.read()
                _check(answer)
                try:
                    for event in _parse(answer.iter_lines()):
                        after = event.get("id", after)
                        done = event["kind"] == "erased" or event.get("state") in _FINAL
                        yield event
                except httpx2.TransportError:
                    time.sleep(1.0)

    def download(self, job: Job, folder: str | Path) -> list[Path]:
        """Save a finished avatar's files under ``folder``, which is made; return their paths."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        saved = []
        for name, path in job["files"].items():
            target = Path(folder, Path(name).name)
            with self._http.stream("GET", path) as answer, target.open("wb") as stream:
                if answer.is_error:
                    answer.read()
                _check(answer)
                for chunk in answer.iter_bytes():
                    stream.write(chunk)
            saved.append(target)
        return saved

    def cancel(self, job_id: str) -> Job:
        """Stop making an avatar."""
        return self._job("POST", f"/{job_id}/cancel")

    def delete(self, job_id: str) -> None:
        """Erase an avatar and its photos, and stop making it."""
        _check(self._http.delete(_path(f"/{job_id}")))

    def _job(self, method: str, path: str, **content: Any) -> Job:
        job: Job = _check(self._http.request(method, _path(path), **content)).json()
        return job


def _path(rest: str) -> str:
    return f"/v1/avatars{rest}"


def _check(answer: httpx2.Response) -> httpx2.Response:
    if not answer.is_error:
        return answer
    try:
        problem = answer.json()
    except ValueError:  # not from the service itself
        problem = {"detail": f"HTTP {answer.status_code}", "status": answer.status_code}
    seconds = answer.headers.get("retry-after", "")
    raise ServiceError(problem, int(seconds) if seconds.isdigit() else None)


def _parse(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.removeprefix(" ")
        elif not line and fields:
            event = {**json.loads(fields.get("data", "{}")), "kind": fields.get("event", "")}
            yield event | ({"id": int(fields["id"])} if "id" in fields else {})
            fields = {}
