"""API keys: who may submit jobs, how many at a time and how fast.

A key is ``hs_<id>_<secret>``. The database has the id and a digest of the secret, which is 160
random bits, so a plain SHA-256 of it is as hard to reverse as a slow one of a password.

The rate is a token bucket in the database: one limit for all replicas, at the price of one write a
submission. Reading is not counted.
"""

import base64
import hashlib
import hmac
import ipaddress
import math
import re
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from deployments.database import Database
from deployments.schema import api_keys
from pipeline.errors import NotFound, RateLimited, Unauthorized, UsageError

LOCAL_OWNER = "local"
"""Owner of the jobs of a service without keys, which only this machine reaches."""
_KEY = re.compile(r"hs_([a-z2-7]{8})_([a-z2-7]{32})")
_MINUTE_S = 60.0
_UNAUTHORIZED = "give a key that is in use, as in 'Authorization: Bearer hs_...'"


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key, without its secret.

    Attributes:
        id: the public part; the owner of its jobs.
        name: for people.
        created_s: seconds since 1970 UTC.
        revoked_s: since when it is void; None if it is in use.
        max_jobs: unfinished jobs it may have.
        per_minute: jobs it may submit a minute, and at once after a minute's rest.
    """

    id: str
    name: str
    created_s: float
    revoked_s: float | None
    max_jobs: int
    per_minute: float


class KeyStore:
    """The API keys of the online service."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, name: str, *, max_jobs: int = 4, per_minute: float = 30.0
    ) -> tuple[ApiKey, str]:
        """Make a key.

        Returns:
            The key and, this once, the whole of it for the client.

        Raises:
            UsageError: the name is empty or too long, or a limit is too low.
        """
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise UsageError(f"key name {name[:100]!r}: give 1 to 100 printable characters")
        if max_jobs < 1 or not 1.0 <= per_minute < math.inf:
            raise UsageError(f"max jobs {max_jobs}, {per_minute:g} a minute: both are at least 1")
        key_id, secret = _random(5), _random(20)
        with self._database.writing() as transaction:
            row = transaction.connection.execute(
                insert(api_keys)
                .values(
                    id=key_id,
                    name=name,
                    secret_sha256=_digest(secret),
                    created_s=transaction.now_s,
                    max_jobs=max_jobs,
                    per_minute=per_minute,
                    tokens=per_minute,
                    refilled_s=transaction.now_s,
                )
                .returning(api_keys)
            ).one()
        return _key(row), f"hs_{key_id}_{secret}"

    def list(self) -> tuple[ApiKey, ...]:
        """All keys ever made, the oldest first."""
        statement = select(api_keys).order_by(api_keys.c.created_s, api_keys.c.id)
        with self._database.reading() as connection:
            return tuple(_key(row) for row in connection.execute(statement))

    def revoke(self, key_id: str) -> ApiKey:
        """Make a key void from now on; its jobs stay.

        Raises:
            NotFound: there is no such key.
        """
        with self._database.writing() as transaction:
            row = transaction.connection.execute(
                update(api_keys)
                .where(api_keys.c.id == key_id)
                .values(revoked_s=func.coalesce(api_keys.c.revoked_s, transaction.now_s))
                .returning(api_keys)
            ).one_or_none()
        if row is None:
            raise NotFound(f"there is no key {key_id[:40]!r}; headsplat keys list names them")
        return _key(row)

    def check(self, bearer: str) -> ApiKey:
        """The key that a client shows.

        Raises:
            Unauthorized: it is none, unknown or revoked; which of these is not said.
        """
        match = _KEY.fullmatch(bearer)
        key_id, secret = match.groups() if match else ("", "")
        statement = select(api_keys).where(api_keys.c.id == key_id)
        with self._database.reading() as connection:
            row = connection.execute(statement).one_or_none()
        wanted = row.secret_sha256 if row is not None else _digest("no such key")
        same = hmac.compare_digest(_digest(secret), wanted)
        if row is None or not same or row.revoked_s is not None:
            raise Unauthorized(_UNAUTHORIZED)
        return _key(row)

    def take(self, key_id: str) -> None:
        """Count one submission against a key's rate.

        Raises:
            RateLimited: it submits too fast.
            Unauthorized: it was revoked meanwhile.
        """
        with self._database.writing() as transaction:
            connection, now_s = transaction.connection, transaction.now_s
            mine = api_keys.c.id == key_id
            row = connection.execute(select(api_keys).where(mine).with_for_update()).one_or_none()
            if row is None or row.revoked_s is not None:
                raise Unauthorized(_UNAUTHORIZED)
            tokens = _refilled(row, now_s)
            if tokens < 1.0:
                wait_s = (1.0 - tokens) * _MINUTE_S / row.per_minute
                raise RateLimited(
                    f"more than {row.per_minute:g} submissions a minute", math.ceil(wait_s)
                )
            connection.execute(
                update(api_keys).where(mine).values(tokens=tokens - 1.0, refilled_s=now_s)
            )

    def are_needed(self, host: str) -> bool:
        """Whether a service that listens on ``host`` asks for keys.

        It does once a key was made. Until then it is open, which only loopback may be.

        Raises:
            UsageError: other machines reach ``host`` and there is no key.
        """
        with self._database.reading() as connection:
            exist = connection.execute(select(api_keys.c.id).limit(1)).first() is not None
        if not exist and not is_loopback(host):
            raise UsageError(
                f"listening on {host} opens the service to other machines, and it has no keys; "
                "make one with headsplat keys create NAME, or listen on 127.0.0.1"
            )
        return exist


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``, an address or ``localhost``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        created_s=row.created_s,
        revoked_s=row.revoked_s,
        max_jobs=row.max_jobs,
        per_minute=row.per_minute,
    )


def _refilled(row: Row[Any], now_s: float) -> float:
    rested_s = max(0.0, now_s - row.refilled_s)
    return float(min(row.per_minute, row.tokens + rested_s * row.per_minute / _MINUTE_S))


def _random(size_bytes: int) -> str:
    return base64.b32encode(secrets.token_bytes(size_bytes)).decode().lower()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
