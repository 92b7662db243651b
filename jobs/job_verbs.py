"""``headsplat jobs status``, ``logs`` and ``stop``: what runs on a cluster."""

import contextlib
import json as json_module
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tyro

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

_SUCCEEDED = "SUCCEEDED"


@dataclass(frozen=True, kw_only=True)
class _ServerOptions:
    """Where the cluster is.

    Attributes:
        address: of the cluster's job server; by default RAY_API_SERVER_ADDRESS or
            http://127.0.0.1:8265.
        json: print one JSON object.
    """

    address: str | None = None
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class StatusOptions(_ServerOptions):
    """Say how the jobs of a cluster are doing, the newest first.

    Example: headsplat jobs status
    Example: headsplat jobs status raysubmit_Xe7cvjyGJCyuCvm2

    Attributes:
        job: id of one job; by default all of them.
    """

    job: tyro.conf.Positional[str | None] = None


@dataclass(frozen=True, kw_only=True)
class LogsOptions(_ServerOptions):
    """Show what a job prints until it ends.

    Example: headsplat jobs logs raysubmit_Xe7cvjyGJCyuCvm2

    Attributes:
        job: id of the job.
    """

    job: tyro.conf.Positional[str]


@dataclass(frozen=True, kw_only=True)
class StopOptions(_ServerOptions):
    """Stop a job; what it has made stays, and submitting it again goes on from there.

    Example: headsplat jobs stop raysubmit_Xe7cvjyGJCyuCvm2

    Attributes:
        job: id of the job.
    """

    job: tyro.conf.Positional[str]


def status(options: StatusOptions) -> int:
    """Print one line a job; exit code 0.

    Raises:
        UsageError: there is no such job, or no job server.
    """
    from jobs.job_client import connect

    client = connect(options.address)
    if options.job is None:
        jobs = [job for job in client.list_jobs() if job.submission_id]
        jobs.sort(key=lambda job: -(job.start_time or 0))
    else:
        jobs = [_details(client, options.job)]
    records = [_record(job) for job in jobs]
    if options.json:
        print(json_module.dumps({"jobs": records}))
        return 0
    for record in records:
        print(f"{record['job']}  {record['status']:<10}{record['entrypoint']}")
        if record["message"] and record["status"] == "FAILED":
            print(f"  {record['message'].splitlines()[0]}")
    return 0


def logs(options: LogsOptions) -> int:
    """Follow a job's log; exit code 0 if the job succeeded, else 1.

    Raises:
        UsageError: there is no such job, or no job server.
        ProcessingError: the job server went away.
        KeyboardInterrupt: the user stopped looking; the job goes on.
    """
    from jobs.job_client import connect

    client = connect(options.address)
    _details(client, options.job)
    return report(client, options.job, options.address, as_json=options.json)


def stop(options: StopOptions) -> int:
    """Stop a job; exit code 0, also if it had ended.

    Raises:
        UsageError: there is no such job, or no job server.
    """
    from jobs.job_client import connect

    client = connect(options.address)
    _details(client, options.job)
    stopped = client.stop_job(options.job)
    if options.json:
        print(json_module.dumps({"job": options.job, "stopped": stopped}))
    else:
        print(f"{options.job} {'is being stopped' if stopped else 'had ended'}")
    return 0


def report(client: "JobSubmissionClient", job: str, address: str | None, *, as_json: bool) -> int:
    """Follow a job to its end, say how it ended, and return the exit code.

    Args:
        client: of the job server.
        job: id.
        address: what the user gave as ``--address``, for the commands that are suggested.
        as_json: the log goes to stderr and the end to stdout, as one JSON object.
    """
    from jobs.job_client import follow

    given = "" if address is None else f" --address {address}"
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        ended = follow(client, job, given)
    if as_json:
        print(json_module.dumps(_record(_details(client, job))))
    else:
        print(f"{job} {ended.lower()}", file=sys.stderr)
    return int(ended != _SUCCEEDED)


def _details(client: "JobSubmissionClient", job: str) -> "JobDetails":
    try:
        return client.get_job_info(job)
    except RuntimeError as error:
        if "404" not in str(error):
            raise
        raise UsageError(f"there is no job {job}; see headsplat jobs status") from None


def _record(job: "JobDetails") -> dict[str, Any]:
    return {
        "job": job.submission_id,
        "status": str(job.status.value),
        "entrypoint": job.entrypoint,
        "message": job.message,
        "started_ms": job.start_time,
        "ended_ms": job.end_time,
    }
