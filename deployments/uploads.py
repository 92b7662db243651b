"""The body of a submission: photos and options, taken apart without looking into the photos."""

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.job_graph import AvatarOptions
from deployments.options import ServiceOptions
from pipeline.errors import DeadlineExceeded, ImageTooLarge, UsageError

PHOTO, OPTIONS = "photo", "options"
_MOST_OPTIONS_BYTES = 4096
_UPLOAD_S = 120.0
"""A client that is slower than this gives up its place among those who upload."""
OPENAPI_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [PHOTO],
                "additionalProperties": False,
                "properties": {
                    PHOTO: {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "string",
                            "format": "binary",
                            "contentMediaType": "image/*",
                        },
                        "description": "JPEG, PNG or WebP. Of several photos of one person the "
                        "first is the one that the avatar is made from today.",
                    },
                    OPTIONS: {
                        "type": "string",
                        "contentMediaType": "application/json",
                        "contentSchema": AvatarOptions.model_json_schema(),
                        "example": '{"seed": 7, "formats": ["ply", "spz"]}',
                    },
                },
            }
        }
    },
}


@dataclass(frozen=True)
class Upload:
    """What a client sent.

    Attributes:
        photos: their bytes.
        options: of the avatar.
    """

    photos: list[bytes]
    options: AvatarOptions


class BodyLimit:
    """ASGI middleware that stops reading a body where it has more bytes than allowed.

    Args:
        app: what is wrapped.
        most_mb: MiB that a body may have.
    """

    def __init__(self, app: ASGIApp, most_mb: int) -> None:
        self._app = app
        self._most_mb = most_mb

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request.

        Raises:
            ImageTooLarge: in whoever reads the body, also before the first byte if its length is
                announced.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        size = int(announced) if announced.isdigit() else 0
        received = 0

        async def receive_some() -> Message:
            nonlocal received
            message = await receive() if size <= self._most_mb * 2**20 else None
            received += 0 if message is None else len(message.get("body", b""))
            if message is None or received > self._most_mb * 2**20:
                raise ImageTooLarge(
                    f"the photos have more than {self._most_mb} MiB together; save them smaller"
                )
            return message

        await self._app(scope, receive_some, send)


async def read_upload(request: Request, limits: ServiceOptions) -> Upload:
    """Take a multipart body apart; names and types that the client gave are not looked at.

    Raises:
        UsageError: a part is missing, unknown or malformed.
        ImageTooLarge: a photo has more bytes than allowed.
        DeadlineExceeded: the body took too long.
    """
    try:
        return await _read(request, limits)
    except TimeoutError:
        raise DeadlineExceeded(f"the photos were not here after {_UPLOAD_S:g} s") from None


async def _read(request: Request, limits: ServiceOptions) -> Upload:
    async with (
        asyncio.timeout(_UPLOAD_S),
        request.form(
            max_files=limits.max_photos, max_fields=1, max_part_size=_MOST_OPTIONS_BYTES
        ) as form,
    ):
        if unknown := sorted(set(form) - {PHOTO, OPTIONS}):
            raise UsageError(f"part {unknown[0][:40]!r} is unknown; give 'photo' and 'options'")
        photos = [await _photo(part, limits.max_photo_mb) for part in form.getlist(PHOTO)]
        if not photos:
            raise UsageError("there is no photo; send one as the part 'photo' of a multipart form")
        return Upload(photos, _options(form.get(OPTIONS, "{}")))


async def _photo(part: UploadFile | str, most_mb: int) -> bytes:
    if isinstance(part, str):
        raise UsageError("the part 'photo' has to be a file, as in curl -F photo=@me.jpg")
    if (part.size or 0) > most_mb * 2**20:
        raise ImageTooLarge(f"a photo has more than {most_mb} MiB; save it smaller")
    return await part.read()


def _options(part: UploadFile | str) -> AvatarOptions:
    if not isinstance(part, str):
        raise UsageError("the part 'options' has to be a JSON text, not a file")
    try:
        return AvatarOptions.model_validate_json(part)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "options"
        raise UsageError(f"{where}: {first['msg']}") from None
