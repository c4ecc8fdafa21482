"""Statements of the hot paths, past what SQLAlchemy costs a small row: texts with `?` for each value, on both databases."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import msgspec
import sqlalchemy as sa

Statement = tuple[str, tuple[Any, ...]]
"""A query and its values."""
Insert = tuple[str, Sequence[str], Sequence[tuple[Any, ...]]]
"""As `insert_rows` takes it."""


def run_raw(conn: sa.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Execute a text with `?` for each value, once a row.

    This goes past SQLAlchemy, which costs ten times what SQLite itself does for one small row, and as much as psycopg.
    """
    if conn.dialect.name == "sqlite":
        driver = sqlite(conn)
        if len(rows) == 1:
            driver.execute(statement, rows[0])
        else:
            driver.executemany(statement, rows)
        return
    with _postgres(conn) as driver, driver.cursor() as cursor:
        if len(rows) == 1:
            cursor.execute(statement.replace("?", "%s"), rows[0])
        else:
            cursor.executemany(statement.replace("?", "%s"), rows)


def insert_rows(conn: sa.Connection, statement: str, types: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Execute `INSERT … VALUES ON CONFLICT …`, in which `VALUES` stands for all `rows`; `types` are PostgreSQL's.

    On PostgreSQL it is one statement whose parameters are columns: its text is the same for any number of rows, and the
    way to the server is gone once.
    """
    if conn.dialect.name == "sqlite":
        before, word, after = statement.partition("VALUES")
        run_raw(conn, f"{before}{word} ({', '.join('?' * len(types))}){after}", rows)
        return
    returned_rows(conn, statement, types, rows)


def insert_all(conn: sa.Connection, inserts: Sequence[Insert], last: Statement | None = None) -> None:
    """Several of those, each with its `types` and `rows`, and a query behind them; on PostgreSQL as one statement."""
    if conn.dialect.name == "sqlite" or (len(inserts) == 1 and last is None):
        for statement, types, rows in inserts:
            insert_rows(conn, statement, types, rows)
        if last is not None:
            fetch_raw(conn, *last)
        return
    texts, values = [], []
    for index, (statement, types, rows) in enumerate(inserts):
        text, columns = _unnested(statement, types, rows)
        texts.append(f"i{index} AS ({text})")
        values += columns
    query, rest = last or ("SELECT", ())
    if texts or last is not None:
        before = f"WITH {', '.join(texts)} " if texts else ""
        with _postgres(conn) as driver:
            driver.execute(f"{before}{query.replace('?', '%s')}", (*values, *rest))


def returned_rows(
    conn: sa.Connection, statement: str, types: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """The same on PostgreSQL for a statement that ends with `RETURNING`: what it returns, in no order."""
    with _postgres(conn) as driver:
        cursor = driver.execute(*_unnested(statement, types, rows))
        return cursor.fetchall() if cursor.description else []


def _unnested(statement: str, types: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> tuple[str, list[str]]:
    """The statement with its columns as parameters, and those."""
    before, _, after = statement.partition("VALUES")
    columns = ", ".join(f"%s::{type_}[]" for type_ in types)
    values = [_array(type_, column) for type_, column in zip(types, zip(*rows, strict=True), strict=True)]
    return f"{before}SELECT * FROM unnest({columns}){after}", values


def _array(type_: str, column: Sequence[Any]) -> str:
    """A column as PostgreSQL writes an array, which is JSON's way but for brackets, infinities and what is escaped.

    The driver's own way, which looks at each value's type, takes a hundred times as long.
    """
    text = msgspec.json.encode(column).decode()
    if type_ == "text" and "\\" in text:
        return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in column]) + "}"
    if type_ == "float8" and "null" in text:
        return "{" + ",".join(["NULL" if value is None else repr(value) for value in column]) + "}"
    return f"{{{text[1:-1]}}}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def fetch_raw(conn: sa.Connection, statement: str, values: tuple[Any, ...]) -> list[Any]:
    """The rows a text with `?` for each value answers, as tuples."""
    if conn.dialect.name == "sqlite":
        return sqlite(conn).execute(statement, values).fetchall()
    with _postgres(conn) as driver:
        return list(driver.execute(statement.replace("?", "%s"), values).fetchall())


def fetch_of(conn: sa.Connection, statement: str, keys: Iterable[int]) -> list[Any]:
    """The same for a text with `IN KEYS`: that many keys are one value, so its text is the same for any number of them."""
    if conn.dialect.name == "sqlite":
        return fetch_raw(
            conn, statement.replace("KEYS", "(SELECT value FROM json_each(?))", 1), (f"[{_listed(keys)}]",)
        )
    return fetch_raw(conn, statement.replace("IN KEYS", "= ANY(?::bigint[])", 1), (f"{{{_listed(keys)}}}",))


def _listed(keys: Iterable[int]) -> str:
    return ",".join(map(str, keys))


def sqlite(conn: sa.Connection) -> sqlite3.Connection:
    """The driver's own connection."""
    return cast("sqlite3.Connection", conn.connection.driver_connection)


@contextlib.contextmanager
def _postgres(conn: sa.Connection) -> Iterator[Any]:
    """The same of psycopg. Its errors become SQLAlchemy's, and a connection that is lost is not used again."""
    driver, dialect = conn.connection.driver_connection, conn.dialect
    assert dialect.loaded_dbapi is not None, "the dialect has a connection"
    faults = dialect.loaded_dbapi.Error
    try:
        yield driver
    except faults as error:
        if dialect.is_disconnect(error, driver, None):
            conn.invalidate(error)
        raise sa.exc.DBAPIError.instance(None, None, error, faults, dialect=dialect) from error
