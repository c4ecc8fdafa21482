"""Long lists: does a page cost at the end what it costs at the start? 10,000 jobs and 5,000 versions of one asset."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks import processes
from benchmarks.figures import Figure
from benchmarks.samples import Sample, ratios
from benchmarks.server import ARM, Client, Server, ServerError

JOBS = 10_000
VERSIONS = 5_000
REPEATS = 40
"""Of one page, for a CPU figure that the clock's 10 ms don't blur."""


def measure(server: Server, *, rounds: int) -> list[Figure]:
    """The server is up and stays so."""
    with server.client() as client:
        _jobs(server, client)
        _versions(server, client)
        found = _figures(server, client, f"{JOBS:,} jobs", f"{server.scope}/jobs?{ARM}&listViewType=All", JOBS, rounds)
        versions = f"{server.scope}/data/long/versions?{ARM}"
        found += _figures(server, client, f"{VERSIONS:,} versions of one asset", versions, VERSIONS, rounds)
        newest = f"{server.scope}/data/long/versions?{ARM}&$orderBy=createdtime%20desc&$top=1"
        cost = Sample.of([_cpu_ms(server, client, newest) for _ in range(rounds)])
        return [
            *found,
            Figure("… the newest of them (`$orderBy`, `$top=1`): CPU of the application", cost.text("ms", digits=2)),
        ]


def _figures(server: Server, client: Client, what: str, first: str, expected: int, rounds: int) -> list[Figure]:
    pages = list(_pages(client, first))
    counted = sum(count for _, count in pages)
    if counted < expected:
        raise ServerError(f"{what}: the pages hold {counted}")
    size, last = pages[0][1], pages[-2][0]  # the very last page may be short
    start, end = [], []
    for _ in range(rounds):
        start.append(_cpu_ms(server, client, first))
        end.append(_cpu_ms(server, client, last))
    at_start, at_end = Sample.of(start), Sample.of(end)
    times = ratios(at_end, at_start)
    return [
        Figure(
            f"{what}, {len(pages)} pages of {size}: first page, CPU of the application", at_start.text("ms", digits=2)
        ),
        Figure(
            "… the last full page, as a multiple of the first", times.text("×", digits=2), times.median, 1.5, "≤ 1.5 ×"
        ),
    ]


def _pages(client: Client, first: str) -> Iterator[tuple[str, int]]:
    """(address, entries) of each page."""
    following: str | None = first
    while following:
        page = client.json("GET", following)
        yield following, len(page["value"])
        link = urlsplit(page.get("nextLink") or "")
        following = f"{link.path}?{link.query}" if link.path else None


def _cpu_ms(server: Server, client: Client, address: str) -> float:
    before = processes.cpu_s([server.application])
    for _ in range(REPEATS):
        client.json("GET", address)
    return (processes.cpu_s([server.application]) - before) / REPEATS * 1000


def _versions(server: Server, client: Client) -> None:
    for number in range(1, VERSIONS + 1):
        client.arm(
            "PUT",
            f"{server.scope}/data/long/versions/{number}",
            {"dataType": "uri_file", "dataUri": f"azureml://datastores/workspaceblobstore/paths/{number}"},
        )


def _jobs(server: Server, client: Client) -> None:
    """One job is run; the others are copies of its rows: running ten thousand would measure something else."""
    client.arm("PUT", f"{server.scope}/environments/long/versions/1", {"image": "python:3.11"})
    name = f"long-{uuid.uuid4().hex[:8]}"
    body = {"jobType": "Command", "command": "true", "environmentId": "azureml:long:1", "experimentName": "long"}
    client.arm("PUT", f"{server.scope}/jobs/{name}", body)
    client.wait(f"{server.scope}/jobs/{name}", "status", ("Completed",), seconds=60)
    with contextlib.closing(sqlite3.connect(server.home / "zaffre.db", timeout=30)) as database, database:
        _copy(database, name)


def _copy(database: sqlite3.Connection, name: str) -> None:
    database.row_factory = sqlite3.Row
    run = dict(database.execute("SELECT * FROM runs WHERE id = ?", (name,)).fetchone())
    job = dict(database.execute("SELECT * FROM jobs WHERE id = ?", (name,)).fetchone())
    tags = database.execute("SELECT key, value FROM run_tags WHERE run = ?", (run["pk"],)).fetchall()
    newest = database.execute("SELECT max(pk) FROM runs").fetchone()[0]
    for number in range(1, JOBS):
        made = {
            **run,
            "pk": newest + number,
            "id": f"{name}-{number}",
            "root": f"{name}-{number}",
            "created_at": run["created_at"] + number,
            "ordered_at": run["ordered_at"] + number,
        }
        _insert(database, "runs", made)
        _insert(database, "jobs", {**job, "run": made["pk"], "id": made["id"], "created_at": made["created_at"]})
        for tag in tags:
            _insert(database, "run_tags", {"run": made["pk"], "key": tag["key"], "value": tag["value"]})


def _insert(database: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    columns = ", ".join(f'"{name}"' for name in row)
    database.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
