import hashlib
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from store_helpers import Clock

from deployments.database import Database
from deployments.job import JobLimits, JobState, Outcome
from deployments.job_files import JobFiles
from deployments.job_leases import JobLeases
from deployments.job_store import JobStore, new_job_id
from deployments.submission import erase_due, submit_photos
from pipeline.errors import (
    IdempotencyConflict,
    NotFound,
    ProcessingError,
    QueueFull,
    UnreadableSource,
)
from pipeline.storage import Location, locate


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        region_name="us-east-1",
    ).create_bucket(Bucket="avatars")
    yield f"s3://avatars/{{}}?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    server.stop()


@pytest.fixture(params=["disk", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "disk":
        return locate(str(tmp_path / "online"))
    return locate(request.getfixturevalue("s3").format(tmp_path.name))


def _stored(root: Location) -> set[str]:
    from pyarrow import fs

    found = root.filesystem.get_file_info(
        fs.FileSelector(root.path, recursive=True, allow_not_found=True)
    )
    return {info.path.removeprefix(root.path + "/") for info in found if info.is_file}


@pytest.fixture
def sqlite(opened: Callable[..., Database], tmp_path: Path, clock: Clock) -> Database:
    return opened(f"sqlite:///{tmp_path}/jobs.db", clock)


def test_from_photo_to_job_to_nothing(root: Location, sqlite: Database, clock: Clock) -> None:
    limits = JobLimits(queue=1, retention_s=60.0)
    store, files = JobStore(sqlite, limits), JobFiles(root)
    asked = {"owner": "ann", "options": {"seed": 1}, "idempotency_key": "k"}
    job = submit_photos(store, files, [b"front", b"side"], **asked)
    assert job.photo_sha256s[1] == hashlib.sha256(b"side").hexdigest()
    assert submit_photos(store, files, [b"front", b"side"], **asked).id == job.id
    with pytest.raises(IdempotencyConflict):
        submit_photos(store, files, [b"other"], **asked)
    with pytest.raises(QueueFull):
        submit_photos(store, files, [b"other"], owner="bob", options={})
    assert _stored(root) == {f"{job.id}/photos/0", f"{job.id}/photos/1"}
    assert files.photo(job.id, 1).read() == b"side"
    workers = JobLeases(sqlite, limits)
    lease = workers.claim("w", 10.0)
    assert lease is not None
    files.avatars(job.id).child("x", "avatar.ply").write(b"ply")
    workers.finish(lease, Outcome(state=JobState.SUCCEEDED, avatar_id="x"))
    assert f"{job.id}/avatars/x/avatar.ply" in _stored(root)
    clock.now_s += 60.0
    assert erase_due(store, files) == 1
    assert _stored(root) == set()
    assert erase_due(store, files) == 0
    with pytest.raises(UnreadableSource):
        files.photo(job.id).read()


def test_photos_of_a_refused_race_are_erased(
    root: Location, sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two equal requests at once: the second is admitted before the first has its job."""
    store, files = JobStore(sqlite), JobFiles(root)
    asked = {"owner": "ann", "options": {}, "idempotency_key": "k"}
    first = submit_photos(store, files, [b"photo"], **asked)
    monkeypatch.setattr(store, "admit", lambda submission: None)
    assert submit_photos(store, files, [b"photo"], **asked).id == first.id
    with pytest.raises(IdempotencyConflict):
        submit_photos(store, files, [b"other"], **asked)
    assert _stored(root) == {f"{first.id}/photos/0"}


def test_erasing_twice_and_erasing_nothing(root: Location) -> None:
    files, job_id = JobFiles(root), new_job_id()
    files.erase(job_id)
    files.save_photos(job_id, [b"photo"])
    files.erase(job_id)
    files.erase(job_id)
    assert _stored(root) == set()


@pytest.mark.parametrize("job_id", ["", "..", "../x", "/etc", "av_" + "A" * 26])
def test_only_ids_of_ours_name_folders(root: Location, job_id: str) -> None:
    files = JobFiles(root)
    for call in (files.erase, files.avatars, files.photo):
        with pytest.raises(NotFound):
            call(job_id)


def test_only_the_owner_reads_the_folder(tmp_path: Path) -> None:
    JobFiles(locate(str(tmp_path / "online")))
    assert stat.S_IMODE((tmp_path / "online").stat().st_mode) == 0o700


def test_photos_that_took_too_long_are_erased(
    sqlite: Database, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = locate(str(tmp_path / "online"))
    store, files = JobStore(sqlite), JobFiles(root)
    save_photos = files.save_photos

    def slowly(job_id: str, photos: list[bytes]) -> None:
        clock.now_s += 3600.0
        assert erase_due(store, files) == 1
        save_photos(job_id, photos)

    monkeypatch.setattr(files, "save_photos", slowly)
    with pytest.raises(ProcessingError, match="not reserved, or not any more; submit anew"):
        submit_photos(store, files, [b"photo"], owner="ann", options={})
    assert _stored(root) == set()


def test_files_that_cannot_be_erased_do_not_keep_those_of_others(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = locate(str(tmp_path / "online"))
    store, files = JobStore(sqlite), JobFiles(root)
    held, other = (
        submit_photos(store, files, [photo], owner="ann", options={}).id for photo in (b"1", b"2")
    )
    erase = files.erase

    def fails_for_one(job_id: str) -> None:
        if job_id == held:
            raise PermissionError("not yours")
        erase(job_id)

    with monkeypatch.context() as patched:
        patched.setattr(files, "erase", fails_for_one)
        store.erase("ann", held)
        store.erase("ann", other)
        assert erase_due(store, files) == 1
    assert _stored(root) == {f"{held}/photos/0"}
    assert erase_due(store, files) == 1
    assert _stored(root) == set()
