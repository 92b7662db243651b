"""``headsplat keys``: API keys of the online service."""

import json as json_module
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import tyro

from pipeline.errors import BackendUnavailable

if TYPE_CHECKING:
    from deployments.keys import ApiKey, KeyStore


@dataclass(frozen=True, kw_only=True)
class CreateOptions:
    """Make an API key and print it; it cannot be printed again.

    Once there is a key, the service answers nobody without one.

    Example: headsplat keys create alice
    Example: headsplat keys create nightly --max-jobs 16 --per-minute 120

    Attributes:
        name: whose it is, to tell it from others.
        max_jobs: unfinished jobs it may have.
        per_minute: jobs it may submit a minute.
        database: address of the service's database; by default what HEADSPLAT_DATABASE says,
            or else sqlite:///headsplat.db.
        json: print one JSON object.
    """

    name: tyro.conf.Positional[str]
    max_jobs: int = 4
    per_minute: float = 30.0
    database: str | None = None
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Name the API keys; their secrets are not stored.

    Example: headsplat keys list

    Attributes:
        database: address of the service's database, as of headsplat keys create.
        json: print one JSON object.
    """

    database: str | None = None
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class RevokeOptions:
    """Make an API key void; the jobs it submitted stay.

    Example: headsplat keys revoke mzxw6ytb

    Attributes:
        key_id: as headsplat keys list names it.
        database: address of the service's database, as of headsplat keys create.
        json: print one JSON object.
    """

    key_id: tyro.conf.Positional[str]
    database: str | None = None
    json: bool = False


def create(options: CreateOptions) -> int:
    """Make a key and print it.

    Raises:
        UsageError: a limit or the name is out of range.
    """
    with _store(options.database) as keys:
        key, bearer = keys.create(
            options.name, max_jobs=options.max_jobs, per_minute=options.per_minute
        )
    if options.json:
        print(json_module.dumps({**asdict(key), "key": bearer}))
        return 0
    print(bearer)
    print(f"key {key.id} of {key.name!r}; it is shown only now, keep it", file=sys.stderr)
    return 0


def list_keys(options: ListOptions) -> int:
    """Print the keys, those in use and those revoked."""
    with _store(options.database) as keys:
        found = keys.list()
    if options.json:
        print(json_module.dumps({"keys": [asdict(key) for key in found]}))
    else:
        print("\n".join(map(_told, found)) or "no keys; headsplat keys create NAME makes one")
    return 0


def revoke(options: RevokeOptions) -> int:
    """Make a key void.

    Raises:
        NotFound: there is no such key.
    """
    with _store(options.database) as keys:
        key = keys.revoke(options.key_id)
    print(json_module.dumps(asdict(key)) if options.json else _told(key))
    return 0


@contextmanager
def _store(address: str | None) -> Iterator["KeyStore"]:
    try:
        from deployments.database import Database
        from deployments.keys import KeyStore
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            f"keys need {error.name}, which is not installed; run pip install 'headsplat[serve]'"
        ) from error
    with closing(Database(address)) as database:
        yield KeyStore(database)


def _told(key: "ApiKey") -> str:
    state = f"revoked {_day(key.revoked_s)}" if key.revoked_s else "in use"
    limits = f"{key.max_jobs} jobs, {key.per_minute:g} a minute"
    return f"{key.id}  {key.name:<24} made {_day(key.created_s)}  {state}  {limits}"


def _day(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).date().isoformat()
