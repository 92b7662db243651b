"""Files as HTTP answers: ETag, ranges, and no copy in memory, from a disk or an object store."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import PurePath

from fastapi import Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from pipeline.errors import NotFound
from pipeline.storage import Location

_MEDIA_TYPES = {
    ".json": "application/json",
    ".png": "image/png",
    ".webp": "image/webp",
    ".glb": "model/gltf-binary",
}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CHUNK = 2**18


def file_response(request: Request, file: Location) -> Response:
    """A file, a part of it, or that it has not changed.

    Raises:
        NotFound: it is not there.
    """
    info = file.filesystem.get_file_info(file.path)
    if not info.is_file:
        raise NotFound("there is no such file, or not yet")
    tag = hashlib.sha256(f"{file.path} {info.size} {info.mtime_ns}".encode()).hexdigest()[:32]
    headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
    known = request.headers.get("if-none-match", "")
    if known == "*" or tag in known:
        return Response(status_code=304, headers=headers)
    name = PurePath(file.path).name
    media_type = _MEDIA_TYPES.get(PurePath(name).suffix, "application/octet-stream")
    headers["Content-Disposition"] = f'inline; filename="{name}"'
    if file.is_local:
        return FileResponse(file.path, headers=headers, media_type=media_type)
    return _stream(request, file, info.size, headers, media_type)


def _stream(
    request: Request, file: Location, size: int, headers: dict[str, str], media_type: str
) -> Response:
    """A whole object, or the one range that is asked for."""
    headers["Accept-Ranges"] = "bytes"
    wanted = request.headers.get("range")
    if wanted is None or request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        first, end, status = 0, size, 200
    else:
        bounds = _bounds(wanted, size)
        if bounds is None:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        first, end, status = *bounds, 206
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - first)
    return StreamingResponse(_chunks(file, first, end), status, headers, media_type)


def _bounds(wanted: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None if there are none."""
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
    return (start, end) if start < end else None


def _chunks(file: Location, first: int, end: int) -> Iterator[bytes]:
    with file.filesystem.open_input_file(file.path) as stream:
        stream.seek(first)
        while first < end:
            chunk = stream.read(min(_CHUNK, end - first))
            if not chunk:
                return
            first += len(chunk)
            yield chunk
