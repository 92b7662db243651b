"""Ray Serve's own commands: ``serve run``, and ``serve deploy`` of a service that is at work."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import toy_service
import yaml
from job_server import job_server
from live_service import free_port, photo, until

import deployments

SERVE = Path(sys.executable).with_name("serve")
READY_S = 120.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    modules = (Path(toy_service.__file__).parent, Path(deployments.__file__).parents[1])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, modules)),
        "TOY_LOG": str(tmp_path / "log"),
    }


def config(folder: Path, port: int, **arguments: Any) -> Path:
    """``deployments/serve.yaml`` with toy stages, as an operator would change it."""
    settings = yaml.safe_load(Path(deployments.__file__).with_name("serve.yaml").read_text())
    settings["http_options"]["port"] = port
    (application,) = settings["applications"]
    application["import_path"] = "toy_service:build"
    application["args"] |= {
        "output": str(folder / "out"),
        "database": f"sqlite:///{folder}/jobs.db",
        **arguments,
    }
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/v1/health/ready").status_code == 200
    except httpx2.TransportError:
        return False


def make_avatar(client: httpx2.Client, seed: int) -> dict:
    answer = client.post(
        "/v1/avatars",
        files={"photo": photo()},
        data={"options": json.dumps({"seed": seed})},
        headers={"Prefer": "wait=60"},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.slow
def test_serve_run_serves_until_ctrl_c(tmp_path: Path, environment: dict[str, str]) -> None:
    port = free_port()
    with (
        (tmp_path / "stderr").open("w") as stderr,
        subprocess.Popen(
            [SERVE, "run", config(tmp_path, port)], stderr=stderr, stdout=stderr, env=environment
        ) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=90) as client,
    ):
        try:
            until(lambda: is_ready(client) or process.poll() is not None, READY_S)
            assert process.poll() is None, (tmp_path / "stderr").read_text()
            assert make_avatar(client, 1)["state"] == "succeeded"
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()


class Visitor:
    """A client that has an avatar made again and again, and remembers what it was answered."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.leaving = threading.Event()

    def visit(self) -> None:
        for seed in itertools.cycle((1, 5, 40)):
            if self.leaving.is_set():
                return
            self._ask(seed)
            time.sleep(0.5)

    def _ask(self, seed: int) -> None:
        options = {"options": json.dumps({"seed": seed})}
        try:
            answer = self.client.post("/v1/avatars", files={"photo": photo()}, data=options)
            if answer.status_code != 202:
                raise AssertionError(f"{answer.status_code} {answer.text}")
            self.accepted.append(answer.json()["id"])
            self.client.get(f"/v1/avatars/{self.accepted[-1]}").raise_for_status()
        except (AssertionError, httpx2.HTTPError) as error:
            self.refused.append(repr(error))

    @contextmanager
    def present(self) -> Iterator[None]:
        thread = threading.Thread(target=self.visit)
        thread.start()
        try:
            yield
        finally:
            self.leaving.set()
            thread.join()


@pytest.mark.slow
def test_an_update_loses_no_request_and_no_job(tmp_path: Path, environment: dict[str, str]) -> None:
    port = free_port()

    def deploy(max_photo_mb: int) -> None:
        settings = config(tmp_path, port, api_replicas=2, queue=1000, max_photo_mb=max_photo_mb)
        subprocess.run([SERVE, "deploy", settings, "-a", dashboard], check=True, env=environment)

    with (
        job_server(environment) as dashboard,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):

        def is_updated() -> bool:
            answers = [client.get("/page.json").json() for _ in range(10)]
            return {answer["max_photo_mb"] for answer in answers} == {16}

        deploy(32)
        until(lambda: is_ready(client), READY_S)
        assert make_avatar(client, 1)["state"] == "succeeded"
        visitor = Visitor(client)
        with visitor.present():
            until(lambda: len(visitor.accepted) > 5)
            deploy(16)
            until(is_updated, READY_S)
            until(lambda: is_ready(client), READY_S)
            time.sleep(3)
        assert not visitor.refused
        for job_id in visitor.accepted:
            until(lambda job_id=job_id: client.get(f"/v1/avatars/{job_id}").json()["finished_at"])
            assert client.get(f"/v1/avatars/{job_id}").json()["state"] == "succeeded"
