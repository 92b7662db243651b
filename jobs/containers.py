"""What is in a WebDataset tar or a Parquet file: where each image lies, without reading any.

Of a tar the headers are read one after the other, of a Parquet file its footer and, if it has one,
the column of names.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import SourceUnavailable, UnreadableSource, UsageError
from pipeline.photo_files import RangeFile
from pipeline.storage import Location

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
TAR_SUFFIX = ".tar"
PARQUET_SUFFIX = ".parquet"
CONTAINER_SUFFIXES = (TAR_SUFFIX, PARQUET_SUFFIX)
IMAGE_COLUMNS = ("image", "bytes", "image_bytes")
NAME_COLUMNS = ("id", "key", "__key__", "path", "file_name")
MAX_ROW_GROUP_BYTES = 512 * 2**20
_NOTED = ("name", "start", "bytes")
_HEADER_BYTES = 32_768
_MAX_HEADER_BYTES = 2**20
_BLOCK = 512


@dataclass
class Content:
    """The photos of a container.

    Attributes:
        where: the keys of `pipeline.photo_files` that its photos share.
        photos: name, start and number of bytes of each; the number is None in a Parquet file.
        problem: why there are no more, in the form of `pipeline.photo_files`; None if it is whole.
    """

    where: dict[str, Any]
    photos: Iterable[tuple[str, int, int | None]] = field(default_factory=list)
    problem: dict[str, Any] | None = None


def list_container(place: Location, size: int, notes: Location | None = None) -> Content:
    """List the photos in a container of ``size`` bytes.

    A damaged one has what could be listed, and its problem.

    Args:
        place: the container.
        size: of it, in bytes.
        notes: where to write down what is in a tar, and to read it from another time, since each of
            its photos costs a request.

    Raises:
        UsageError: a Parquet file has no column of images, or row groups that are too large.
    """
    try:
        if not place.path.lower().endswith(TAR_SUFFIX):
            return _list_parquet(place, size)
        return _list_tar(place, size) if notes is None else _noted(place, size, notes)
    except UnreadableSource as error:
        return Content({}, problem={"problem": str(error)})
    except SourceUnavailable as error:
        return Content({}, problem={"problem": str(error), "unavailable": True})


def _noted(place: Location, size: int, notes: Location) -> Content:
    with suppress(UnreadableSource, pa.ArrowException, KeyError):  # not there, or not ours
        table = pq.read_table(pa.BufferReader(notes.read()))
        problem = json.loads(table.schema.metadata[b"problem"])
        photos = zip(*(table[name].to_pylist() for name in _NOTED), strict=True)
        return Content({"address": place.address}, photos, problem)
    content = _list_tar(place, size)
    content.photos = list(content.photos)
    columns = zip(*content.photos, strict=True) if content.photos else ([], [], [])
    table = pa.table(dict(zip(_NOTED, columns, strict=True)))
    table = table.replace_schema_metadata({"problem": json.dumps(content.problem)})
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    with suppress(OSError):  # the next run lists it again
        notes.write(stream.getvalue())
    return content


class _Headers(io.BufferedReader):
    """Reads headers only: a tar may claim that a name is gigabytes long."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return super().read(size)


def _list_tar(place: Location, size: int) -> Content:
    content = Content({"address": place.address})
    photos: dict[str, tuple[str, int, int]] = {}
    at = 0
    try:
        # members are read where they lie and never unpacked, so their names need no trust
        with tarfile.open(
            fileobj=_Headers(RangeFile(place, size), _HEADER_BYTES), mode="r:"
        ) as tar:
            for member in _members(tar):
                at = member.offset
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"{member.name!r} goes on beyond the end")
                if _is_photo(member):
                    name = _printable(member.name)
                    name = name if name not in photos else f"{name}@{member.offset}"
                    photos[name] = (name, member.offset_data, member.size)
            at = tar.offset
            _check_end(place, at, size)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        problem = (
            f"{place.uri} is damaged after byte {at:,} ({error}); the {len(photos):,} photos "
            "before it are taken"
        )
        content.problem = {"problem": problem}
    content.photos = photos.values()
    return content


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    last = -1
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]
        # or a tar of a million members is held in memory; typeshed does not know the attribute
        if member.offset <= last:
            raise tarfile.ReadError("its headers go in a circle")
        last = member.offset
        yield member


def _is_photo(member: tarfile.TarInfo) -> bool:
    hidden = PurePosixPath(member.name).name.startswith(".")
    image = member.name.lower().endswith(IMAGE_SUFFIXES) and not hidden
    return member.isreg() and not member.issparse() and image


def _check_end(place: Location, at: int, size: int) -> None:
    """Tell the end of a tar from a damaged header, at which tarfile also stops."""
    block = place.read_range(at, min(at + _BLOCK, size)) if at < size else b""
    if any(block):
        raise tarfile.ReadError("no header where one must be")


def _printable(name: str) -> str:
    """A member's name, which may be any bytes, as text."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _list_parquet(place: Location, size: int) -> Content:
    try:
        with pq.ParquetFile(RangeFile(place, size)) as file:
            column = _image_column(file.schema_arrow, place)
            _check_row_groups(file.metadata, column, place)
            names = _names(file, column)
    except (pa.ArrowException, ValueError, OSError) as error:
        problem = f"{place.uri} is not a whole Parquet file: {error}"
        return Content({}, problem={"problem": problem})
    where = {"address": place.address, "size": size, "column": column}
    return Content(where, [(name, row, None) for row, name in enumerate(names)])


def _image_column(schema: pa.Schema, place: Location) -> str:
    for name in IMAGE_COLUMNS:
        if name in schema.names and _holds_bytes(schema.field(name).type):
            return name
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise UsageError(
        f"{place.uri} has no column of images: it has {columns[:500]}; the column must be called "
        f"{' or '.join(IMAGE_COLUMNS)} and hold bytes, or structs with a field bytes"
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _check_row_groups(metadata: Any, column: str, place: Location) -> None:
    """Refuse a file of which a worker would have to hold too much for one photo."""
    for group in range(metadata.num_row_groups):
        chunks = [metadata.row_group(group).column(i) for i in range(metadata.num_columns)]
        size = sum(
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema.split(".")[0] == column
        )
        if size > MAX_ROW_GROUP_BYTES:
            raise UsageError(
                f"row group {group} of {place.uri} has {size:,} bytes of images, more than "
                f"{MAX_ROW_GROUP_BYTES:,}, which a worker holds to read one; write the file with "
                "row_group_size=100"
            )


def _names(file: pq.ParquetFile, image: str) -> list[str]:
    """The photos' names: the first column of names in which all differ, else the row numbers."""
    kind = file.schema_arrow.field(image).type
    inside = pa.types.is_struct(kind) and kind.get_field_index("path") >= 0
    for name in (*NAME_COLUMNS, *([f"{image}.path"] if inside else [])):
        if "." not in name and name not in file.schema_arrow.names:
            continue
        table = file.read(columns=[name], use_threads=False).flatten()
        values = table.column(0).to_pylist()
        if None not in values and len(set(values)) == len(values):
            return [str(value) for value in values]
    return [str(row) for row in range(file.metadata.num_rows)]
