"""Connect to Ray for the length of a job, without its chatter on the terminal."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cli import DEBUG
from jobs.pools import Cluster
from pipeline.errors import ProcessingError, UsageError

_ANSWER_S = 60.0


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be connected to a Ray cluster, `started` if need be, that keeps quiet and ends on SIGTERM."""
    with started(address), _quiet(), _stopped_by_sigterm():
        yield


@contextlib.contextmanager
def started(address: str | None) -> Iterator[None]:
    """Connect to a Ray cluster; a Ray that was started here is stopped at the end.

    Args:
        address: of the cluster, "auto" for the one this machine belongs to; None takes
            RAY_ADDRESS if it is set, and else starts Ray here.

    Raises:
        UsageError: there is no cluster at the address.
        ProcessingError: Ray does not start here.
    """
    own = not ray.is_initialized()
    if own:
        _connect(address or os.environ.get("RAY_ADDRESS") or "local")
    try:
        yield
    finally:
        if own:
            ray.shutdown()


def resources() -> Cluster:
    """What the connected cluster has now."""
    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return Cluster(
        cpus=has.get("CPU", 0.0),
        gpus=has.get("GPU", 0.0),
        memory_gb=has.get("memory", 0.0) / 2**30,
        store_gb=has.get("object_store_memory", 0.0) / 2**30,
    )


def actor_here(cls: type) -> Any:
    """An actor of ``cls`` on this node: on another one it would die with that."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0)(cls).options(scheduling_strategy=here).remote()


def gpu_memory_gb() -> float | None:
    """Memory of a GPU of the connected cluster, GB of 1e9 bytes; None if none answers soon."""
    answer = ray.remote(num_gpus=0.001, num_cpus=0)(_gpu_memory_gb).remote()
    try:
        found: float | None = ray.get(answer, timeout=_ANSWER_S)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(answer, force=True)
        return None
    return found


def _gpu_memory_gb() -> float | None:
    import torch

    if not torch.cuda.is_available():
        return None
    return float(torch.cuda.get_device_properties(0).total_memory) / 1e9


def given_up(error: Exception) -> ProcessingError:
    """What a user is told when Ray gives a job up: the last line, without the workers' traces."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return ProcessingError(f"the job was given up: {lines[-1] if lines else type(error).__name__}")


def _connect(address: str) -> None:
    if DEBUG not in os.environ:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        with _no_stderr():
            ray.init(
                address=address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=DEBUG in os.environ,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:  # RuntimeError: other versions
        raise UsageError(f"no Ray cluster to use at {address}: {error}") from error
    except Exception as error:  # what ray.init raises where its processes are too slow to start
        if "startup" not in str(error):
            raise
        raise ProcessingError(
            "Ray did not start on this machine within its 30 s; run again when it is less busy"
        ) from error


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Keep what Ray's C++ part says about its own logging away; errors are exceptions."""
    if DEBUG in os.environ:
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end a job as Ctrl-C does: what is finished is written down first."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Ray prints about workers and retries away; its session's log files have it.

    It goes to stdout, where it would also spoil the JSON of ``--json``.
    """
    if DEBUG in os.environ:
        yield
        return
    consoles = [
        handler
        for name in ("ray", "ray.data")
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, logging.StreamHandler)
    ]
    for handler in consoles:
        handler.setLevel(logging.CRITICAL + 1)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
