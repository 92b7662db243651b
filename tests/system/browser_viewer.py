"""Three.js and Spark in headless Chromium: a viewer that we did not write, for tests.

The page posts its pictures to a server on the loopback interface, so no browser driver is needed.
"""

import queue
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import chromium

PAGE = Path(__file__).with_name("viewer_page.html")
_TYPES = {".js": "text/javascript", ".html": "text/html"}


def pictures(avatars: dict[str, bytes], folder: Path, **camera: float) -> dict[str, bytes]:
    """PNGs of files of Gaussians as the viewer shows them, by their endings.

    Args:
        avatars: the files by their endings, with the dot.
        folder: empty, for the browser's profile.
        camera: ``azimuth``, ``elevation`` and ``fov`` in degrees, ``radius``, ``size`` in pixels.
    """
    server = _Server(avatars)
    query = urlencode({"endings": ",".join(avatars).replace(".", ""), **camera})
    address = f"http://127.0.0.1:{server.server_port}/?{query}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert chromium.EXECUTABLE is not None
    flags = (*chromium.FLAGS, "--headless", f"--user-data-dir={folder}")
    with (folder / "log").open("wb") as log:
        browser = subprocess.Popen([chromium.EXECUTABLE, *flags, address], stdout=log, stderr=log)
        try:
            return server.collect()
        finally:
            browser.terminate()
            browser.wait(20)
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    """Serves the page, the modules and the avatars, and collects what the page posts."""

    def __init__(self, avatars: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.avatars = avatars
        self.posts: queue.Queue[tuple[str, bytes]] = queue.Queue()

    def collect(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        while True:
            path, body = self.posts.get(timeout=120)
            assert not path.startswith("/error"), body.decode()
            if path == "/done":
                return found
            found[Path(path).suffix] = body


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/node_modules/"):
            file = chromium.MODULES / path.removeprefix("/node_modules/")
            self._answer(file.read_bytes() if file.is_file() else None, _TYPES.get(file.suffix))
        elif path.startswith("/avatar"):
            self._answer(self.server.avatars[Path(path).suffix], None)
        else:
            self._answer(PAGE.read_bytes() if path == "/" else None, "text/html")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.put((self.path, body))
        self._answer(b"", None)

    def _answer(self, body: bytes | None, kind: str | None) -> None:
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Nothing; the test says what went wrong."""
