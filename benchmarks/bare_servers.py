"""What stands beside the product in the edge's benchmark: a model server that costs nothing, and nginx without ours."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zaffre.edge.binary import find_nginx

_KEPT_S = 4.0
"""Longer than nginx keeps a connection to a model server."""

_START_S = 30.0
_NGINX = """
{user}daemon off;
pid {temporary}/nginx.pid;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path {temporary}/body;
  proxy_temp_path {temporary}/proxy;
  fastcgi_temp_path {temporary}/fastcgi;
  uwsgi_temp_path {temporary}/uwsgi;
  scgi_temp_path {temporary}/scgi;
  access_log off;
  keepalive_requests 100000;
  upstream model {{ server unix:{model}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {pem};
    ssl_certificate_key {pem};
    location / {{
      proxy_pass http://model/score;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Bare:
    port: int
    pid: int


@contextlib.contextmanager
def stand_in(model: Path) -> Iterator[int]:
    """Put a cheap server where nginx finds the model server; its pid. The real one is put back afterwards."""
    kept, coming = model.with_suffix(".kept"), model.with_suffix(".bench")
    kept.hardlink_to(model)
    command = [sys.executable, "-P", str(Path(__file__).with_name("stand_in.py")), str(coming)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            coming.replace(model)
            time.sleep(_KEPT_S)
            yield process.pid
        finally:
            kept.replace(model)
            process.terminate()


@contextlib.contextmanager
def bare_nginx(edge: Path, model: Path) -> Iterator[Bare]:
    """The nginx Zaffre runs, with TLS and a proxy_pass and nothing else, in front of the same socket."""
    with tempfile.TemporaryDirectory(prefix="zaffre-bench-nginx-") as temporary:
        port = free_port()
        # As root, nginx's workers become `nobody` and could not reach the socket.
        user = "user root;\n" if Path("/proc/self").stat().st_uid == 0 else ""
        path = Path(temporary, "nginx.conf")
        places = {"temporary": temporary, "model": model.relative_to(edge), "pem": edge / "tls" / "server.pem"}
        path.write_text(_NGINX.format(user=user, port=port, **places))
        command = [str(find_nginx().path), "-p", ".", "-c", str(path), "-e", "stderr"]
        with subprocess.Popen(command, cwd=edge, stderr=subprocess.PIPE) as process:
            try:
                await_port(port, edge, process)
                yield Bare(port, process.pid)
            finally:
                process.terminate()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def await_port(port: int, edge: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until something answers TLS there; `edge` is the folder whose bundle it is trusted by."""
    context = ssl.create_default_context(cafile=str(edge.parent / "bundle.pem"))
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with (
                socket.create_connection(("127.0.0.1", port)) as one,
                context.wrap_socket(one, server_hostname="localhost"),
            ):
                return
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                errors = (
                    process.communicate(timeout=1)[1].decode(errors="replace") if process.poll() is not None else ""
                )
                raise ChildProcessError(f"the bare nginx does not answer: {errors}") from None
            time.sleep(0.05)
