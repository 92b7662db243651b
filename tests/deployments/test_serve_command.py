"""``headsplat serve`` as a process: killed, started again, told to stop; the real model too."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from job_history import broken_promises, illegal_rows
from sqlalchemy import select

from deployments.backend import Backend, open_backend
from deployments.client import Client, ServiceError
from deployments.database import Database
from deployments.job import JobState
from deployments.options import ServiceOptions
from deployments.schema import jobs
from jobs.cli import EXIT_USAGE, main
from jobs.demo import demo_photos

TOY = Path(__file__).with_name("toy_service.py")


@contextmanager
def serving(folder: Path, program: list[str]) -> Iterator[tuple[subprocess.Popen, str]]:
    """A service's process, and its URL once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, *program, "serve", "--json", "--port", str(port)),
        *("--output", str(folder / "out"), "--database", f"sqlite:///{folder}/jobs.db"),
    ]
    environment = {**os.environ, "TOY_LOG": str(folder / "log"), "RAY_AUTH_MODE": "disabled"}
    with (
        (folder / "stderr").open("w") as stderr,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "stderr").read_text()
            yield process, json.loads(line)["url"]
        finally:
            process.kill()


def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def backend(folder: Path) -> Backend:
    return open_backend(
        ServiceOptions(output=str(folder / "out"), database=f"sqlite:///{folder}/jobs.db")
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), (200, 120, 90)).save(path)
    return path


@pytest.mark.slow
def test_accepted_jobs_end_once_whatever_happens_to_the_process(
    tmp_path: Path, photo: Path
) -> None:
    with serving(tmp_path, [str(TOY)]) as (process, url), Client(url) as client:
        interrupted, waiting = client.submit(photo, seed=100), client.submit(photo, seed=2)
        until((tmp_path / "log").exists)
        process.kill()
        process.wait(10)
    assert backend(tmp_path).store.get("local", waiting["id"]).state == JobState.QUEUED
    with serving(tmp_path, [str(TOY)]) as (process, url), Client(url) as client:
        first, second = client.wait(interrupted, 60), client.wait(waiting, 60)
        assert [first["state"], second["state"]] == ["succeeded"] * 2
        assert first["attempts"] == 2
        assert second["attempts"] == 1
        states = [event for event in client.events(first) if event["kind"] == "state"]
        assert [event["state"] for event in states] == [
            *(["queued", "running"] * first["attempts"]),
            "succeeded",
        ]
        running, queued = client.submit(photo, seed=60), client.submit(photo, seed=3)
        until(lambda: client.get(running["id"])["state"] == "running")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    store = backend(tmp_path).store
    assert store.get("local", running["id"]).state == JobState.SUCCEEDED
    assert store.get("local", queued["id"]).state == JobState.QUEUED


@pytest.mark.slow
def test_fifty_jobs_end_once_though_the_whole_service_is_killed_twice(
    tmp_path: Path, photo: Path
) -> None:
    accepted: list[str] = []
    for killed in (True, True, False):
        with serving(tmp_path, [str(TOY)]) as (process, url), Client(url) as client:
            while len(accepted) < 50:
                accepted.append(client.submit(photo, seed=1 + len(accepted) % 5)["id"])
            done = finished(tmp_path)
            until(lambda done=done: finished(tmp_path) >= min(done + 10, 50), 60)
            if killed:
                process.kill()
                process.wait(10)
            else:
                until(lambda: finished(tmp_path) == 50, 120)
    with closing(Database(f"sqlite:///{tmp_path}/jobs.db")) as database:
        with database.reading() as connection:
            rows = connection.execute(select(jobs)).all()
        final = {row.id: (row.state, row.avatar_id) for row in rows}
        assert broken_promises(accepted, [], final) == []
        assert illegal_rows(database) == []
    assert {row.state for row in rows} == {"succeeded"}
    # each death costs the job at work an attempt, and no other
    assert sum(row.attempts - 1 for row in rows) <= 2


def finished(folder: Path) -> int:
    page = backend(folder).store.list("local", limit=100).jobs
    return sum(job.state.is_final for job in page)


def test_an_online_avatar_has_the_bytes_of_headsplat_make(tmp_path: Path) -> None:
    with serving(tmp_path, ["-m", "jobs.cli"]) as (_, url), Client(url) as client:
        job = client.make(demo_photos()[0], within_s=400, seed=5, formats=["ply", "spz"])
        stages = {event["stage"] for event in client.events(job) if event["kind"] == "progress"}
        assert {"LowRes", "HighRes", "Reconstruct"} <= stages
        saved = client.download(job, tmp_path / "saved")
        stored = tmp_path / "out" / job["id"] / "avatars" / job["avatar_id"]
        assert {path.name for path in saved} == {path.name for path in stored.iterdir()}
        source = tmp_path / "out" / job["id"] / "photos" / "0"
        code = main(
            ["make", str(source), "-o", str(tmp_path / "made"), "--seed", "5", "--formats", "spz"]
        )
        assert code == 0
        for path in saved:
            made = tmp_path / "made" / job["avatar_id"] / path.name
            assert untimed(path) == untimed(made), path.name
        client.delete(job["id"])
        assert not stored.parents[1].exists()
        with pytest.raises(ServiceError, match="no avatar"):
            client.get(job["id"])


def untimed(path: Path) -> object:
    if path.suffix != ".json":
        return path.read_bytes()
    record = json.loads(path.read_text())
    record.pop("timings_s")
    return record


def test_a_port_that_is_taken_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        database = f"sqlite:///{tmp_path}/jobs.db"
        assert main(["serve", "--port", port, "--database", database]) == EXIT_USAGE
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_other_machines_need_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = f"sqlite:///{tmp_path}/jobs.db"
    assert main(["serve", "--host", "0.0.0.0", "--port", "8765", "--database", database]) == 2
    assert "headsplat keys create" in capsys.readouterr().err
