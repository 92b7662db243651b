"""Fifty jobs, and everything dies that can: each accepted job still ends once."""

import random
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import boto3
import pytest
import toy_service
from job_history import broken_promises, illegal_rows
from live_service import LiveService, live, until
from postgresql_server import postgresql
from sqlalchemy import func, select

from deployments.database import Database
from deployments.schema import jobs
from pipeline.storage import locate

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
JOBS = 50


@contextmanager
def submitting(service: LiveService, number: int) -> Iterator[list[Future[str]]]:
    """Submit jobs of 100 to 300 ms, three at a time, while the block goes on."""
    with ThreadPoolExecutor(3) as pool:
        yield [pool.submit(service.accepted, 2 + n % 5, f"job-{n}") for n in range(number)]


def ended(database: Database) -> int:
    with database.reading() as connection:
        done = jobs.c.state.not_in(["queued", "running"])
        return connection.execute(select(func.count()).where(done)).scalar_one()


def check(service: LiveService, accepted: list[str]) -> None:
    """Every accepted job ended once, as succeeded, and its files are there and no others."""
    with closing(Database(service.options.database)) as database:
        until(lambda: ended(database) >= len(set(accepted)), within_s=120)
        with database.reading() as connection:
            rows = connection.execute(select(jobs)).all()
        final = {row.id: (row.state, row.avatar_id) for row in rows}
        assert broken_promises(accepted, [], final) == []
        assert illegal_rows(database) == []
    assert len(set(accepted)) == len(accepted)
    assert {state for state, _ in final.values()} == {"succeeded"}, [
        (row.id, row.error_message) for row in rows if row.state != "succeeded"
    ]
    root = locate(service.options.output)
    for job_id, (_, avatar_id) in final.items():
        folder = root.child(job_id, "avatars")
        assert folder.child(avatar_id, "avatar.ply").exists()


def test_replicas_die_and_the_database_is_locked(tmp_path: Path) -> None:
    chaos = random.Random(7)
    with live(tmp_path, jobs_per_runner=2, attempts=10) as service:
        with (
            submitting(service, JOBS) as accepted,
            closing(Database(service.options.database)) as database,
        ):
            deaths = ["Dream", "Runner", "Ingress", "Dream", "Runner", "Judge"]
            for number, deployment in enumerate(chaos.sample(deaths, len(deaths)), 1):
                until(lambda due=number * 5: ended(database) >= due, within_s=60)
                service.kill(deployment)
                if number == 3:
                    lock(tmp_path / "jobs.db", seconds=3.0)
        check(service, [one.result() for one in accepted])


def lock(database: Path, seconds: float) -> None:
    """Let nobody else write for longer than a lease."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")


def test_the_postgresql_server_is_restarted_and_results_go_to_a_bucket(
    tmp_path: Path, s3_server: str, ray_cluster: None
) -> None:
    boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1").create_bucket(
        Bucket="online"
    )
    host = s3_server.removeprefix("http://")
    output = f"s3://online/avatars?endpoint_override={host}&scheme=http&region=us-east-1"
    with (
        postgresql() as server,
        live(tmp_path, database=server.url, output=output, jobs_per_runner=2) as service,
    ):
        with submitting(service, 30) as accepted, closing(Database(server.url)) as database:
            until(lambda: ended(database) >= 5, within_s=60)
            database.close()
            server.stop()
            time.sleep(3.0)
            refused = service.client.get("/v1/avatars")
            assert refused.status_code == 503, refused.text
            assert refused.json()["code"] == "database_unavailable"
            assert refused.headers["retry-after"] == "5"
            server.start()
        check(service, [one.result() for one in accepted])


def test_a_stage_that_takes_too_long_fails_its_job_and_no_other(tmp_path: Path) -> None:
    # Export's first call imports what it renders with: seconds, on a machine with other work
    with live(tmp_path, stage_timeout_s=8.0) as service:
        slow = service.submit(toy_service.SLOW_SEED, wait_s=30).json()
        assert (slow["state"], slow["error"]["code"]) == ("failed", "timed_out")
        hanging = service.submit(toy_service.HANGING_SEED).headers["location"]
        behind = service.submit(seed=1).headers["location"]
        job = service.finished(hanging, within_s=180)
        assert (job["state"], job["error"]["code"]) == ("failed", "attempts_exhausted")
        assert service.finished(behind, within_s=60)["state"] == "succeeded"
