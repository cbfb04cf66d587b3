"""The server behind `manta report --watch`: two answers, on the loopback, to this machine's browsers alone."""

import errno
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from training.errors import CapacityError
from training.report.live import LivePage

HOST = "127.0.0.1"
OWN_NAMES = ("127.0.0.1", "localhost")  # any port: a person may forward one of their own to ours
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Plotly's parallel coordinates make their WebGL code when drawn, which a policy calls eval.
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src "
    "'unsafe-inline'; img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'",
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], page: LivePage) -> None:
        self.page = page
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """As the base class, which would also ask the name service who 127.0.0.1 is: a wait where there is none."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closed the page in mid-answer is no error to tell a person of; ours are."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "manta", ""
    timeout = 30.0

    def do_GET(self) -> None:
        """The page, or what is new on it."""
        asked, snapshot = urlsplit(self.path), self.server.page.snapshot
        if not _is_own(self.headers.get("Host", "")):
            # A foreign site may let its own name point here, and would then read what this person's browser fetches.
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"this page is only for this machine\n")
        elif asked.path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", snapshot.page())
        elif asked.path == "/state.json":
            seen = parse_qs(asked.query).get("seen", [""])[0]
            self._answer(HTTPStatus.OK, "application/json", snapshot.state(seen))
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is only the page at /\n")

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: a page that asks every two seconds would fill the terminal."""


def _is_own(host: str) -> bool:
    name, _, port = host.partition(":")
    return name.lower() in OWN_NAMES and (not port or port.isdigit())


@contextmanager
def serving(page: LivePage, port: int) -> Iterator[str]:
    """Serve the page and give its address. Port 0 takes a free one.

    Raises:
        CapacityError: the port is taken, or not allowed.
    """
    try:
        server = _Server((HOST, port), page)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is in use by another process" if taken else f"cannot be used: {error.strerror or error}"
        raise CapacityError(
            f"port {port} on {HOST} {reason}", "--port names another one; --port 0 takes any"
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
