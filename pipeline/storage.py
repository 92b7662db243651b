"""Folders on disk and in object stores, behind one small type.

A `Location` is a place under ``file``, ``s3``, ``gs`` or any fsspec scheme. Results appear whole or
not at all: on disk a folder is written aside and renamed, in an object store its files are put one
by one and the file that marks it complete goes last.
"""

import dataclasses
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pipeline.connections import READ_TIMEOUT_S, first_line, open_filesystem, read_remote
from pipeline.errors import ImageTooLarge, SourceUnavailable, UnreadableSource, UsageError

PARTIAL = ".partial"
"""Folder under a local destination in which results are written before they are renamed."""
_STALE_S = 6 * 3600.0
_EVERYTHING = 2**62
_OPTIONS = re.compile(r"\?(?=[a-z_]+=)")
"""Where the connection options of a URI begin; another ``?`` is a wildcard or part of a name."""


@dataclass(frozen=True)
class Location:
    """A file or folder on a filesystem.

    Attributes:
        filesystem: a ``pyarrow.fs.FileSystem``; picklable.
        path: the path on that filesystem, without a trailing slash.
        prefix: what stands before ``path`` in the URI; empty for local files.
        query: connection options, as in ``region=eu-west-1``.
    """

    filesystem: Any
    path: str
    prefix: str = ""
    query: str = ""

    @property
    def uri(self) -> str:
        """The address as a user would write it; a plain path for local files."""
        return self.prefix + self.path

    @property
    def address(self) -> str:
        """The URI with its connection options, for `locate`."""
        return f"{self.uri}?{self.query}" if self.query else self.uri

    @property
    def is_local(self) -> bool:
        """Whether this is a path on the machine's own filesystem."""
        return not self.prefix

    def child(self, *names: str) -> "Location":
        """The file or folder called ``names`` under this one."""
        return dataclasses.replace(self, path="/".join((self.path, *names)))

    def exists(self) -> bool:
        """Whether a file is here."""
        return bool(self.filesystem.get_file_info(self.path).is_file)

    def read(self, limit_bytes: int | None = None, *, timeout_s: float = READ_TIMEOUT_S) -> bytes:
        """Read the whole file.

        Raises:
            ImageTooLarge: it has more than ``limit_bytes`` bytes.
            UnreadableSource: it is missing or not a file.
            SourceUnavailable: it may not be read, reading fails, or reading from a remote store
                takes more than ``timeout_s``.
        """
        stop = _EVERYTHING if limit_bytes is None else limit_bytes + 1
        data = self.read_range(0, stop, timeout_s=timeout_s)
        if limit_bytes is not None and len(data) > limit_bytes:
            raise ImageTooLarge(
                f"{self.uri} has more than {limit_bytes:,} bytes, the limit for one image;"
                " save it smaller"
            )
        return data

    def read_range(self, start: int, stop: int, *, timeout_s: float = READ_TIMEOUT_S) -> bytes:
        """Read bytes ``start`` to ``stop``; fewer if the file ends before ``stop``.

        Raises:
            UnreadableSource: it is missing or not a file.
            SourceUnavailable: it may not be read, reading fails, or reading from a remote store
                takes more than ``timeout_s``.
        """
        if not self.is_local:
            return read_remote(self.uri, self.query, start, stop, timeout_s)
        if not os.path.isfile(self.path):  # a pipe or a device may never end
            there = os.path.lexists(self.path)
            what = "is not a regular file" if there else "does not exist"
            raise UnreadableSource(f"{self.uri} {what}; give the path of an image file")
        try:
            with open(self.path, "rb") as stream:
                stream.seek(start)
                return stream.read(-1 if stop == _EVERYTHING else stop - start)
        except OSError as error:
            raise SourceUnavailable(f"{self.uri} cannot be read: {first_line(error)}") from error

    def write(self, data: bytes) -> None:
        """Write the whole file at once, so that a reader sees the old content or the new.

        Raises:
            OSError: it cannot be written.
        """
        if not self.is_local:
            with (
                _only_os_errors(),
                self.filesystem.open_output_stream(self.path, compression=None) as stream,
            ):
                stream.write(data)
            return
        target = Path(self.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            aside.write_bytes(data)
            aside.replace(target)
        except OSError:  # on a full disk what was written of it would take the last of the room
            aside.unlink(missing_ok=True)
            raise

    def delete(self) -> None:
        """Delete the file.

        Raises:
            OSError: it does not exist or cannot be deleted.
        """
        with _only_os_errors():
            self.filesystem.delete_file(self.path)

    def delete_folder(self) -> None:
        """Delete the folder and all that is in it.

        Raises:
            OSError: it does not exist or cannot be deleted.
        """
        with _only_os_errors():
            self.filesystem.delete_dir(self.path)


@contextmanager
def _only_os_errors() -> Iterator[None]:
    """Let the exceptions of fsspec's filesystems, which are of a dozen families, be one."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(first_line(error)) from error


def locate(address: str) -> Location:
    """Turn a path or URI into a `Location`; nothing is opened.

    ``s3://bucket/key`` takes ``?region=``, ``?endpoint_override=``, ``?scheme=`` and
    ``?anonymous=true``; the usual AWS environment variables work as well.

    Raises:
        UsageError: the scheme is unknown or needs a package that is not installed.
    """
    from pyarrow import fs

    address, query = split_options(address)
    scheme, _, path = address.rpartition("://")
    if scheme in ("", "file"):
        path = unquote(path) if scheme else path
        return Location(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path)))
    if scheme in ("http", "https"):
        raise UsageError(f"{address} is a web address; download the photo and give the file")
    filesystem = open_filesystem(scheme, query)
    return Location(filesystem, path.rstrip("/"), f"{scheme}://", query)


def split_options(address: str) -> tuple[str, str]:
    """Split a URI into what it names and its connection options, as in ``region=eu-west-1``."""
    if "://" not in address:
        return address, ""
    name, *options = _OPTIONS.split(address, maxsplit=1)
    return name, "".join(options)


def check_writable(root: Location) -> None:
    """Make sure that files can be written under ``root``, before hours are spent on them.

    Raises:
        UsageError: they cannot.
    """
    probe = root.child(f".writable-{uuid.uuid4().hex}")
    try:
        probe.write(b"")
        probe.delete()
    except OSError as error:
        raise UsageError(
            f"nothing can be written under {root.uri} ({first_line(error)}); give a folder or "
            "prefix that you may write to"
        ) from error


@contextmanager
def publishing(root: Location, name: str, last: str, *, replace: bool = False) -> Iterator[Path]:
    """Lend an empty folder whose files become ``root/name`` when the block ends without error.

    If ``root/name`` is complete already, it is kept: names are content addresses, so both hold
    the same. What is replaced is gone or incomplete for a moment, never a mixture that looks
    complete.

    Args:
        root: the destination.
        name: the folder to make under it.
        last: the file that marks the folder as complete; it becomes visible last.
        replace: put the new folder in the place of a complete one.
    """
    parent = Path(root.path, PARTIAL) if root.is_local else Path(tempfile.gettempdir())
    folder = _fresh_folder(parent, name)
    try:
        yield folder
        if root.is_local:
            _rename(folder, Path(root.path, name), last, replace)
        else:
            _put(folder, root.child(name), last, replace)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_stale(root: Location) -> None:
    """Delete what runs killed more than six hours ago left half-written under ``root``."""
    partial = Path(root.path, PARTIAL)
    if not root.is_local or not partial.is_dir():
        return
    folders: list[Path] = []
    with suppress(FileNotFoundError):  # another run may have tidied it away just now
        folders = list(partial.iterdir())
    for folder in folders:
        with suppress(FileNotFoundError):  # another run may have renamed it just now
            if time.time() - folder.stat().st_mtime > _STALE_S:
                shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # not empty, or gone already
        partial.rmdir()


def _fresh_folder(parent: Path, name: str) -> Path:
    while True:
        parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another run may have tidied the empty parent away
            return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))


def _rename(folder: Path, target: Path, last: str, replace: bool) -> None:
    folder.chmod(0o755)  # mkdtemp makes it private
    aside = folder.with_name(f"{folder.name}-before")
    if target.exists() and (replace or not (target / last).exists()):
        target.rename(aside)  # deleting takes longer, and until the next line nothing is there
    try:
        folder.rename(target)
    except OSError:
        if not (target / last).exists():
            raise
    shutil.rmtree(aside, ignore_errors=True)


def _put(folder: Path, target: Location, last: str, replace: bool) -> None:
    # Two workers that both find nothing put the same bytes, apart from timings, one after the
    # other; a conditional PUT would add nothing, and not every store has it.
    if target.child(last).exists():
        if not replace:
            return
        target.child(last).delete()
        target.filesystem.delete_dir_contents(target.path)
    names = sorted(path.name for path in folder.iterdir() if path.name != last)
    for name in (*names, last):
        target.child(name).write((folder / name).read_bytes())
