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

from pipeline.errors import UsageError
from pipeline.storage import Location, locate, split_options

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
LIST_SUFFIX = ".txt"
_WILDCARDS = "*?["


def list_sources(addresses: Iterable[str], exclude: str | None = None) -> list[str]:
    """List the photos behind ``addresses``.

    Args:
        addresses: local folders (searched to any depth), files, globs, ``.txt`` files with one
            address a line, and URIs of objects or prefixes such as ``s3://bucket/prefix``.
        exclude: folder or URI, the run's own destination, whose content is left out of what
            folders, globs and prefixes give.

    Returns:
        Absolute paths and URIs, each once, folder contents in alphabetical order.

    Raises:
        UsageError: an address does not exist or cannot be listed, or there is no photo behind it.
    """
    addresses = list(addresses)
    if not addresses:
        raise UsageError("no photos were named; give photos or folders of photos")
    sources: dict[str, None] = {}
    for address in addresses:
        named, listed = _expand(address)
        taken = named + _outside(listed, exclude, address)
        if not taken:
            endings = ", ".join(SUFFIXES)
            raise UsageError(f"no photos in {address}: no file name ends in {endings}")
        sources.update(dict.fromkeys(taken))
    return list(sources)


def _outside(listed: list[str], exclude: str | None, address: str) -> list[str]:
    """What was found outside of the folder ``exclude``."""
    if exclude is None:
        return listed
    hidden = locate(exclude).uri.rstrip("/") + "/"
    outside = [source for source in listed if not source.startswith(hidden)]
    if listed and not outside:
        raise UsageError(
            f"all photos in {address} lie inside the destination {exclude}, where avatars go; "
            "give a destination elsewhere"
        )
    return outside


def _expand(address: str) -> tuple[list[str], list[str]]:
    """The photos behind an address: named one by one, and found in folders, globs and prefixes."""
    if "://" in address and not address.startswith("file://"):
        return _remote(address)
    path = locate(address).path
    if os.path.isdir(path):
        return [], list(_folder(Path(path)))
    if path.endswith(LIST_SUFFIX) and os.path.isfile(path):
        return _from_list(path)
    if os.path.lexists(path) or _is_photo_name(path):
        return [path], []
    if matches := sorted(glob.glob(path, recursive=True)):
        return [], [match for match in matches if not os.path.isdir(match)]
    raise UsageError(f"{address} does not exist; give photos, a folder of photos or a glob")


def _folder(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            os.path.join(parent, name)
            for name in sorted(names)
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        )


def _from_list(path: str) -> tuple[list[str], list[str]]:
    named: list[str] = []
    listed: list[str] = []
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text ({error.reason}); save the list as UTF-8"
        ) from None
    for line in lines:
        entry = line.strip()
        if entry and not entry.startswith("#"):
            more_named, more_listed = _expand(entry)
            named += more_named
            listed += more_listed
    return named, listed


def _remote(address: str) -> tuple[list[str], list[str]]:
    from pyarrow import fs

    name, options = split_options(address)
    name, query = name.rstrip("/"), f"?{options}" if options else ""
    fixed = name
    while _has_wildcard(fixed):
        fixed = fixed.rpartition("/")[0]
    place = locate(fixed + query)
    try:
        if place.exists():
            return [name + query], []
        selector = fs.FileSelector(place.path, recursive=True, allow_not_found=True)
        listing = place.filesystem.get_file_info(selector)
    except OSError as error:
        raise UsageError(f"{name} cannot be listed: {error}") from error
    paths = sorted(str(entry.path) for entry in listing if entry.is_file)
    uris = [
        Location(place.filesystem, path, place.prefix).uri
        for path in paths
        if path.lower().endswith(SUFFIXES)
    ]
    found = [uri + query for uri in uris if fixed == name or fnmatch.fnmatch(uri, name)]
    return ([name + query], []) if not found and _is_photo_name(name) else ([], found)


def _is_photo_name(address: str) -> bool:
    """Whether this names one photo, be it there or not."""
    return address.lower().endswith(SUFFIXES) and not _has_wildcard(address)


def _has_wildcard(address: str) -> bool:
    return any(character in address for character in _WILDCARDS)
