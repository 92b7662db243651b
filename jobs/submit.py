"""``headsplat submit``: the batch job on a cluster, through its job server."""

import json as json_module
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jobs.generate import GenerateOptions
from jobs.options import graph_options
from pipeline.errors import UsageError

_PLACES = ("model", "face_pack", "costs")
"""The options besides ``paths`` that name files which the job reads."""
_NOT_PASSED_ON = ("paths", "address", "json")
_PASSED_ON = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""Variables that the job gets if they are set here. Keys are not among them: everybody who can
open the dashboard can read a job's environment, and nodes have a profile of their own."""
_EXCLUDED = (".git", "tests", "docs", "benchmarks", "node_modules", ".venv", "demo", "runs")


@dataclass(frozen=True, kw_only=True)
class SubmitOptions(GenerateOptions):
    """Run headsplat generate on a cluster, and show what it prints until it ends.

    Example: headsplat submit s3://b/photos s3://b/avatars --cpus 64 --gpus 4
    Example: headsplat submit s3://b/photos s3://b/avatars --no-wait

    Attributes:
        paths: photos and, last, the destination, as for headsplat generate.
        address: of the cluster's job server; by default RAY_API_SERVER_ADDRESS or
            http://127.0.0.1:8265, where ray dashboard cluster.yaml puts it.
        wait: show the log and end as the job ends; --no-wait prints the job's id and ends.
        shared_paths: local paths name the same folders on every node, because they lie on a file
            system that all of them mount, or in the image.
        env: environment variables for the job, NAME=VALUE, or NAME to take this machine's.
        working_dir: a source tree to send along and run in place of the image's headsplat.
        json: print one JSON object; the log goes to stderr.
    """

    wait: bool = True
    shared_paths: bool = False
    env: tuple[str, ...] = ()
    working_dir: Path | None = None


def submit(options: SubmitOptions) -> int:
    """Submit the job; return 0 if it succeeded, or was only to be submitted, else 1.

    Raises:
        UsageError: an option, path or address cannot be used.
        ProcessingError: the job server does not take the job, or went away.
        KeyboardInterrupt: the user stopped looking; the job goes on.
    """
    from jobs.job_client import connect, send
    from jobs.job_verbs import report

    _check(options)
    environment = _runtime_env(options)
    client = connect(options.address)
    job = send(client, entrypoint(options), environment)
    if options.wait:
        print(f"{job} is submitted", file=sys.stderr)
        return report(client, job, options.address, as_json=options.json)
    print(json_module.dumps({"job": job}) if options.json else job)
    return 0


def entrypoint(options: SubmitOptions) -> str:
    """The command line that the cluster's head runs."""
    program = ["headsplat"] if options.working_dir is None else ["python", "-m", "jobs.cli"]
    paths = [_absolute(path) for path in options.paths]
    return shlex.join([*program, "generate", *paths, *_flags(options)])


def _flags(options: SubmitOptions) -> list[str]:
    """The options of generate that are not at their defaults."""
    flags = []
    for field in fields(GenerateOptions):
        value = getattr(options, field.name)
        if field.name in _NOT_PASSED_ON or value == field.default:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, tuple):
            flags += [f"--{flag}", *map(str, value)]
        else:
            flags += [f"--{flag}", _absolute(str(value)) if isinstance(value, Path) else str(value)]
    return flags


def _check(options: SubmitOptions) -> None:
    """Find here what the job would stumble over there."""
    from pipeline.storage import locate

    if len(options.paths) < 2:
        raise UsageError("submit needs photos and a destination: headsplat submit PHOTOS OUT")
    named = [*options.paths, *(getattr(options, name) for name in _PLACES)]
    local = [str(path) for path in named if path is not None and _is_local(str(path))]
    if local and not options.shared_paths:
        raise UsageError(
            f"the cluster's nodes do not see {local[0]} of this machine; put it into an object "
            "store and give its URI, or say --shared-paths if every node has it at that path"
        )
    for path in options.paths:
        locate(path)
    _check_graph(options)


def _check_graph(options: SubmitOptions) -> None:
    """Refuse options out of range; a model that only the nodes have cannot be looked into."""
    from dataclasses import replace

    from pipeline.graph import build_graph, build_recipe

    chosen = replace(graph_options(options), model=None, face_pack=None)
    build_graph(chosen, "avatars", build_recipe(chosen))


def _runtime_env(options: SubmitOptions) -> dict[str, Any]:
    environment: dict[str, Any] = {"env_vars": _variables(options.env)}
    if options.working_dir is not None:
        if not (options.working_dir / "jobs" / "cli.py").is_file():
            raise UsageError(
                f"--working-dir {options.working_dir} is no source tree of headsplat: it has no "
                "jobs/cli.py"
            )
        environment |= {"working_dir": str(options.working_dir), "excludes": list(_EXCLUDED)}
    return environment


def _variables(entries: Iterable[str]) -> dict[str, str]:
    variables = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals and name not in os.environ:
            raise UsageError(f"--env {name} is not set on this machine; give {name}=VALUE")
        variables[name] = value if equals else os.environ[name]
    return variables


def _is_local(path: str) -> bool:
    return "://" not in path or path.startswith("file://")


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path)) if "://" not in path else path
