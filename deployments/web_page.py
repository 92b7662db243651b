"""The web page at "/": its files, and what it has to know of the service before it asks for more.

The files are the same for everybody and need no key. They are held in memory, packed once, since
the libraries of the 3D viewer are larger than all else that the service sends to a browser.
"""

import gzip
import hashlib
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response

from deployments.service import Known
from jobs.demo import PORTRAIT, find_photo
from pipeline.errors import UsageError

FOLDER = Path(__file__).with_name("page")
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
LIBRARIES = (
    "node_modules/three/build/three.core.js",
    "node_modules/three/build/three.module.js",
    "node_modules/three/examples/jsm/controls/OrbitControls.js",
    "node_modules/three/examples/jsm/postprocessing/Pass.js",
    "node_modules/@sparkjsdev/spark/dist/spark.module.min.js",
)
"""Of the 3D viewer, below the folder; `make page` brings them, and the wheel takes them along."""
_EXAMPLES = ((PORTRAIT, "Eileen Collins (NASA)"),)
_IMPORT_MAP = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class _File:
    content: bytes
    packed: bytes
    headers: dict[str, str]

    def answer(self, request: Request) -> Response:
        """The file, or that it has not changed."""
        if self.headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=self.headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.packed, headers={**self.headers, "Content-Encoding": "gzip"})
        return Response(self.content, headers=self.headers)


def page_routes(folder: Path = FOLDER) -> APIRouter:
    """The routes of the page; without the libraries in ``folder`` it shows turntables only."""
    routes = APIRouter(include_in_schema=False)
    found = [*folder.glob("*.*"), *(folder / name for name in LIBRARIES)]
    files = [path for path in found if path.suffix in MEDIA_TYPES and path.is_file()]
    policy = content_security_policy((folder / "index.html").read_bytes())
    for path in files:
        name = path.relative_to(folder).as_posix()
        where = "/" if name == "index.html" else f"/{name}"
        routes.add_api_route(where, _read(path, policy).answer)
    examples = _examples()
    for path in examples:
        routes.add_api_route(f"/examples/{path.name}", _sender(path))
    viewer = all(folder / name in files for name in LIBRARIES)
    routes.add_api_route("/page.json", _facts(viewer, examples))
    return routes


def content_security_policy(html: bytes) -> str:
    """What the page may do: run its own files, start Spark's WebAssembly and its workers.

    Args:
        html: the page. Its import map is the one script in it, and is named by its digest.
    """
    digests = (hashlib.sha256(text).digest() for text in _IMPORT_MAP.findall(html))
    maps = "".join(f" 'sha256-{b64encode(digest).decode()}'" for digest in digests)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'wasm-unsafe-eval'{maps}",
            "style-src 'self'",
            "img-src 'self' blob:",
            "connect-src 'self' data:",  # Spark has its WebAssembly in such an address
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _read(path: Path, policy: str) -> _File:
    content = path.read_bytes()
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": policy,
        "Content-Type": MEDIA_TYPES[path.suffix],
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        "Vary": "Accept-Encoding",
    }
    return _File(content, gzip.compress(content, 6, mtime=0), headers)


def _examples() -> dict[Path, str]:
    """The titles of the example photos that are installed, by their paths."""
    found = {}
    for photo, title in _EXAMPLES:
        try:
            found[find_photo(*photo)] = title
        except UsageError:  # the page does without
            continue
    return found


def _sender(path: Path) -> Callable[[], FileResponse]:
    return lambda: FileResponse(path, headers={"Cache-Control": "no-cache"})


def _facts(viewer: bool, examples: dict[Path, str]) -> Callable[[Known], dict[str, Any]]:
    titles = [{"name": path.name, "title": title} for path, title in examples.items()]

    def facts(service: Known) -> dict[str, Any]:
        """What the page shows before it has asked for any avatar."""
        options = service.backend.options
        return {
            "viewer": viewer,
            "keys_needed": service.backend.keys.are_needed("localhost"),
            "retention_hours": options.retention_s / 3600,
            "max_photo_mb": options.max_photo_mb,
            "examples": titles,
        }

    return facts
