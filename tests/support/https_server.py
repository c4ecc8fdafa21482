"""A small HTTPS server with a certificate of Zaffre's own making, for what is tested without a whole server."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from zaffre.edge.bundle import write_bundle
from zaffre.edge.certificates import make_certificates
from zaffre.profiles import Profile

Answers = dict[str, tuple[int, Any]]


class HttpsServer:
    """`answers` maps a path without its query to a status and a JSON value, or bytes; `asked` holds what came."""

    def __init__(self, home: Path, *, now: datetime.datetime | None = None) -> None:
        self.answers: Answers = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        home.mkdir(parents=True, exist_ok=True)
        make_certificates(home, now=now)
        write_bundle(home, (home / "ca" / "ca.pem").read_bytes(), {})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(home / "edge" / "tls" / "server.pem")
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.profile = Profile(
            address=f"https://localhost:{self._http.server_port}", bundle=str(home / "bundle.pem"), api_key="zf_key"
        )

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def https_server(home: Path, *, now: datetime.datetime | None = None) -> Iterator[HttpsServer]:
    server = HttpsServer(home, now=now)
    try:
        yield server
    finally:
        server.close()


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _handler(server: HttpsServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.asked.append((self.command, self.path, headers, body))
            status, value = server.answers.get(self.path.partition("?")[0], (404, {"error": {"message": "Not here."}}))
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            if status in (301, 302, 307):
                self.send_header("location", "https://elsewhere.example/")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_what: Any) -> None:
            """Quiet."""

    return Handler
