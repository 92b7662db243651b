"""From what a user names (folders, files, globs, lists, object stores) to the photos it means.

Everything is listed once, before work starts. Folders, globs over object stores and prefixes give
the files whose names end like images; a file that the user names is always taken, so that whatever
is wrong with it gets an outcome.
"""

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import UnreadableSource, UsageError
from pipeline.storage import Location, locate

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
LIST_SUFFIX = ".txt"
_WILDCARDS = "*?["


def list_sources(addresses: Iterable[str], exclude: str | None = None) -> list[str]:
    """List the photos behind ``addresses``.

    Args:
        addresses: local folders (searched to any depth), files, globs, ``.txt`` files with one
            address a line, and URIs of objects or prefixes such as ``s3://bucket/prefix``.
        exclude: folder or URI whose content is left out: the run's own destination.

    Returns:
        Absolute paths and URIs, each once, folder contents in alphabetical order.

    Raises:
        UsageError: an address does not exist, or there is no photo behind any.
    """
    addresses = list(addresses)
    if not addresses:
        raise UsageError("no photos were named; give photos or folders of photos")
    found = dict.fromkeys(source for address in addresses for source in _expand(address))
    hidden = None if exclude is None else locate(exclude).uri.rstrip("/") + "/"
    sources = [source for source in found if hidden is None or not source.startswith(hidden)]
    if not sources:
        raise UsageError(
            f"no photos in {', '.join(addresses)}: no file name ends in {', '.join(SUFFIXES)}"
        )
    return sources


def _expand(address: str) -> Iterator[str]:
    if "://" in address and not address.startswith("file://"):
        yield from _remote(address)
        return
    path = locate(address).path
    if os.path.isdir(path):
        yield from _folder(Path(path))
    elif path.endswith(LIST_SUFFIX) and os.path.isfile(path):
        yield from _from_list(path)
    elif os.path.lexists(path) or (path.lower().endswith(SUFFIXES) and not _has_wildcard(path)):
        yield path
    elif matches := sorted(glob.glob(path, recursive=True)):
        yield from (match for match in matches if not os.path.isdir(match))
    else:
        raise UsageError(f"{address} does not exist; give photos, a folder of photos or a glob")


def _folder(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            os.path.join(parent, name)
            for name in sorted(names)
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        )


def _from_list(path: str) -> Iterator[str]:
    for line in Path(path).read_text().splitlines():
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield from _expand(entry)


def _remote(address: str) -> Iterator[str]:
    from pyarrow import fs

    address, query = _split_query(address)
    fixed = address
    while _has_wildcard(fixed):
        fixed = fixed.rpartition("/")[0]
    place = locate(fixed + query)
    try:
        info = place.filesystem.get_file_info(place.path)
        if info.is_file:
            yield address + query
            return
        selector = fs.FileSelector(place.path, recursive=True, allow_not_found=True)
        listing = place.filesystem.get_file_info(selector)
    except OSError as error:
        raise UnreadableSource(f"{address} cannot be listed: {error}") from error
    for info in sorted((entry for entry in listing if entry.is_file), key=lambda e: str(e.path)):
        uri = Location(place.filesystem, info.path, place.prefix).uri
        if info.path.lower().endswith(SUFFIXES) and (
            fixed == address or fnmatch.fnmatch(uri, address)
        ):
            yield uri + query


def _split_query(address: str) -> tuple[str, str]:
    """Take the connection options off a URI; its query says how to reach it, not what it is.

    A ``?`` counts as the start of options only before ``name=``; elsewhere it is a wildcard.
    """
    parts = urlsplit(address)
    if "=" not in parts.query:
        return address.rstrip("/"), ""
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", "")), (
        "?" + parts.query
    )


def _has_wildcard(address: str) -> bool:
    return any(character in address for character in _WILDCARDS)
