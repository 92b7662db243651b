"""The HTTP API over a real database and real files; whoever runs jobs is the test itself."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from deployments.api import create_api
from deployments.backend import Backend, open_backend
from deployments.job import JobState, Lease, Outcome, Progress
from deployments.options import ServiceOptions
from deployments.service import Service
from deployments.watch import Watch

AVATAR = "0123456789abcdef01234567"
PHOTO = b"\xff\xd8 not decoded here"


@pytest.fixture(params=["disk", "object store"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    on_disk = request.param == "disk"
    output = str(tmp_path / "out") if on_disk else f"memory://{tmp_path.name}"
    options = ServiceOptions(
        output=output,
        database=f"sqlite:///{tmp_path}/jobs.db",
        queue=2,
        max_photo_mb=1,
        max_photos=2,
    )
    return open_backend(options.resolved())


@pytest.fixture
def woken() -> list[int]:
    return []


@pytest.fixture
def loading() -> list[str]:
    return []


@pytest.fixture
def connect(backend: Backend, woken: list[int], loading: list[str]) -> Callable[..., TestClient]:
    async def not_ready() -> list[str]:
        return loading

    api = create_api(Service(backend, lambda: woken.append(1), not_ready, Watch(backend.store)))

    def connect(
        host: str = "127.0.0.1", client: str = "127.0.0.1", key: str | None = None
    ) -> TestClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return TestClient(
            api, f"http://{host}", raise_server_exceptions=False, headers=headers,
            client=(client, 5000),
        )  # fmt: skip

    return connect


@pytest.fixture
def client(connect: Callable[..., TestClient]) -> TestClient:
    return connect()


def post(client: TestClient, *photos: bytes, options: str | None = None, **headers: str):
    return client.post(
        "/v1/avatars",
        files=[("photo", ("somebody's name.jpg", photo)) for photo in photos or (PHOTO,)],
        data={"options": options} if options is not None else None,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def claim(backend: Backend) -> Lease:
    lease = backend.leases.claim("test", 60)
    assert lease is not None
    return lease


def succeed(backend: Backend, lease: Lease, ply: bytes = b"ply" * 100) -> None:
    folder = backend.files.avatars(lease.job.id).child(AVATAR)
    folder.child("avatar.ply").write(ply)
    backend.leases.finish(lease, Outcome(state=JobState.SUCCEEDED, avatar_id=AVATAR))


def problem(response, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:headsplat:{code}")
    assert body["title"]
    return body["detail"]


def test_a_photo_becomes_a_job(client: TestClient, backend: Backend, woken: list[int]) -> None:
    response = post(client, options='{"seed": 7, "formats": ["spz"]}')
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/avatars/{job['id']}"
    assert job["state"] == "queued"
    assert job["options"] == {"seed": 7, "formats": ["spz"]}
    assert woken == [1]
    lease = claim(backend)
    assert backend.files.photo(lease.job.id).read() == PHOTO
    assert "somebody" not in json.dumps(client.get(response.headers["location"]).json())
    backend.leases.heartbeat(lease, 60, Progress("Dream", 2, 5))
    running = client.get(response.headers["location"]).json()
    assert running["progress"] == {"stage": "Dream", "step": 2, "steps": 5}
    succeed(backend, lease)
    done = client.get(response.headers["location"]).json()
    assert done["state"] == "succeeded"
    assert done["progress"] is None
    assert set(done["files"]) >= {"avatar.ply", "avatar.spz", "turntable.webp"}
    assert client.get(done["files"]["avatar.ply"]).content == b"ply" * 100


def test_files_have_tags_and_ranges(client: TestClient, backend: Backend) -> None:
    where = post(client).headers["location"]
    succeed(backend, claim(backend), bytes(range(200)))
    whole = client.get(f"{where}/files/avatar.ply")
    assert whole.content == bytes(range(200))
    assert whole.headers["accept-ranges"] == "bytes"
    tag = whole.headers["etag"]
    part = client.get(f"{where}/files/avatar.ply", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-range"] == "bytes 10-19/200"
    tail = client.get(f"{where}/files/avatar.ply", headers={"Range": "bytes=-5"})
    assert tail.content == bytes(range(195, 200))
    other = {"Range": "bytes=0-3", "If-Range": '"another"'}
    assert client.get(f"{where}/files/avatar.ply", headers=other).status_code == 200
    beyond = client.get(f"{where}/files/avatar.ply", headers={"Range": "bytes=500-"})
    assert beyond.status_code == 416
    same = client.get(f"{where}/files/avatar.ply", headers={"If-None-Match": tag})
    assert (same.status_code, same.content) == (304, b"")


@pytest.mark.parametrize("name", ["avatar.spz", "photos/0", "../photos/0", "early/x", "%2e%2e/a"])
def test_other_files_are_not_there(client: TestClient, backend: Backend, name: str) -> None:
    where = post(client).headers["location"]
    succeed(backend, claim(backend))
    assert client.get(f"{where}/files/{name}").status_code == 404


def test_early_views_are_files(client: TestClient, backend: Backend) -> None:
    where = post(client).headers["location"]
    lease = claim(backend)
    problem(client.get(f"{where}/files/early/portrait.png"), 404, "not_found")
    backend.files.early(lease.job.id).child("portrait.png").write(b"png")
    view = client.get(f"{where}/files/early/portrait.png")
    assert (view.content, view.headers["content-type"]) == (b"png", "image/png")


def test_events_are_resumed(client: TestClient, backend: Backend) -> None:
    where = post(client).headers["location"]
    lease = claim(backend)
    backend.leases.heartbeat(lease, 60, Progress("Dream", 1, 2, ("early/views.webp",)))
    succeed(backend, lease)
    stream = client.get(f"{where}/events")
    assert stream.headers["content-type"].startswith("text/event-stream")
    events = parse_events(stream.text)
    assert [number for number, _, _ in events] == ["1", "2", "3", "4"]
    assert [kind for _, kind, _ in events] == ["state", "state", "progress", "state"]
    assert events[2][2]["views"] == ["early/views.webp"]
    assert events[3][2]["state"] == "succeeded"
    rest = client.get(f"{where}/events", headers={"Last-Event-ID": "2"})
    assert parse_events(rest.text) == events[2:]
    for seen in ("4", "99"):
        assert client.get(f"{where}/events", headers={"Last-Event-ID": seen}).text == ""


def parse_events(text: str) -> list[tuple[str, str, dict]]:
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


def test_an_idempotency_key_gives_the_same_job(client: TestClient) -> None:
    first = post(client, idempotency_key="once").json()["id"]
    assert post(client, idempotency_key="once").json()["id"] == first
    other = post(client, b"another", idempotency_key="once")
    assert "new key" in problem(other, 422, "idempotency_conflict")
    assert len(client.get("/v1/avatars").json()["avatars"]) == 1


def test_a_full_queue_says_when_to_come_back(client: TestClient) -> None:
    assert [post(client).status_code for _ in range(2)] == [202, 202]
    full = post(client)
    problem(full, 429, "queue_full")
    assert int(full.headers["retry-after"]) >= 1


def test_jobs_are_listed_in_pages(client: TestClient, backend: Backend) -> None:
    made = []
    for _ in range(3):
        made.append(post(client).json()["id"])
        claim(backend)
    first = client.get("/v1/avatars?limit=2").json()
    second = client.get(f"/v1/avatars?limit=2&cursor={first['next_cursor']}").json()
    assert [job["id"] for job in first["avatars"] + second["avatars"]] == made[::-1]
    assert second["next_cursor"] is None
    problem(client.get("/v1/avatars?cursor=nonsense"), 400, "usage")
    assert client.get("/v1/avatars?limit=1000").status_code == 422


def test_cancel_keeps_and_delete_erases(client: TestClient, backend: Backend) -> None:
    where = post(client).headers["location"]
    assert client.post(f"{where}/cancel").json()["state"] == "cancelled"
    photo = backend.files.photo(where.split("/")[-1])
    assert photo.exists()
    assert client.delete(where).status_code == 204
    assert not photo.exists()
    for gone in (client.get(where), client.delete(where), client.get(f"{where}/events")):
        problem(gone, 404, "not_found")


def test_a_wait_ends_with_its_time(client: TestClient) -> None:
    response = post(client, prefer="respond-async, wait=1")
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "wait=1"


def test_what_is_wrong_with_a_body_is_said(client: TestClient) -> None:
    assert "no photo" in problem(client.post("/v1/avatars"), 400, "usage")
    assert "seed" in problem(post(client, options='{"seed": -1}'), 400, "usage")
    assert "formats" in problem(post(client, options='{"formats": ["exe"]}'), 400, "usage")
    assert "url" in problem(post(client, options='{"url": "http://x"}'), 400, "usage")
    assert "JSON" in problem(post(client, options="{"), 400, "usage")
    text = client.post("/v1/avatars", data={"photo": "http://x/y.jpg"}, files={"z": b""})
    assert "'z' is unknown" in problem(text, 400, "usage")
    assert post(client, *[PHOTO] * 3).status_code == 400
    assert client.get("/v1/avatars").json()["avatars"] == []


def test_large_bodies_are_cut_off(client: TestClient, backend: Backend) -> None:
    problem(post(client, bytes(2**20 + 1)), 413, "image_too_large")
    assert "3 MiB" in problem(post(client, bytes(4 * 2**20)), 413, "image_too_large")

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
        for _ in range(50):
            yield bytes(2**17)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    response = client.post("/v1/avatars", content=endless(), headers=kind)
    problem(response, 413, "image_too_large")
    assert client.get("/v1/avatars").json()["avatars"] == []


def test_a_failed_job_has_its_problem(client: TestClient, backend: Backend) -> None:
    where = post(client).headers["location"]
    outcome = Outcome(state=JobState.REJECTED, error_code="no_face", error_message="no face")
    backend.leases.finish(claim(backend), outcome)
    error = client.get(where).json()["error"]
    assert (error["status"], error["code"], error["detail"]) == (422, "no_face", "no face")


def test_without_keys_only_this_machine_is_answered(connect: Callable[..., TestClient]) -> None:
    assert connect().get("/v1/avatars").status_code == 200
    problem(connect(client="192.0.2.1").get("/v1/avatars"), 401, "unauthorized")
    problem(connect(host="evil.example").get("/v1/avatars"), 401, "unauthorized")
    elsewhere = {"Origin": "http://evil.example"}
    problem(connect().get("/v1/avatars", headers=elsewhere), 401, "unauthorized")
    own = {"Origin": "http://127.0.0.1"}
    assert connect().get("/v1/avatars", headers=own).status_code == 200


def test_keys_are_asked_for_and_keep_jobs_apart(
    connect: Callable[..., TestClient], backend: Backend
) -> None:
    (_, alice), (_, bob) = (backend.keys.create(name, max_jobs=1) for name in ("alice", "bob"))
    refused = post(connect())
    problem(refused, 401, "unauthorized")
    assert refused.headers["www-authenticate"] == "Bearer"
    problem(connect(key="hs_wrong").get("/v1/avatars"), 401, "unauthorized")
    where = post(connect(key=alice)).headers["location"]
    problem(post(connect(key=alice)), 429, "too_many_jobs")
    problem(connect(key=bob).get(where), 404, "not_found")
    problem(connect(key=bob).delete(where), 404, "not_found")
    assert connect(key=alice, client="192.0.2.1").get(where).status_code == 200


def test_a_body_without_a_key_is_not_read(
    connect: Callable[..., TestClient], backend: Backend
) -> None:
    backend.keys.create("alice")
    read = []

    def body() -> Iterator[bytes]:
        read.append(1)
        yield b"x"

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    problem(connect().post("/v1/avatars", content=body(), headers=kind), 401, "unauthorized")


def test_health_and_headers(client: TestClient, loading: list[str]) -> None:
    assert client.get("/v1/health/live").json() == {"status": "live"}
    assert client.get("/v1/health/ready").status_code == 200
    loading.append("HighRes")
    response = client.get("/v1/health/ready")
    assert (response.status_code, response.json()["missing"]) == (503, ["HighRes"])
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "access-control-allow-origin" not in response.headers


def test_unknown_paths_are_problems_too(client: TestClient) -> None:
    problem(client.get("/v2/avatars"), 404, "not_found")
    problem(client.put("/v1/avatars"), 405, "method_not_allowed")


def test_the_database_may_go_away(client: TestClient, backend: Backend, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise DatabaseUnavailable("the database does not answer")

    from pipeline.errors import DatabaseUnavailable

    monkeypatch.setattr(type(backend.store), "list", broken)
    response = client.get("/v1/avatars")
    problem(response, 503, "database_unavailable")
    assert response.headers["retry-after"] == "5"


def test_the_document_says_what_there_is(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/avatars",
        "/v1/avatars/{avatar}",
        "/v1/avatars/{avatar}/cancel",
        "/v1/avatars/{avatar}/events",
        "/v1/avatars/{avatar}/files/{name}",
        "/v1/health/live",
        "/v1/health/ready",
    }
    responses = document["paths"]["/v1/avatars"]["post"]["responses"]
    assert {"200", "202", "400", "401", "413", "422", "429", "503"} <= set(responses)
    examples = responses["429"]["content"]["application/problem+json"]["examples"]
    assert set(examples) == {"queue_full", "too_many_jobs", "rate_limited"}


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """Where spans go; OpenTelemetry takes one provider a process."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def test_requests_are_traced_without_what_clients_sent(
    connect: Callable[..., TestClient], exporter: InMemorySpanExporter
) -> None:
    exporter.clear()
    client = connect(key="hs_secret")
    assert post(client, options='{"seed": 7}').status_code == 401
    assert post(connect(), options='{"seed": 424242}').status_code == 202
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans if span.kind == trace.SpanKind.SERVER] == [
        "POST /v1/avatars"
    ] * 2
    told = "".join(span.to_json() for span in spans)
    for private in ("hs_secret", "424242", "somebody", "not decoded here"):
        assert private not in told
