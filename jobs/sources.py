"""From what a user names (folders, files, globs, lists, object stores) to the photos it means.

Everything is listed once, before work starts, and no object is looked at one by one: what the
listing says of size and time is what a later run compares. Folders, globs over object stores and
prefixes give the files whose names end like images or containers of images; a file that the user
names is always taken, so that whatever is wrong with it gets an outcome.
"""

import fnmatch
import glob
import hashlib
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jobs.containers import CONTAINER_SUFFIXES, IMAGE_SUFFIXES, Content, list_container
from jobs.listing import Listing, ListingBuilder
from pipeline.errors import UsageError
from pipeline.storage import Location, locate, split_options

LIST_SUFFIX = ".txt"
NOTES = "listing"
"""Folder under the destination that says what is in remote tars."""
_WILDCARDS = "*?["
_CONTAINERS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A part of a collection, for one of several jobs that share it.

    Attributes:
        number: which part, from 1.
        count: of parts.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read a part such as ``2/8``.

        Raises:
            UsageError: it is none.
        """
        number, slash, count = text.partition("/")
        if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
            return cls(number=int(number), count=int(count))
        raise UsageError(f"shard is {text!r}; give a part and their number, from 1/8 to 8/8")

    def has(self, source: str) -> bool:
        """Whether a file belongs to this part; that depends on nothing but its name."""
        return zlib.crc32(source.encode(errors="replace")) % self.count == self.number - 1


class _File(NamedTuple):
    source: str
    query: str = ""
    facts: tuple[int | None, int | None] = (None, None)
    listed: bool = False


def list_sources(
    addresses: Iterable[str],
    exclude: str | None = None,
    shard: Shard | None = None,
) -> Listing:
    """List the photos behind ``addresses``.

    Args:
        addresses: local folders (searched to any depth), files, globs, ``.txt`` files with one
            address a line, and URIs of objects or prefixes such as ``s3://bucket/prefix``. A
            ``.tar`` gives the images in it, a ``.parquet`` one image a row.
        exclude: folder or URI, the run's own destination, whose content is left out of what
            folders, globs and prefixes give. What is in remote tars is written down there, and
            read from there the next time.
        shard: take only this part. A container belongs to one part as a whole.

    Returns:
        Each photo once.

    Raises:
        UsageError: an address does not exist or cannot be listed, or there is no photo behind it.
    """
    addresses = list(addresses)
    if not addresses:
        raise UsageError("no photos were named; give photos or folders of photos")
    builder = ListingBuilder()
    origins: dict[str, int] = {}
    containers: list[_File] = []
    for address in addresses:
        for file in _outside(address, exclude):
            if shard is not None and not shard.has(file.source):
                continue
            if file.source.lower().endswith(CONTAINER_SUFFIXES):
                containers.append(file)
            else:
                _add_file(builder, origins, file)
    _add_containers(builder, containers, None if exclude is None else locate(exclude))
    return builder.finish()


def _outside(address: str, exclude: str | None) -> Iterator[_File]:
    """What an address means, without what was found inside of the folder ``exclude``."""
    hidden = None if exclude is None else locate(exclude).uri.rstrip("/") + "/"
    taken = left_out = 0
    for file in _expand(address):
        if hidden is not None and file.listed and file.source.startswith(hidden):
            left_out += 1
            continue
        taken += 1
        yield file
    if left_out and not taken:
        raise UsageError(
            f"all photos in {address} lie inside the destination {exclude}, where avatars go; "
            "give a destination elsewhere"
        )
    if not taken:
        endings = ", ".join((*IMAGE_SUFFIXES, *CONTAINER_SUFFIXES))
        raise UsageError(f"no photos in {address}: no file name ends in {endings}")


def _add_file(builder: ListingBuilder, origins: dict[str, int], file: _File) -> None:
    try:
        file.source.encode()
    except UnicodeEncodeError:
        name = file.source.encode(errors="surrogateescape").decode(errors="backslashreplace")
        problem = builder.add_origin({"problem": f"{name} is not named in UTF-8; rename it"})
        builder.add(name, file.facts, problem)
        return
    if file.query not in origins:
        origins[file.query] = builder.add_origin({"query": file.query})
    builder.add(file.source, file.facts, origins[file.query])


def _add_containers(builder: ListingBuilder, files: list[_File], root: Location | None) -> None:
    def opened(file: _File) -> Content:
        place = locate(f"{file.source}?{file.query}" if file.query else file.source)
        noted = root is not None and not place.is_local and None not in file.facts
        notes = root.child(NOTES, f"{_digest(file)}.parquet") if root and noted else None
        return list_container(place, file.facts[0] or 0, notes)

    with ThreadPoolExecutor(_CONTAINERS_AT_ONCE) as pool:
        for file, content in zip(files, pool.map(opened, files), strict=True):
            origin = builder.add_origin(content.where)
            for name, start, count in content.photos:
                builder.add(f"{file.source}#{name}", file.facts, origin, start, count)
            if content.problem is not None:
                builder.add(file.source, file.facts, builder.add_origin(content.problem))


def _digest(file: _File) -> str:
    """A name for what is known of a container, another if it changes."""
    return hashlib.sha256(repr((file.source, *file.facts)).encode()).hexdigest()[:24]


def _expand(address: str) -> Iterator[_File]:
    """The files behind an address: named one by one, or found in folders, globs and prefixes."""
    if "://" in address and not address.startswith("file://"):
        yield from _remote(address)
        return
    path = locate(address).path
    if os.path.isdir(path):
        yield from _folder(Path(path))
    elif path.endswith(LIST_SUFFIX) and os.path.isfile(path):
        yield from _from_list(path)
    elif os.path.lexists(path) or _is_photo_name(path):
        yield _local(path, listed=False)
    elif matches := sorted(glob.glob(path, recursive=True)):
        yield from (_local(match) for match in matches if not os.path.isdir(match))
    else:
        raise UsageError(f"{address} does not exist; give photos, a folder of photos or a glob")


def _local(path: str, listed: bool = True) -> _File:
    try:
        found = os.stat(path)
    except OSError:
        return _File(path, listed=listed)
    facts = (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else (None, None)
    return _File(path, facts=facts, listed=listed)


def _folder(folder: Path) -> Iterator[_File]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            _local(os.path.join(parent, name))
            for name in sorted(names)
            if name.lower().endswith((*IMAGE_SUFFIXES, *CONTAINER_SUFFIXES))
            and not name.startswith(".")
        )


def _from_list(path: str) -> Iterator[_File]:
    with open(path, encoding="utf-8") as lines:
        try:
            for line in lines:
                entry = line.strip()
                if entry and not entry.startswith("#"):
                    yield from _expand(entry)
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{path} is not UTF-8 text ({error.reason}); save the list as UTF-8"
            ) from None


def _remote(address: str) -> Iterator[_File]:
    name, query = split_options(address)
    name = name.rstrip("/")
    if _is_photo_name(name):
        # not looked at, so that a list of a million objects does not cost as many requests
        yield _File(name, query)
        return
    fixed = name
    while _has_wildcard(fixed):
        fixed = fixed.rpartition("/")[0]
    place = locate(f"{fixed}?{query}" if query else fixed)
    try:
        listing = _listing(place)
        if not any(entry.is_file for entry in listing):
            single = place.filesystem.get_file_info(place.path)
            if single.is_file:
                yield _File(name, query, (single.size, single.mtime_ns))
                return
    except OSError as error:
        raise UsageError(f"{name} cannot be listed: {error}") from error
    endings = (*IMAGE_SUFFIXES, *CONTAINER_SUFFIXES)
    found = [entry for entry in listing if entry.is_file and entry.path.lower().endswith(endings)]
    for entry in sorted(found, key=lambda entry: str(entry.path)):
        uri = place.prefix + entry.path
        if fixed == name or fnmatch.fnmatch(uri, name):
            yield _File(uri, query, (entry.size, entry.mtime_ns), listed=True)


def _listing(place: Location) -> list[Any]:
    from pyarrow import fs

    selector = fs.FileSelector(place.path, recursive=True, allow_not_found=True)
    try:
        return place.filesystem.get_file_info(selector)  # type: ignore[no-any-return]
    except NotADirectoryError:
        return []


def _is_photo_name(address: str) -> bool:
    """Whether this names one photo, be it there or not."""
    return address.lower().endswith(IMAGE_SUFFIXES) and not _has_wildcard(address)


def _has_wildcard(address: str) -> bool:
    return any(character in address for character in _WILDCARDS)
