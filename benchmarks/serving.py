"""What the online service costs besides its networks: milliseconds a request, one at a time.

    python -m benchmarks.serving --sizes paper --requests 200

A real Ray Serve on this machine answers over HTTP. Its stages are `benchmarks.serving_graph`'s:
they carry arrays of the real sizes and compute nothing. Beside them stands what Ray Serve takes for
as many calls of deployments that do nothing. What it said last is in docs/serving.md.
"""

import argparse
import json
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import ray
from ray import serve

from benchmarks.serving_graph import SIZES, carrying_graph
from deployments.app import assemble
from deployments.board import new_board
from deployments.job_graph import AvatarOptions, JobGraph
from deployments.job_run import JobRun, StepCall
from deployments.options import ServiceOptions
from deployments.step import steps_of
from deployments.step_replica import Call
from jobs.demo import demo_photos
from jobs.serve import APP_NAME
from pipeline.storage import locate

WARM_UP = 20
STAGES = 7


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Empty:
    """Hands on what it is given."""

    async def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row."""
        return row


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Chain:
    """Calls deployments one after the other."""

    def __init__(self, *handles: Any) -> None:
        self._handles = handles

    async def __call__(self, request: Any) -> dict[str, Any]:
        """A row that went through all."""
        row: dict[str, Any] = {}
        for handle in self._handles:
            row = await handle.remote(row)
        return row


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Graph:
    """Takes a photo through a service's stages as its runner does, without a job.

    Args:
        graph: the service's.
        photo: path of the photo.
        folder: where avatars would go.
    """

    def __init__(self, graph: JobGraph, photo: str, folder: str) -> None:
        self._graph, self._photo, self._folder = graph, locate(photo), locate(folder)
        self._board = new_board()
        steps = steps_of(graph.stages(AvatarOptions(), self._folder.address))
        self._handles = {
            step.name: serve.get_deployment_handle(step.name, APP_NAME) for step in steps
        }

    async def __call__(self, request: Any) -> str:
        """The state that a job would come to."""
        token = secrets.token_hex(8)
        await self._board.open.remote(token)
        stages = self._graph.stages(AvatarOptions(), self._folder.address)
        calls = [
            StepCall(step, self._handles[step.name], Call(self._board, token, step.own))
            for step in steps_of(stages)
        ]
        outcome = await JobRun(calls, self._photo, self._folder, lambda *_: None)()
        self._board.close.remote(token)
        return outcome.state


def main() -> None:
    """Measure and print one row a kind of request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", choices=SIZES, default="paper")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(folder, options.sizes) as client:
        found = {name: timed(call, options.requests) for name, call in requests(client).items()}
    print(f"{options.sizes} sizes, {options.requests} requests, one at a time, ms")
    print(f"{'request':<36}{'p50':>8}{'p95':>8}{'p99':>8}")
    for name, seconds in found.items():
        p50, p95, p99 = np.percentile(np.array(seconds) * 1e3, [50, 95, 99])
        print(f"{name:<36}{p50:>8.1f}{p95:>8.1f}{p99:>8.1f}")
    if options.json:
        options.json.write_text(json.dumps(found))


@contextmanager
def serving(folder: str, sizes: str, **options: Any) -> Iterator[httpx2.Client]:
    """A service of stages that only carry, and a client of it."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = ServiceOptions(
        output=f"{folder}/out", database=f"sqlite:///{folder}/jobs.db", **options
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        graph = carrying_graph(SIZES[sizes])
        serve.run(assemble(service, graph), name=APP_NAME)
        whole = Graph.bind(graph, str(demo_photos()[0]), f"{folder}/graph")
        serve.run(whole, name="graph", route_prefix="/graph")
        empty = [Empty.options(name=f"Empty{i}").bind() for i in range(STAGES)]
        serve.run(Chain.bind(*empty), name="chain", route_prefix="/chain")
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120.0) as client:
            while client.get("/v1/health/ready").status_code != 200:
                time.sleep(0.1)
            yield client
    finally:
        serve.shutdown()
        ray.shutdown()


def requests(client: httpx2.Client) -> dict[str, Callable[[], float]]:
    """Each kind of request, as a function that makes it and returns its seconds."""
    photo = demo_photos()[0].read_bytes()

    def post(**headers: str) -> httpx2.Response:
        files = {"photo": ("photo", photo)}
        return client.post("/v1/avatars", files=files, headers=headers)

    def live() -> float:
        started = time.perf_counter()
        assert client.get("/v1/health/live").json() == {"status": "live"}
        return time.perf_counter() - started

    def chain() -> float:
        started = time.perf_counter()
        assert client.get("/chain").status_code == 200
        return time.perf_counter() - started

    def graph() -> float:
        started = time.perf_counter()
        assert client.get("/graph").text == "succeeded"
        return time.perf_counter() - started

    def accept() -> float:
        started = time.perf_counter()
        response = post()
        seconds = time.perf_counter() - started
        assert response.status_code == 202, response.text
        where = response.headers["location"]
        while client.get(where).json()["finished_at"] is None:
            time.sleep(0.02)
        return seconds

    def read() -> float:
        where = accepted[0]
        started = time.perf_counter()
        assert client.get(where).json()["state"] == "succeeded"
        return time.perf_counter() - started

    def whole() -> float:
        started = time.perf_counter()
        response = post(prefer="wait=60")
        seconds = time.perf_counter() - started
        assert (response.status_code, response.json()["state"]) == (200, "succeeded")
        return seconds

    first = post(prefer="wait=60")
    assert first.json()["state"] == "succeeded", first.text
    accepted = [first.headers["location"]]
    return {
        "ingress alone (GET /v1/health/live)": live,
        f"{STAGES} empty deployments, no more": chain,
        f"{STAGES} stages of the graph, no job": graph,
        "read a job (GET /v1/avatars/ID)": read,
        "accept a job (POST, 202)": accept,
        "whole job (POST, Prefer: wait)": whole,
    }


def timed(call: Callable[[], float], number: int) -> list[float]:
    """Seconds of ``number`` calls after some that are not counted."""
    for _ in range(WARM_UP):
        call()
    return [call() for _ in range(number)]


if __name__ == "__main__":
    main()
