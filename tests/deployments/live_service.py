"""A real Ray Serve with toy stages in this process's Ray, and what tests do to it."""

import functools
import io
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import toy_service
from PIL import Image
from ray import cloudpickle, serve

from deployments.app import assemble
from deployments.options import ServiceOptions
from jobs.serve import APP_NAME

GIVE_UP_S = 120.0


@functools.cache
def photo() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 120, 90)).save(stream, "PNG")
    return stream.getvalue()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@dataclass
class LiveService:
    client: httpx2.Client
    folder: Path
    log: Path
    options: ServiceOptions

    def submit(
        self, seed: int, wait_s: int = 0, data: bytes | None = None, key: str | None = None
    ) -> httpx2.Response:
        return self.client.post(
            "/v1/avatars",
            files={"photo": data or photo()},
            data={"options": json.dumps({"seed": seed})},
            headers=({"Prefer": f"wait={wait_s}"} if wait_s else {})
            | ({"Idempotency-Key": key} if key else {}),
        )

    def job(self, where: str) -> dict:
        return self.client.get(where).json()

    def finished(self, where: str, within_s: float = 30.0) -> dict:
        until(lambda: self.job(where)["finished_at"], within_s)
        return self.job(where)

    def steps(self, seed: int) -> list[tuple[int, int]]:
        """Steps done for a seed so far: number and process id."""
        if not self.log.exists():
            return []
        lines = [tuple(map(int, line.split())) for line in self.log.read_text().splitlines()]
        return [(step, pid) for one, step, pid in lines if one == seed]

    def accepted(self, seed: int, key: str) -> str:
        """Ask until a job is accepted, as a client does that sends the same key again.

        Returns:
            The job's id.
        """
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            try:
                response = self.submit(seed, key=key)
            except httpx2.TransportError:
                time.sleep(0.3)
                continue
            if response.status_code in (200, 202):
                return response.json()["id"]
            assert response.status_code in (429, 500, 502, 503), response.text
            time.sleep(0.3)
        raise AssertionError(f"{key} was not accepted in {GIVE_UP_S:g} s")

    def kill(self, deployment: str) -> None:
        """Send SIGKILL to a replica, which there has to be soon."""
        until(lambda: replicas(deployment))
        os.kill(replicas(deployment)[0], signal.SIGKILL)


def replicas(deployment: str) -> list[int]:
    """Process ids of a deployment's replicas in this process's Ray."""
    return processes(f"ray::ServeReplica:{APP_NAME}:{deployment}")


def processes(name: str) -> list[int]:
    """Ids of the processes of this process's Ray whose names begin like this."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            title = process.cmdline()[:1]
        except psutil.Error:
            continue
        if title and title[0].startswith(name):
            found.append(process.pid)
    return found


@contextmanager
def live(folder: Path, **chosen: Any) -> Iterator[LiveService]:
    """A service of toy stages, by default over a folder and SQLite."""
    cloudpickle.register_pickle_by_value(toy_service)
    defaults = {
        "output": str(folder / "out"),
        "database": f"sqlite:///{folder}/jobs.db",
        "lease_s": 2.0,
        "drain_s": 5.0,
    }
    options = ServiceOptions(**{**defaults, **chosen})
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(assemble(options, toy_service.toy_graph(folder / "log")), name=APP_NAME)
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120.0) as client:
            until(lambda: client.get("/v1/health/ready").status_code == 200)
            yield LiveService(client, folder, folder / "log", options)
    finally:
        serve.shutdown()
        cloudpickle.unregister_pickle_by_value(toy_service)
