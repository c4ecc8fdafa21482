"""Blobs: five gigabytes in blocks, and long lists."""

from __future__ import annotations

import base64
import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from benchmarks import processes
from benchmarks.figures import Figure
from benchmarks.samples import Sample, ratios
from benchmarks.server import Client, Server, ServerError

MB = 1_000_000
LARGE_MB, BLOCK_MB = 5000, 4
BLOBS, PAGE = 100_000, 5000
_STORAGE = "https://storage.azure.com"


def measure(server: Server, *, rounds: int) -> list[Figure]:
    """The server is up and stays so; the disk needs room for five gigabytes."""
    return [*_in_blocks(server), *_lists(server, rounds)]


def _in_blocks(server: Server) -> list[Figure]:
    """One client, one connection, blocks one after the other; each is different."""
    path, headers = _path(server, "blocks"), authorization(server)
    data = bytearray(os.urandom(BLOCK_MB * MB))
    ids = [base64.b64encode(f"{number:06}".encode()).decode() for number in range(LARGE_MB // BLOCK_MB)]
    with server.client() as client, watched(server) as watch:
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
    headers = authorization(server)
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


class _Watch:
    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.grown_mb = 0.0


@contextlib.contextmanager
def watched(server: Server) -> Iterator[_Watch]:
    """CPU of the application meanwhile, and what its memory grew by at its peak."""
    pid, watch = server.application, _Watch()
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    before, cpu = processes.peak_mb(pid), processes.cpu_s([pid])
    yield watch
    watch.cpu_s, watch.grown_mb = processes.cpu_s([pid]) - cpu, processes.peak_mb(pid) - before


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


def address(server: Server, name: str) -> str:
    return f"https://localhost:{server.port}{_path(server, name)}"


def authorization(server: Server) -> dict[str, str]:
    with server.client() as client:
        query = f"api-version=2019-08-01&resource={quote(_STORAGE, safe='')}"
        status, body = client.raw(
            "GET", f"/msi/token?{query}", None, {"X-IDENTITY-HEADER": server.credentials["api_key"]}
        )
    token = _expect((status, body), 200).partition(b'"access_token":"')[2].partition(b'"')[0].decode()
    return {"Authorization": f"Bearer {token}"}
