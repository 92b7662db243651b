"""SQLite or PostgreSQL, behind two kinds of transaction.

SQLite (write-ahead log, every commit on disk before it is confirmed) serves one machine, any number
of its processes; the file must not lie on a network filesystem. PostgreSQL serves many machines.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, TimeoutError

from deployments.schema import VERSION, metadata, schema_version
from pipeline.errors import BackendUnavailable, DatabaseUnavailable, UsageError

URL_VARIABLE = "HEADSPLAT_DATABASE"
"""Environment variable with the database's address, which may hold a password."""
DEFAULT_URL = "sqlite:///headsplat.db"
_BUSY_S = 30.0
_WRITES = "headsplat_writes"
_LOCKS = {"schema": 7_433_001, "queue": 7_433_002}
"""PostgreSQL's advisory locks; SQLite has one writer at a time anyway."""


@dataclass(frozen=True)
class Transaction:
    """A transaction that may write.

    Attributes:
        connection: to execute statements on.
        now_s: the time, seconds since 1970 UTC. PostgreSQL's own, so that machines whose clocks
            differ agree on it.
    """

    connection: Connection
    now_s: float

    def lock(self, name: str) -> None:
        """Wait until no other transaction holds the lock ``name``, and hold it until the end."""
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(select(func.pg_advisory_xact_lock(_LOCKS[name])))


class Database:
    """The service's database; making one opens it and creates what is missing.

    Safe to use from several threads and processes, but not across a fork.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or
            ``postgresql://user:password@host/name``; by default what ``HEADSPLAT_DATABASE`` says,
            or else `DEFAULT_URL`.
        clock: the time, seconds since 1970 UTC, in place of the database's.

    Raises:
        UsageError: the address is none of these, or a newer headsplat made the tables.
        BackendUnavailable: PostgreSQL's driver is not installed.
        DatabaseUnavailable: the database does not answer.
    """

    def __init__(self, url: str | None = None, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._engine = _engine(_parsed(url or os.environ.get(URL_VARIABLE) or DEFAULT_URL))
        try:
            self._create_tables()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of the data; waits for no writer."""
        with _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction that happens as a whole when the block ends, or not at all."""
        engine = self._engine.execution_options(**{_WRITES: True})
        with _translated(), engine.begin() as connection:
            yield Transaction(connection, self._now_s(connection))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _now_s(self, connection: Connection) -> float:
        if self._clock is not None:
            return self._clock()
        if connection.dialect.name == "postgresql":
            now = func.extract("epoch", func.clock_timestamp())
            return float(connection.execute(select(now)).scalar_one())
        return time.time()

    def _create_tables(self) -> None:
        with self.writing() as transaction:
            transaction.lock("schema")
            connection = transaction.connection
            if not inspect(connection).has_table(schema_version.name):
                metadata.create_all(connection)
                connection.execute(insert(schema_version).values(version=VERSION))
            found = connection.execute(select(schema_version.c.version)).scalar_one()
            if found != VERSION:
                age = "newer" if found > VERSION else "older"
                raise UsageError(
                    f"the database's tables are of version {found}, {age} than this headsplat's "
                    f"{VERSION}; use the headsplat that made them, or another database"
                )


def _parsed(address: str) -> URL:
    refusal = UsageError(
        "the database's address has to be sqlite:///FILE or postgresql://USER@HOST/NAME"
    )
    try:
        url = make_url(address)
    except ArgumentError as error:  # its text holds the address, and that a password
        raise refusal from error
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite" or url.database in (None, "", ":memory:"):
        raise refusal
    return url


def _engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        engine = create_engine(url, connect_args={"timeout": _BUSY_S})
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        _make_private(Path(str(url.database)))
        return engine
    try:
        return create_engine(url, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            "PostgreSQL needs psycopg, which is not installed; run pip install 'headsplat[serve]'"
        ) from error


def _make_private(file: Path) -> None:
    """Create the file so that only its owner reads it; SQLite gives its other files that mode.

    One that is there is not opened: POSIX ends all of a process's locks on a file when it closes
    the file anywhere, and without its locks SQLite's log is taken away under it.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if file.is_dir():
            raise UsageError(f"{file} cannot be opened: Is a directory") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be opened: {error.strerror}") from error


def _set_up_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # Python shall not begin transactions of its own
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, TimeoutError) as error:
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        raise DatabaseUnavailable(f"the database does not answer: {reason}") from error
