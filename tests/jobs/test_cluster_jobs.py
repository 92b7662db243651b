"""``headsplat submit`` and ``headsplat jobs`` against a real Ray with token authentication.

The cluster's ``headsplat`` has small stages in place of the networks; the command line, the job
server, the token and the batch job are the real ones.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_avatars
from bad_photos import photo
from job_server import job_server

ROOT = Path(__file__).parents[2]


class Cluster:
    """The job server's address and an environment with the token."""

    def __init__(self, home: Path) -> None:
        (home / ".ray").mkdir(parents=True)
        (home / ".ray" / "auth_token").write_text(secrets.token_hex(32))
        program = home / "bin" / "headsplat"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {toy_avatars.__file__} "$@"\n')
        program.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = {
            **kept,
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{program.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.address = ""

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs.cli", *arguments, "--address", self.address]
        environment = {**self.environment, **changes}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("home"))
    environment = {**cluster.environment, "RAY_AUTH_MODE": "token"}
    with job_server(environment) as cluster.address:
        yield cluster


@pytest.mark.slow
def test_a_job_is_run_followed_and_listed(cluster: Cluster, tmp_path: Path) -> None:
    photos = [str(photo(tmp_path / f"{i}.png", i)) for i in range(2)]
    out = tmp_path / "avatars"
    done = cluster.run("submit", *photos, str(out), "--shared-paths", "--seed", "3", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["status"] == "SUCCEEDED"
    assert record["entrypoint"] == f"headsplat generate {' '.join(photos)} {out} --seed 3"
    assert "made               2" in done.stderr
    made = [json.loads(path.read_text()) for path in out.glob("*/avatar.json")]
    assert [avatar["seed"] for avatar in made] == [3, 3]
    listed = cluster.run("jobs", "status").stdout
    assert f"{record['job']}  SUCCEEDED headsplat generate" in listed
    told = cluster.run("jobs", "logs", record["job"])
    assert (told.returncode, "made               2" in told.stdout) == (0, True)


@pytest.mark.slow
def test_a_failing_job_fails_the_command(cluster: Cluster, tmp_path: Path) -> None:
    done = cluster.run("submit", str(tmp_path / "none"), str(tmp_path / "out"), "--shared-paths")
    assert done.returncode == 1
    assert f"{tmp_path / 'none'} does not exist" in done.stdout
    assert "failed" in done.stderr


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_and_says_how_to_stop_it(cluster: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.cli", "submit", str(photo(tmp_path / "1.png", 1))]
    command += [str(tmp_path / "out"), "--shared-paths", "--env", "TOY_SLEEP_S=120"]
    with subprocess.Popen(
        [*command, "--address", cluster.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=cluster.environment,
        cwd=ROOT,
    ) as following:
        assert following.stderr is not None
        following.stderr.readline()  # the job is submitted, and followed from now on
        following.send_signal(signal.SIGINT)
        _, told = following.communicate()
    assert following.returncode == 130, told
    job = told.split()[0]
    assert f"{job} goes on" in told
    assert f"headsplat jobs stop {job} --address {cluster.address}" in told
    assert "Traceback" not in told
    assert cluster.run("jobs", "stop", job).stdout == f"{job} is being stopped\n"
    assert cluster.run("jobs", "logs", job).returncode == 1  # it follows the job to its end
    stopped = cluster.run("jobs", "stop", job, "--json")
    assert json.loads(stopped.stdout) == {"job": job, "stopped": False}
    (record,) = json.loads(cluster.run("jobs", "status", job, "--json").stdout)["jobs"]
    assert record["status"] == "STOPPED"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"HOME": "/nonexistent"}, "wants a token; put the cluster's token into ~/.ray/auth_token"),
        ({"RAY_AUTH_TOKEN": "ab" * 32}, "refuses the token"),
        ({"RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE is disabled; set it to token"),
    ],
)
def test_without_the_token_nothing_is_done(
    cluster: Cluster, changes: dict[str, str], said: str
) -> None:
    done = cluster.run("jobs", "status", **changes)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_jobs_and_servers_that_are_not_there(cluster: Cluster) -> None:
    done = cluster.run("jobs", "stop", "raysubmit_none")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no job raysubmit_none; see headsplat jobs status" in done.stderr
    command = [
        sys.executable,
        "-m",
        "jobs.cli",
        "jobs",
        "status",
        "--address",
        "http://127.0.0.1:9",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=cluster.environment, cwd=ROOT
    )
    assert done.returncode == 2
    assert "no Ray job server answers at http://127.0.0.1:9" in done.stderr
