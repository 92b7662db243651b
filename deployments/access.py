"""Who may use the HTTP API, and what its answers allow a browser to do."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Request
from fastapi.params import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.keys import LOCAL_OWNER, KeyStore, is_loopback
from pipeline.errors import Unauthorized

_PORT = re.compile(r":\d+$")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer that does not say otherwise itself."""

bearer = HTTPBearer(auto_error=False, description="A key from `headsplat keys create`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        owner: of the jobs that are seen and made.
        max_jobs: unfinished ones that it may have; None is no limit.
        key_id: whose rate a submission counts against; None without keys.
    """

    owner: str
    max_jobs: int | None = None
    key_id: str | None = None


def identify(keys: KeyStore, request: Request, credentials: Credentials) -> Caller:
    """Who sent a request.

    A service that has no keys answers only programs on its own machine, and of the pages that a
    browser there shows only its own.

    Raises:
        Unauthorized: the key is not one, or there is none and there has to be.
    """
    if credentials is not None:
        key = keys.check(credentials.credentials)
        return Caller(key.id, key.max_jobs, key.id)
    if keys.are_needed("localhost"):
        raise Unauthorized("give a key, as in 'Authorization: Bearer hs_...'")
    if request.client is None or not is_loopback(request.client.host):
        raise Unauthorized(
            "this service has no keys and so answers its own machine only; on that machine, make "
            "one with headsplat keys create NAME"
        )
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    if not is_loopback(_PORT.sub("", host).strip("[]")) or origin not in (None, f"http://{host}"):
        raise Unauthorized("without a key, pages of other sites are not answered")
    return Caller(LOCAL_OWNER)


class SafeHeaders:
    """ASGI middleware that adds the headers which make browsers careful.

    Args:
        app: what is wrapped. An answer that has one of the headers keeps its own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_safely if scope["type"] == "http" else send)
