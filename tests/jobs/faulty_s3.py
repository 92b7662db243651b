"""A loopback proxy in front of an S3 server that counts requests and misbehaves on demand."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HANG = "hang"
_ERROR = "<Error><Code>{}</Code><Message>no</Message></Error>"
_CODES = {503: "ServiceUnavailable", 500: "InternalError"}


@dataclass
class FaultyS3:
    """The proxy.

    Attributes:
        url: where it listens.
        requests: method, path and headers of each.
        faults: by the end of an object's path, what the next GETs of it get: status codes, names
            of errors, or `HANG`; when they are used up the last is repeated if it is a set's.
    """

    url: str = ""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    faults: dict[str, Iterator[object]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def count(self, part: str = "") -> Counter[str]:
        """How many requests of each method had ``part`` in their path."""
        return Counter(method for method, path, _ in self.requests if part in path)

    def fault(self, method: str, path: str) -> object:
        for ending, faults in self.faults.items():
            if method == "GET" and urlsplit(path).path.endswith(ending):
                return next(faults, None)
        return None


@contextmanager
def faulty_s3(server: str) -> Iterator[FaultyS3]:
    proxy = FaultyS3()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def handle_any(self) -> None:
            body = self._body()
            proxy.requests.append((self.command, self.path, dict(self.headers)))
            fault = proxy.fault(self.command, self.path)
            if fault is None:
                self._pass_on(body)
            elif fault == HANG:
                proxy.stop.wait(60)
                self.close_connection = True
            else:
                code = fault if isinstance(fault, str) else _CODES[int(str(fault))]
                status = 503 if isinstance(fault, str) else int(str(fault))
                self._answer(status, {"Content-Type": "application/xml"}, _ERROR.format(code))

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _pass_on(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(urlsplit(server).netloc)
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in ("transfer-encoding", "expect", "content-length"):
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            content = response.read()
            headers = {
                name: value
                for name, value in response.getheaders()
                if name.lower() not in ("transfer-encoding", "connection", "content-length")
            }
            length = response.getheader("Content-Length")
            self._answer(response.status, headers, content, length)
            connection.close()

        def _answer(
            self, status: int, headers: dict[str, str], content: str | bytes, length: Any = None
        ) -> None:
            data = content.encode() if isinstance(content, str) else content
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.daemon_threads = True
    threading.Thread(target=service.serve_forever, args=(0.05,), daemon=True).start()
    proxy.url = f"http://127.0.0.1:{service.server_port}"
    try:
        yield proxy
    finally:
        proxy.stop.set()
        service.shutdown()
        service.server_close()
        time.sleep(0)
