import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from job_processes import start
from sqlalchemy import func, insert, inspect, select, update

from deployments.database import Database
from deployments.schema import VERSION, metadata, schema_version
from pipeline.errors import DatabaseUnavailable, UsageError


@pytest.mark.parametrize(
    "address", ["jobs.db", "sqlite://", "sqlite:///:memory:", "mysql://u:secret@h/d", "://"]
)
def test_other_addresses_are_refused_without_repeating_a_password(address: str) -> None:
    with pytest.raises(UsageError, match="sqlite:///FILE or postgresql://") as refused:
        Database(address)
    assert "secret" not in str(refused.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        Database(f"sqlite:///{tmp_path}/missing/jobs.db")


def test_the_address_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSPLAT_DATABASE", f"sqlite:///{tmp_path}/jobs.db")
    Database().close()
    assert (tmp_path / "jobs.db").exists()


def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/jobs.db")
    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o600}
    database.close()


@pytest.mark.parametrize(("version", "age"), [(VERSION + 1, "newer"), (VERSION - 1, "older")])
def test_tables_of_another_version_are_refused(
    new_url: Callable[[], str], version: int, age: str
) -> None:
    url = new_url()
    database = Database(url)
    with database.writing() as transaction:
        transaction.connection.execute(update(schema_version).values(version=version))
    database.close()
    with pytest.raises(UsageError, match=f"version {version}, {age} than this headsplat's"):
        Database(url)


def test_a_newer_database_is_not_touched(new_url: Callable[[], str]) -> None:
    url = new_url()
    database = Database(url)
    with database.writing() as transaction:
        metadata.drop_all(transaction.connection)
        schema_version.create(transaction.connection)
        transaction.connection.execute(insert(schema_version).values(version=VERSION + 1))
    with pytest.raises(UsageError):
        Database(url)
    with database.reading() as connection:
        assert inspect(connection).get_table_names() == ["schema_version"]
    database.close()


def open_and_close(url: str) -> None:
    Database(url).close()


def test_opened_twice_in_a_process_it_keeps_the_log_that_others_read(
    tmp_path: Path, opened: Callable[..., Database]
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    first, second = opened(url), opened(url)
    other = start(open_and_close, url)
    other.join(60)
    assert other.exitcode == 0
    assert (tmp_path / "jobs.db-wal").exists()  # who closes last takes it away
    for database in (first, second):
        with database.writing() as transaction:
            transaction.lock("queue")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be opened: Is a directory"):
        Database(f"sqlite:///{tmp_path}")


def test_processes_may_open_a_new_database_at_the_same_time(new_url: Callable[[], str]) -> None:
    url = new_url()
    processes = [start(open_and_close, url) for _ in range(8)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 8
    database = Database(url)
    with database.reading() as connection:
        assert connection.execute(select(schema_version.c.version)).scalars().all() == [VERSION]
    database.close()


def test_a_failing_block_changes_nothing(database: Database) -> None:
    def fail() -> None:
        with database.writing() as transaction:
            transaction.connection.execute(update(schema_version).values(version=7))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.reading() as connection:
        assert connection.execute(select(schema_version.c.version)).scalar_one() == VERSION


def test_lost_connections_are_replaced(
    postgresql_url: str, opened: Callable[..., Database]
) -> None:
    database, other = opened(postgresql_url), opened(postgresql_url)

    def end_the_connection_of(pid: int) -> None:
        with other.writing() as transaction:
            end = func.pg_terminate_backend(pid, 5000)  # waits until it has ended
            assert transaction.connection.execute(select(end)).scalar()

    def lose_it_midway() -> None:
        with database.writing() as transaction:
            pid = transaction.connection.execute(select(func.pg_backend_pid())).scalar_one()
            end_the_connection_of(pid)
            transaction.connection.execute(select(func.pg_backend_pid()))

    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        lose_it_midway()
    with database.reading() as connection:
        pid = connection.execute(select(func.pg_backend_pid())).scalar_one()
    end_the_connection_of(pid)  # while it waits in the pool
    with database.reading() as connection:
        assert connection.execute(select(func.pg_backend_pid())).scalar_one() != pid


def test_a_server_that_is_not_there_is_reported() -> None:
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        Database("postgresql://nobody@127.0.0.1:1/nothing")
