from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from postgresql_server import postgresql
from sqlalchemy import create_engine
from store_helpers import Clock, wipe

from deployments.database import Database

_NUMBERS = count()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    with postgresql() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    """Makes the address of an empty database of either kind."""
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("databases")
        return lambda: f"sqlite:///{folder}/{next(_NUMBERS)}.db"
    server: str = request.getfixturevalue("postgresql_url")

    def create() -> str:
        name = f"test_{next(_NUMBERS)}"
        address = server.replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(address, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return server.replace("/postgres?", f"/{name}?")

    return create


@pytest.fixture(scope="session")
def shared_urls() -> dict[str, str]:
    return {}


@pytest.fixture
def url(
    new_url: Callable[[], str], shared_urls: dict[str, str], request: pytest.FixtureRequest
) -> str:
    """The address of a database that the tests share, with its tables emptied."""
    kind = request.node.callspec.params["new_url"]
    if kind not in shared_urls:
        shared_urls[kind] = new_url()
    with closing(Database(shared_urls[kind])) as database:
        wipe(database)
    return shared_urls[kind]


@pytest.fixture
def opened() -> Iterator[Callable[..., Database]]:
    """`Database`, closed after the test."""
    databases: list[Database] = []

    def open_database(*arguments: Any) -> Database:
        databases.append(Database(*arguments))
        return databases[-1]

    yield open_database
    for database in databases:
        database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(opened: Callable[..., Database], url: str, clock: Clock) -> Database:
    """An empty database whose time is that of ``clock``."""
    return opened(url, clock)
