"""A real Ray Serve with toy stages: jobs over HTTP through the graph, stopped, killed."""

import io
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import ray
import toy_service
from bad_uploads import BAD_UPLOADS
from live_service import LiveService, live, photo, processes, until
from PIL import Image

import deployments
from pipeline.graph import GraphOptions
from pipeline.local import run_local

QUEUE = 3


@pytest.fixture(scope="module")
def service(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("service")
    # two of the API, as a larger service has
    with live(folder, queue=QUEUE, jobs_per_runner=1, api_replicas=2) as service:
        yield service


def test_an_avatar_has_the_bytes_of_the_local_executor(
    service: LiveService, tmp_path: Path
) -> None:
    response = service.submit(seed=3, wait_s=30)
    assert response.status_code == 200, response.text
    job = response.json()
    assert job["state"] == "succeeded"
    assert job["attempts"] == 1
    assert response.headers["x-request-id"]
    graph = toy_service.toy_graph(tmp_path / "log")
    stages = graph.build(GraphOptions(seed=3), str(tmp_path), replace(graph.recipe, seed=3))
    source = str(service.folder / "out" / job["id"] / "photos" / "0")
    (row,) = run_local(stages, [{"source": source}])
    assert row["id"] == job["avatar_id"]
    for name, path in job["files"].items():
        served, made = service.client.get(path).content, (tmp_path / row["id"] / name).read_bytes()
        assert untimed(name, served) == untimed(name, made), name


def untimed(name: str, data: bytes) -> object:
    if not name.endswith(".json"):
        return data
    record = json.loads(data)
    record.pop("timings_s")
    return record


def test_damaged_photos_end_as_rejected_or_as_avatars(service: LiveService) -> None:
    ends = Counter()
    for name, data in BAD_UPLOADS.items():
        response = service.submit(seed=1, wait_s=30, data=data)
        assert response.status_code == 200, (name, response.text)
        job = response.json()
        ends[job["state"]] += 1
        codes = {"unreadable_image", "image_too_large", "image_too_small"}
        assert job["state"] == "succeeded" or job["error"]["code"] in codes, (name, job)
    assert set(ends) == {"succeeded", "rejected"}
    assert ends["rejected"] > 10


def test_events_tell_of_stages_steps_and_views(service: LiveService) -> None:
    where = service.submit(seed=40).headers["location"]
    seen: list[tuple[str, str, dict]] = []
    with service.client.stream("GET", f"{where}/events") as stream:
        fields: dict[str, str] = {}
        for line in stream.iter_lines():
            if line and not line.startswith(":"):
                name, value = line.split(": ", 1)
                fields[name] = value
            elif fields:
                seen.append((fields["id"], fields["event"], json.loads(fields["data"])))
                fields = {}
    assert [number for number, _, _ in seen] == [str(i + 1) for i in range(len(seen))]
    assert [data["state"] for _, kind, data in seen if kind == "state"] == [
        "queued", "running", "succeeded",
    ]  # fmt: skip
    told = [data for _, kind, data in seen if kind == "progress"]
    steps = [data["step"] for data in told if data["stage"] == "Dream" and data["steps"] == 40]
    assert len(steps) >= 2
    assert steps == sorted(steps)
    views = {name for data in told for name in data["views"]}
    assert views == {"early/portrait.png", "early/views.webp"}
    for name in views:
        Image.open(io.BytesIO(service.client.get(f"{where}/files/{name}").content)).verify()


def test_a_file_that_is_no_photo_is_rejected(service: LiveService) -> None:
    job = service.submit(seed=1, wait_s=30, data=b"<html>").json()
    assert job["state"] == "rejected"
    assert job["error"]["code"] == "unreadable_image"
    assert str(service.folder) not in json.dumps(job)


def test_an_avatar_that_cannot_be_stored_has_failed_and_no_path_is_told(
    service: LiveService,
) -> None:
    where = service.submit(seed=40).headers["location"]
    until(lambda: service.steps(40))
    (Path(service.options.output) / where.split("/")[-1] / "avatars").write_text("in the way")
    job = service.finished(where)
    assert (job["state"], job["error"]["code"]) == ("failed", "destination_unavailable")
    assert str(service.folder) not in json.dumps(job)


def test_jobs_and_stages_are_measured(service: LiveService) -> None:
    assert service.submit(seed=1, wait_s=30).json()["state"] == "succeeded"
    port = ray.nodes()[0]["MetricsExportPort"]

    def told() -> str:
        return httpx2.get(f"http://127.0.0.1:{port}/metrics").text

    until(lambda: "headsplat_jobs_total{" in told(), within_s=30)
    text = told()
    assert 'outcome="succeeded"' in text
    assert "headsplat_stage_seconds_count{" in text
    assert 'stage="Dream"' in text
    assert 'stage="Export"' in text
    dashboard = Path(deployments.__file__).with_name("grafana.json").read_text()
    shown = set(re.findall(r"ray_headsplat_\w+", dashboard))
    assert len(shown) == 5
    until(lambda: all(f"\n{name}{{" in told() for name in shown), within_s=30)


def test_a_deleted_job_stops_between_steps_and_frees_its_slot(service: LiveService) -> None:
    where = service.submit(toy_service.SLOW_SEED).headers["location"]
    until(lambda: service.steps(toy_service.SLOW_SEED))
    waiting = service.submit(seed=2).headers["location"]
    assert service.client.delete(where).status_code == 204
    assert service.finished(waiting, within_s=10)["state"] == "succeeded"
    done = service.steps(toy_service.SLOW_SEED)
    time.sleep(0.5)
    assert service.steps(toy_service.SLOW_SEED) == done
    until(lambda: not (service.folder / "out" / where.split("/")[-1]).exists(), 15)


def test_a_client_that_goes_away_cancels_its_job(service: LiveService) -> None:
    seed = toy_service.SLOW_SEED + 1
    with pytest.raises(httpx2.TimeoutException):
        service.client.post(
            "/v1/avatars",
            files={"photo": photo()},
            data={"options": json.dumps({"seed": seed})},
            headers={"Prefer": "wait=60"},
            timeout=2.0,
        )
    newest = service.client.get("/v1/avatars?limit=1").json()["avatars"][0]
    assert newest["options"]["seed"] == seed
    assert service.finished(f"/v1/avatars/{newest['id']}")["state"] == "cancelled"


def test_a_full_queue_refuses_and_goes_on(service: LiveService) -> None:
    running = service.submit(toy_service.SLOW_SEED + 2).headers["location"]
    until(lambda: service.job(running)["state"] == "running")
    queued = [service.submit(seed=1) for _ in range(QUEUE)]
    refused = service.submit(seed=1)
    assert [one.status_code for one in queued] == [202] * QUEUE
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1
    service.client.post(f"{running}/cancel")
    for one in queued:
        assert service.finished(one.headers["location"])["state"] == "succeeded"


def test_a_job_survives_the_death_of_its_stage(service: LiveService) -> None:
    where = service.submit(seed=60).headers["location"]
    until(lambda: service.steps(60))
    os.kill(service.steps(60)[0][1], signal.SIGKILL)
    job = service.finished(where, within_s=40)
    assert (job["state"], job["attempts"]) == ("succeeded", 1)
    assert len({pid for _, pid in service.steps(60)}) == 2


def test_a_job_survives_the_death_of_its_runner(service: LiveService) -> None:
    where = service.submit(seed=100).headers["location"]
    until(lambda: service.steps(100))
    os.kill(runner_process(service, where), signal.SIGKILL)
    job = service.finished(where, within_s=40)
    assert (job["state"], job["attempts"]) == ("succeeded", 2)
    (avatar,) = (service.folder / "out" / job["id"] / "avatars").iterdir()
    assert avatar.name == job["avatar_id"]


def test_a_runner_whose_board_died_takes_no_job_to_its_death(service: LiveService) -> None:
    (board,) = processes("ray::Board")
    os.kill(board, signal.SIGKILL)
    until(lambda: not processes("ray::Board"))
    jobs = [service.finished(service.submit(seed=1).headers["location"], 60) for _ in range(2)]
    assert [(job["state"], job["attempts"]) for job in jobs] == [("succeeded", 1)] * 2


def runner_process(service: LiveService, where: str) -> int:
    from deployments.backend import open_backend

    job = open_backend(service.options).store.get("local", where.split("/")[-1])
    assert job.worker is not None
    return int(job.worker.rpartition(":")[2])
