"""``headsplat serve``: the online application."""

import contextlib
import json as json_module
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from jobs.cli import DEBUG
from pipeline.errors import BackendUnavailable, ProcessingError, UsageError

APP_NAME, RUNNER = "headsplat", "Runner"

if TYPE_CHECKING:
    from deployments.options import ServiceOptions


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Make avatars online: an HTTP API in front of the stages, until Ctrl-C.

    What is accepted survives: run it again and it goes on with the jobs that were not finished.

    Example: headsplat serve
    Example: headsplat serve --output s3://bucket/avatars --database postgresql://me@host/avatars

    Attributes:
        host: address to listen on; any other than 127.0.0.1 needs keys, see headsplat keys create.
        port: to listen on.
        output: folder or URI for photos and avatars.
        database: SQLite's or PostgreSQL's address; by default what HEADSPLAT_DATABASE says, or
            else sqlite:///headsplat.db.
        model: model folder; by default the embedded one.
        address: Ray cluster to run on, "auto" for the one this machine belongs to; by default
            Ray is started here.
        retention_hours: after its end a job is erased with its photos and avatar.
        queue: jobs that may wait before new ones are refused.
        json: say where it listens as one JSON object.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "avatars"
    database: str | None = None
    model: Path | None = None
    address: str | None = None
    retention_hours: float = 24.0
    queue: int = 100
    json: bool = False


def serve(options: ServeOptions) -> int:
    """Serve until Ctrl-C or SIGTERM, then let running jobs finish or give them back.

    Raises:
        UsageError: the port is taken, the host needs keys, or an option cannot be met.
        BackendUnavailable: a package is missing.
    """
    try:
        from deployments.database import Database
        from deployments.keys import KeyStore
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            f"serve needs {error.name}, which is not installed; run pip install 'headsplat[serve]'"
        ) from error
    service = _service_options(options)
    if options.address is None:
        _check_port(options.host, options.port)
    keys_needed = KeyStore(Database(service.database)).are_needed(options.host)
    _serve(options, service, keys_needed)
    return 0


def _service_options(options: ServeOptions) -> "ServiceOptions":
    from pydantic import ValidationError

    from deployments.options import ServiceOptions

    try:
        return ServiceOptions(
            output=options.output,
            database=options.database,
            model=str(options.model) if options.model else None,
            retention_s=options.retention_hours * 3600,
            queue=options.queue,
        ).resolved()
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{first['loc'][0]} is {first['input']}: {first['msg']}") from error


def _check_port(host: str, port: int) -> None:
    """Refuse a port that cannot be had before half a minute is spent on loading.

    Raises:
        UsageError: it cannot.
    """
    if not 1 <= port <= 65535:
        raise UsageError(f"port is {port}; it must be 1 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port}: {error.strerror}; give another --port or --host"
            ) from error


def _serve(options: ServeOptions, service: "ServiceOptions", keys_needed: bool) -> None:
    from ray import serve

    from jobs.ray_cluster import connected

    terminal = sys.stdout
    if DEBUG not in os.environ:
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
    with connected(options.address):
        try:
            _start(options, service)
            print(_welcome(options, keys_needed), file=terminal, flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
            _drain()
        finally:
            if options.address is None:
                serve.shutdown()  # type: ignore[no-untyped-call]
            else:  # others may have applications there
                serve.delete(APP_NAME)


def _start(options: ServeOptions, service: "ServiceOptions") -> None:
    from ray import serve

    from deployments.app import build

    print("loading the models ...", file=sys.stderr)
    serve.start(
        http_options={"host": options.host, "port": options.port},
        logging_config={"encoding": "JSON"},
    )
    try:
        serve.run(build(service), name=APP_NAME, logging_config={"encoding": "JSON"})
    except RuntimeError as error:
        reason = (str(error).splitlines() or ["no reason was given"])[-1]
        raise ProcessingError(f"the application did not start: {reason}") from error


def _drain() -> None:
    from ray import serve

    print("finishing what is running; once more to stop at once", file=sys.stderr)
    with contextlib.suppress(KeyboardInterrupt):
        serve.get_deployment_handle(RUNNER, APP_NAME).drain.remote().result()


def _welcome(options: ServeOptions, keys_needed: bool) -> str:
    host = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{host}:{options.port}"
    if options.json:
        return json_module.dumps({"url": url, "keys_needed": keys_needed})
    key = " -H 'Authorization: Bearer KEY'" if keys_needed else ""
    lines = [
        f"headsplat serves on {url}: open it in a browser, or",
        f"  curl{key} -H 'Prefer: wait=300' -F photo=@me.jpg {url}/v1/avatars",
    ]
    if not keys_needed:
        lines.append("  no keys, so this machine only; headsplat keys create NAME makes one")
    return "\n".join(lines)
