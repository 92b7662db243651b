"""Talk to the job server of a Ray cluster, over HTTP and with the cluster's token."""

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ProcessingError, UsageError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ADDRESS = "RAY_API_SERVER_ADDRESS"
"""Environment variable with the job server's address, as Ray's own tools read it."""
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_POLL_S = 1.0
_HEAD_START_S = 60.0
_TOKEN_FILE = "~/.ray/auth_token"  # noqa: S105 - where it lies, not what it says


def connect(address: str | None) -> "JobSubmissionClient":
    """A client of the job server.

    Args:
        address: ``http://HOST:PORT``; None takes RAY_API_SERVER_ADDRESS, or 8265 on this machine,
            where ``ray dashboard cluster.yaml`` and ``kubectl port-forward`` put it.

    Raises:
        UsageError: nobody answers there, or the token is missing or wrong.
    """
    address = address or os.environ.get(ADDRESS) or DEFAULT_ADDRESS
    if not address.startswith(("http://", "https://")):
        raise UsageError(
            f"--address {address} is no address of a job server; give http://HOST:PORT, as in "
            f"{DEFAULT_ADDRESS}"
        )
    _use_token()
    os.environ[ADDRESS] = address  # it would win over the argument
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    logging.getLogger(JobSubmissionClient.__module__).setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        raise UsageError(_refused(address)) from None
    except (ConnectionError, RuntimeError, ValueError):
        raise UsageError(
            f"no Ray job server answers at {address}; open the way to it with ray dashboard "
            "cluster.yaml or kubectl port-forward, or give another --address"
        ) from None


def send(client: "JobSubmissionClient", entrypoint: str, runtime_env: dict[str, Any]) -> str:
    """Submit a job and return its id; a head that has just started is given a minute.

    Raises:
        ProcessingError: the job server does not take it.
    """
    deadline = time.monotonic() + _HEAD_START_S
    while True:
        try:
            return client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env)
        except (OSError, RuntimeError) as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise ProcessingError(f"the job server does not take the job: {error}") from error
        time.sleep(_POLL_S)


def follow(client: "JobSubmissionClient", job: str, address: str) -> str:
    """Print what a job prints until it ends, and return its last status.

    Raises:
        ProcessingError: the job server went away.
        KeyboardInterrupt: the user stopped looking; the job goes on.
    """
    try:
        asyncio.run(_print_logs(client, job))
        while not (status := client.get_job_status(job)).is_terminal():
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{job} goes on; watch it with: headsplat jobs logs {job}{address}, end it with: "
            f"headsplat jobs stop {job}{address}"
        ) from None
    except (OSError, RuntimeError) as error:
        raise ProcessingError(
            f"the job server went away ({error}); {job} may go on: headsplat jobs logs "
            f"{job}{address}"
        ) from error
    return str(status.value)


async def _print_logs(client: "JobSubmissionClient", job: str) -> None:
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)


def _use_token() -> None:
    """Send the token if there is one: Ray's clients leave it at home unless they are told."""
    if "RAY_AUTH_MODE" not in os.environ and _has_token():
        os.environ["RAY_AUTH_MODE"] = "token"


def _has_token() -> bool:
    file = os.environ.get("RAY_AUTH_TOKEN_PATH", _TOKEN_FILE)
    return "RAY_AUTH_TOKEN" in os.environ or Path(file).expanduser().is_file()


def _refused(address: str) -> str:
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode == "token":
        return f"{address} refuses the token; put the cluster's token into {_TOKEN_FILE}"
    if mode:
        return f"{address} wants a token and RAY_AUTH_MODE is {mode}; set it to token"
    return f"{address} wants a token; put the cluster's token into {_TOKEN_FILE}"
