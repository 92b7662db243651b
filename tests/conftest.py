import functools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # the test cluster listens on loopback only
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("AWS_ACCESS_KEY_ID", "testing")  # Ray's workers get them from here
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "testing")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # at 15 the other tests starve Ray's workers


class _OneRay(LoadFileScheduling):
    """A file's tests stay in one process, and so do all files that use `ray_cluster`."""

    def _split_scope(self, nodeid: str) -> str:
        return _scope(self.config.rootpath / nodeid.partition("::")[0])


@functools.cache
def _scope(file: Any) -> str:
    return "ray" if "ray_cluster" in file.read_text("utf-8") else str(file)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that share a Ray take one process half of the suite's time, so they are first."""
    items.sort(key=lambda item: _scope(item.path) != "ray")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Two Rays at a time would be more than two cores carry."""
    return _OneRay(config, log)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A real Ray on this machine: 4 logical CPUs, 1 logical GPU, shared by the tests of a file.

    Not by all: the actors of a job that was given up would keep CPUs from another file's.
    """
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=1,
        object_store_memory=256 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server on loopback, in a process of its own; its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait()
