"""The whole database as one file, as it was at one moment, while others write; and such a file made a database again.

SQLite: its online backup, in one step, which in WAL mode holds nobody up. PostgreSQL: `pg_dump` and `pg_restore`, on the
snapshot of a transaction that reads, too, what bytes the rows name.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import msgspec
import sqlalchemy as sa

from zaffre.errors import ZaffreError
from zaffre.store import blobs, jobs, tables

SQLITE, POSTGRES = "sqlite", "postgresql"
_VERSION_TABLE = "alembic_version"


_FUNCTIONS = """SELECT DISTINCT pg_get_functiondef(trigger.tgfoid) FROM pg_trigger trigger
JOIN pg_class owner ON owner.oid = trigger.tgrelid JOIN pg_namespace space ON space.oid = owner.relnamespace
WHERE NOT trigger.tgisinternal AND space.nspname = current_schema() AND owner.relname = ANY(%s)"""


class SnapshotError(ZaffreError):
    """The database could not be copied."""

    code = "SnapshotFailed"


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows of a snapshot stand on: names of objects, and jobs whose logs are only in their folders."""

    kind: str
    schema: str
    objects: list[str]
    stranded: list[tuple[str, str]]


def kind_of(url: str) -> str:
    return SQLITE if url.startswith("sqlite") else POSTGRES


def take(url: str, path: Path) -> Contents:
    """Copy the database to a new file that only its owner can read. Raises SnapshotError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    if kind_of(url) == POSTGRES:
        return _dump(url, path)
    database = sa.make_url(url).database or ""
    if not Path(database).is_file():
        raise SnapshotError(
            f"There is no database {database}; with PostgreSQL, set ZAFFRE_DATABASE_URL as the server has it."
        )
    copy_sqlite(Path(database), path)
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as conn:
            conn.exec_driver_sql("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
            problem = conn.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if problem != "ok":
                raise SnapshotError(f"The database {database} is damaged: {problem}.")
            return _contents(conn, SQLITE)
    finally:
        engine.dispose()


def copy_sqlite(database: Path, path: Path) -> None:
    """A consistent copy of a SQLite database, made while others may write."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)


def give_back(path: Path, url: str) -> None:
    """Make the PostgreSQL database at `url`, which must be empty, what a dump says. Raises SnapshotError."""
    engine = _engine(url)
    try:
        with engine.connect() as conn:
            found = sorted(set(sa.inspect(conn).get_table_names()) & {*tables.metadata.tables, _VERSION_TABLE})
    finally:
        engine.dispose()
    if found:
        raise SnapshotError(f"The database is not empty (it has {', '.join(found[:3])} …); restore into a new one.")
    _make_functions(url, _functions_of(path))
    program, address, environment = _client("pg_restore", url)
    options = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", f"--dbname={address}"]
    _run([program, *options, str(path)], environment)


def _dump(url: str, path: Path) -> Contents:
    program, address, environment = _client("pg_dump", url)
    engine = _engine(url)
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn, conn.begin():
            snapshot = conn.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
            schema = conn.exec_driver_sql("SELECT current_schema()").scalar_one()
            wanted = [f'--table="{schema}"."{name}"' for name in (*tables.metadata.tables, _VERSION_TABLE)]
            options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={path}"]
            _run([program, *options, *wanted, f"--dbname={address}"], environment)
            functions = [str(row[0]) for row in conn.exec_driver_sql(_FUNCTIONS, (list(tables.metadata.tables),))]
            _functions_of(path).write_text(json.dumps(functions))
            return _contents(conn, POSTGRES)
    finally:
        engine.dispose()


def _functions_of(dump: Path) -> Path:
    return dump.with_name(f"{dump.name}.functions.json")


def _make_functions(url: str, file: Path) -> None:
    """What the tables' triggers call, which `pg_dump` leaves out of a dump of tables. Older dumps have none."""
    if not file.exists():
        return
    engine = _engine(url)
    try:
        with engine.begin() as conn:
            for function in json.loads(file.read_text()):
                conn.exec_driver_sql(function.replace("%", "%%"))
    finally:
        engine.dispose()


def _contents(conn: sa.Connection, kind: str) -> Contents:
    schema = conn.execute(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar_one()
    return Contents(kind=kind, schema=schema, objects=blobs.names(conn), stranded=jobs.stranded(conn))


def _engine(url: str) -> sa.Engine:
    return sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), poolclass=sa.pool.NullPool)


def _client(name: str, url: str) -> tuple[str, str, dict[str, str]]:
    """The program, the database's address without the password, and the environment that holds it."""
    program = shutil.which(name)
    if program is None:
        raise SnapshotError(
            f"The database is PostgreSQL, and '{name}' is not installed here. Install PostgreSQL's client programs, of "
            "the server's version or newer (Debian: postgresql-client)."
        )
    made = sa.make_url(url).set(drivername="postgresql")
    environment = {**os.environ, **({"PGPASSWORD": str(made.password)} if made.password else {})}
    address = sa.URL.create(
        "postgresql", made.username, None, made.host, made.port, made.database, made.query
    ).render_as_string(hide_password=False)
    return program, address, environment


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        name = Path(command[0]).name
        raise SnapshotError(f"{name} failed: {done.stderr.strip()[-1000:] or f'it ended with {done.returncode}'}")
