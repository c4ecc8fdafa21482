"""A supervisor to try things on, and what to try them with."""

import http.client
import json
import os
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from zaffre.edge.plan import upstream_name
from zaffre.supervisor import client
from zaffre.supervisor.identity import Identity

HERE = Path(__file__).parent
DEADLINE = 30.0


def eventually(look: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """The first true value of `look`; fails with `what` when there was none by the deadline."""
    deadline = time.monotonic() + seconds
    wait = threading.Event()
    while True:
        value = look()
        if value:
            return value
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        wait.wait(0.01)


class Up:
    """A supervisor on a home, with the stub as its application."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None
        self.output = home.parent / f"{home.name}.out"

    def start(self, *arguments: str, ready: bool = True, environment: dict[str, str] | None = None) -> "Up":
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.command(*arguments),
                env={**os.environ, "PYTHONPATH": str(HERE), **(environment or {})},
                stdout=output,
                stderr=output,
            )
        if ready:
            self.wait_ready()
        return self

    def command(self, *arguments: str) -> list[str]:
        fixed = ["--home", str(self.home), "--application", "stub_application"]
        port = [] if "--port" in arguments or (self.home / "run" / "address.json").exists() else ["--port", "0"]
        return [sys.executable, "-m", "zaffre.supervisor", *fixed, *port, *arguments]

    def wait_ready(self) -> dict[str, Any]:
        def ready() -> dict[str, Any] | None:
            assert self.process is None or self.process.poll() is None, self.output.read_text()
            return self.status_if_ready()

        return eventually(ready, "the supervisor is ready")

    def status_if_ready(self) -> dict[str, Any] | None:
        found = client.status(self.home)
        fine = found and found["application"]["ready"] and (found["nginx"] is None or found["nginx"]["pid"])
        return found if fine else None

    @property
    def status(self) -> dict[str, Any]:
        found = client.status(self.home)
        assert found is not None
        return found

    @property
    def port(self) -> int:
        return int(json.loads((self.home / "run" / "address.json").read_text())["port"])

    @cached_property
    def trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.home / "bundle.pem"))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    def request(
        self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """One request on a connection of its own: status, body (JSON where it is), headers in lower case."""
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=DEADLINE, context=self.trust)
        try:
            connection.putrequest(method, target)
            for name, value in {"Content-Length": str(len(body or b"")), **(headers or {})}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()
        return answer.status, json.loads(data) if "json" in found.get("content-type", "") else data, found

    def plan(self, *endpoints: dict[str, Any]) -> str | None:
        """Have the application serve these endpoints; what the supervisor answered (None: nginx runs with them)."""
        status, value, _ = self.request("POST", "/_stub/plan", json.dumps({"endpoints": endpoints}).encode())
        assert status == 200, value
        error: str | None = value["error"]
        return error

    def score(
        self, endpoint: str, key: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        authorization = {"Authorization": f"Bearer {key}"} if key else {}
        return self.request("POST", f"/endpoints/{endpoint}/score", b"{}", {**authorization, **(headers or {})})

    def kill(self, which: str) -> int:
        """SIGKILL the `supervisor`, `application` or `nginx` (its master); the pid that died."""
        pid = self.status["pid"] if which == "supervisor" else self.status[which]["pid"]
        identity = Identity.of(pid)
        assert identity is not None
        os.kill(pid, signal.SIGKILL)
        if which == "supervisor" and self.process is not None:
            self.process.wait(DEADLINE)
        eventually(lambda: not identity.alive(), f"{which} has ended")
        return int(pid)

    def clean(self) -> None:
        """Whatever a test left: by identity, never by name."""
        for name in ("supervisor", "application", "nginx"):
            path = self.home / "run" / f"{name}.json"
            identity = Identity.from_json(json.loads(path.read_text())) if path.exists() else None
            if identity is not None and identity.alive():
                os.kill(identity.pid, signal.SIGTERM)
                eventually(lambda one=identity: not one.alive(), f"{name} ends")
        if self.process is not None:
            self.process.wait(DEADLINE)


class ModelServer:
    """A model server on a unix socket, which tells its name and what it was asked."""

    def __init__(self, path: Path, name: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                sent = {key.lower(): value for key, value in self.headers.items()}
                body = self.rfile.read(length).decode()
                data = json.dumps({"name": name, "target": self.path, "headers": sent, "body": body}).encode()
                self.send_response(int(sent.get("x-fail", 200)))
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

            def get_request(self) -> tuple[socket.socket, Any]:
                return self.socket.accept()[0], ("unix", 0)

        path.parent.mkdir(parents=True, exist_ok=True)
        before = Path.cwd()
        os.chdir(path.parent)  # the path may be too long for a socket
        try:
            self.server = Server(path.name, Handler)
        finally:
            os.chdir(before)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def model_servers(home: Path, *names: str) -> Iterator[None]:
    """Model servers on `edge/d/<name>.sock`."""
    servers = [ModelServer(home / "edge" / "d" / f"{name}.sock", name) for name in names]
    try:
        yield
    finally:
        for server in servers:
            server.close()


def deployment(endpoint: str, name: str, *sockets: str, **more: Any) -> dict[str, Any]:
    paths = [f"d/{one}.sock" for one in sockets or (name,)]
    return {"name": name, "upstream": upstream_name(endpoint, name), "sockets": paths, **more}
