"""The server of `risloc view`, which serves the page and its scenes to this machine only."""

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
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page has the rest of the policy
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class ViewServer(ThreadingHTTPServer):
    """Serves the page at / and records at /scene/NUMBER, and nothing else.

    A request with another host name is rejected, so that a foreign page whose name resolves to this machine (DNS rebinding)
    learns nothing.

    Parameters
    ----------
    port
        The port on 127.0.0.1; 0 chooses a free one.
    page
        The HTML text.
    record
        Returns the record of a scene; several threads call it. It raises LookupError for a scene that is not shown, and
        ValueError for an invalid one; the page shows the message.
    """

    daemon_threads = True

    def __init__(self, port: int, page: str, record: Callable[[int], Record]) -> None:
        super().__init__((HOST, port), _Handler)
        self.page, self.record = page.encode(), record

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that closed its connection; report other errors.

        Parameters
        ----------
        request
            The request.
        client_address
            Its origin.
        """
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    timeout = 30

    def do_GET(self) -> None:
        if self.headers.get("Host") not in {f"{name}:{self.server.port}" for name in (HOST, "localhost")}:
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"this server accepts requests for its own machine only")
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
        """Return the Server header, without versions."""
        return "risloc"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing, because the terminal belongs to the command."""
