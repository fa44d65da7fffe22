"""The server of `risloc view`: the page and its scenes, on loopback, for the browser of this machine alone."""

import json
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from risloc.cli.view_page import Record

__all__ = ["ViewServer"]

HOST = "127.0.0.1"
_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",  # the rest of the policy stands in the page
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class ViewServer(ThreadingHTTPServer):
    """Serves the page at / and records at /scene/NUMBER, and nothing else.

    port : 0 takes a free one; `url` says which.  record : of the scene of that number, called by several threads; a
    LookupError is a scene that is not shown, a ValueError one that cannot be: the page shows its words.

    A request for another host is refused: a foreign page whose name was made to point here learns nothing.
    """

    daemon_threads = True

    def __init__(self, port: int, page: str, record: Callable[[int], Record]) -> None:
        super().__init__((HOST, port), _Handler)
        self.page, self.record = page.encode(), record

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://{HOST}:{self.port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    timeout = 30

    def do_GET(self) -> None:
        if self.headers.get("Host") not in {f"{name}:{self.server.port}" for name in (HOST, "localhost")}:
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"this server is for the browser of its own machine alone")
        elif self.path == "/":
            self._answer(HTTPStatus.OK, "text/html", self.server.page)
        elif self.path.startswith("/scene/") and self.path[7:].isascii() and self.path[7:].isdigit():
            self._scene(self.path[7:])
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"no such page")

    def _scene(self, number: str) -> None:
        try:
            record = self.server.record(int(number[:9]))
        except LookupError:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"no such scene")
        except ValueError as error:
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, "text/plain", str(error).encode())
        else:
            self._answer(HTTPStatus.OK, "application/json", json.dumps(record, allow_nan=False).encode())

    def _answer(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def version_string(self) -> str:
        """Of the Server header: no versions."""
        return "risloc"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the terminal is the command's."""
