import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from store_helpers import Clock

from deployments.database import Database
from deployments.keys import KeyStore, is_loopback
from deployments.schema import api_keys
from jobs.cli import main
from pipeline.errors import NotFound, RateLimited, Unauthorized, UsageError


def test_a_key_is_known_by_its_digest_only(database: Database) -> None:
    keys = KeyStore(database)
    key, bearer = keys.create("alice")
    assert keys.check(bearer) == key
    with database.reading() as connection:
        row = connection.execute(select(api_keys)).one()
    secret = bearer.rsplit("_", 1)[1]
    assert secret not in str(row)
    assert row.secret_sha256 == hashlib.sha256(secret.encode()).hexdigest()


def test_other_keys_are_refused_alike(database: Database) -> None:
    keys = KeyStore(database)
    key, bearer = keys.create("alice")
    _, other = keys.create("bob")
    revoked, gone = keys.create("carol")
    keys.revoke(revoked.id)
    swapped = f"hs_{key.id}_{other.rsplit('_', 1)[1]}"
    texts = set()
    for wrong in ("", "hs_", "\0", bearer + "a", bearer[:-1], swapped, gone, f"hs_{'a' * 8}_x"):
        with pytest.raises(Unauthorized) as refused:
            keys.check(wrong)
        texts.add(str(refused.value))
    assert len(texts) == 1


def test_the_rate_is_a_bucket_that_refills(database: Database, clock: Clock) -> None:
    keys = KeyStore(database)
    key, _ = keys.create("alice", per_minute=3.0)
    for _ in range(3):
        keys.take(key.id)
    with pytest.raises(RateLimited, match="3 submissions a minute") as refused:
        keys.take(key.id)
    assert refused.value.retry_after_s == 20
    clock.now_s += 20.0
    keys.take(key.id)
    with pytest.raises(RateLimited):
        keys.take(key.id)
    clock.now_s += 3600.0
    for _ in range(3):
        keys.take(key.id)
    with pytest.raises(RateLimited):
        keys.take(key.id)
    keys.revoke(key.id)
    with pytest.raises(Unauthorized):
        keys.take(key.id)


def test_the_rate_is_exact_under_concurrency(database: Database) -> None:
    keys = KeyStore(database)
    key, _ = keys.create("alice", per_minute=5.0)

    def taken(_: int) -> bool:
        try:
            keys.take(key.id)
        except RateLimited:
            return False
        return True

    with ThreadPoolExecutor(10) as threads:
        assert sum(threads.map(taken, range(20))) == 5


def test_a_service_without_keys_listens_on_loopback_only(database: Database) -> None:
    keys = KeyStore(database)
    assert keys.are_needed("127.0.0.1") is False
    with pytest.raises(UsageError, match=r"0\.0\.0\.0 opens the service .* keys create NAME"):
        keys.are_needed("0.0.0.0")
    key, _ = keys.create("alice")
    keys.revoke(key.id)  # revoking the last one does not open the service
    assert keys.are_needed("127.0.0.1") is keys.are_needed("0.0.0.0") is True


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("localhost.example.org", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("name", "max_jobs", "per_minute"),
    [("", 1, 1.0), ("x" * 101, 1, 1.0), ("a\nb", 1, 1.0), ("a", 0, 1.0), ("a", 1, 0.5),
     ("a", 1, float("nan"))],
)  # fmt: skip
def test_impossible_keys_are_refused(
    database: Database, name: str, max_jobs: int, per_minute: float
) -> None:
    with pytest.raises(UsageError):
        KeyStore(database).create(name, max_jobs=max_jobs, per_minute=per_minute)


def test_the_command_line(
    url: str,
    database: Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADSPLAT_DATABASE", url)
    assert main(["keys", "list"]) == 0
    assert "no keys; headsplat keys create NAME makes one" in capsys.readouterr().out
    assert main(["keys", "create", "alice", "--max-jobs", "2"]) == 0
    bearer, told = capsys.readouterr()
    key = KeyStore(database).check(bearer.strip())
    assert (key.name, key.max_jobs) == ("alice", 2)
    assert f"key {key.id} of 'alice'" in told
    assert main(["keys", "list", "--json"]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown)["keys"][0]["id"] == key.id
    assert bearer.strip().rsplit("_", 1)[1] not in shown
    assert main(["keys", "revoke", key.id]) == 0
    assert "revoked" in capsys.readouterr().out
    assert main(["keys", "create", "bob", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"].startswith("hs_")
    assert main(["keys", "revoke", "nobody"]) == 1
    assert "there is no key 'nobody'" in capsys.readouterr().err
    with pytest.raises(NotFound):
        KeyStore(database).revoke("nobody")
