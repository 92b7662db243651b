"""The API answers what its own OpenAPI document says, whatever it is sent; photos included."""

from pathlib import Path

import pytest
import schemathesis
from bad_uploads import BAD_UPLOADS
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.strategies import booleans, sampled_from
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from deployments.api import create_api
from deployments.backend import Backend, open_backend
from deployments.job import JobState, Outcome
from deployments.options import ServiceOptions
from deployments.service import Service
from deployments.watch import Watch

EXAMPLES = 25
AVATAR = "0123456789abcdef01234567"
NOT_PROMISED = [positive_data_acceptance]
"""A cursor, and the JSON text of the options, may be wrong in ways that no schema tells."""
NAMES = [None, "avatar.ply", "early/views.webp"]
FUZZED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Fuzzed:
    """An API with a key that has no limits, and jobs that are finished at once."""

    def __init__(self, folder: Path) -> None:
        options = ServiceOptions(
            output=str(folder / "out"),
            database=f"sqlite:///{folder}/jobs.db",
            queue=100_000,
            max_photo_mb=1,
            max_photos=2,
        )
        self.backend: Backend = open_backend(options)
        _, self.key = self.backend.keys.create("fuzz", max_jobs=100_000, per_minute=1e6)
        self.api: FastAPI = create_api(
            Service(self.backend, lambda: None, self.ready, Watch(self.backend.store))
        )
        self.headers = {"Authorization": f"Bearer {self.key}"}

    @staticmethod
    async def ready() -> list[str]:
        return []

    def finished_job(self) -> str:
        client = TestClient(self.api)
        files = {"photo": ("x", b"photo")}
        job_id = client.post("/v1/avatars", files=files, headers=self.headers).json()["id"]
        while (lease := self.backend.leases.claim("fuzz", 60)) is not None:
            folder = self.backend.files.avatars(lease.job.id).child(AVATAR)
            folder.child("avatar.ply").write(b"ply")
            outcome = Outcome(state=JobState.SUCCEEDED, avatar_id=AVATAR)
            self.backend.leases.finish(lease, outcome)
        return job_id


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Fuzzed:
    return Fuzzed(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def document(fuzzed: Fuzzed) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi("/v1/openapi.json", fuzzed.api)


OPERATIONS = [
    "GET /v1/health/live",
    "GET /v1/health/ready",
    "POST /v1/avatars",
    "GET /v1/avatars",
    "GET /v1/avatars/{avatar}",
    "DELETE /v1/avatars/{avatar}",
    "POST /v1/avatars/{avatar}/cancel",
    "GET /v1/avatars/{avatar}/events",
    "GET /v1/avatars/{avatar}/files/{name}",
]


def test_every_operation_is_fuzzed(document: schemathesis.BaseSchema) -> None:
    found = [one.ok() for one in document.get_all_operations()]
    assert {f"{one.method.upper()} {one.path}" for one in found} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        (operation, mode)
        for operation in OPERATIONS
        for mode in GenerationMode
        if mode is GenerationMode.POSITIVE or "health" not in operation  # nothing to get wrong
    ],
)
def test_only_documented_answers(
    fuzzed: Fuzzed, document: schemathesis.BaseSchema, operation: str, mode: GenerationMode
) -> None:
    method, path = operation.split()
    cases = document[path][method].as_strategy(generation_mode=mode)

    @FUZZED
    @given(
        case=cases, known=booleans(), name=sampled_from([None, "avatar.ply", "early/views.webp"])
    )
    def fuzz(case: Case, known: bool, name: str | None) -> None:
        # a form has no way to say an empty list: it is not there
        assume(not (isinstance(case.body, dict) and [] in case.body.values()))
        if known and "avatar" in case.path_parameters:
            case.path_parameters["avatar"] = fuzzed.finished_job()
        if name and "name" in case.path_parameters:
            case.path_parameters["name"] = name
        if "prefer" in case.headers:
            case.headers["prefer"] = "wait=0"  # nobody works on the jobs
        # a case that is wrong in its lack of a key must not be given ours
        headers = fuzzed.headers if "Authorization" in case.headers else {}
        case.call_and_validate(headers=headers, excluded_checks=NOT_PROMISED)

    fuzz()


@pytest.mark.parametrize("name", BAD_UPLOADS)
def test_any_bytes_are_taken_or_refused_as_documented(
    fuzzed: Fuzzed, document: schemathesis.BaseSchema, name: str
) -> None:
    case = document["/v1/avatars"]["POST"].Case(
        body={"photo": [BAD_UPLOADS[name]]}, media_type="multipart/form-data"
    )
    response = case.call_and_validate(headers=fuzzed.headers, excluded_checks=NOT_PROMISED)
    assert response.status_code in (202, 413)
