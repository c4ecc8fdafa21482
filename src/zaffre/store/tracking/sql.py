"""Small helpers for statements that must be cheap or must run on both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from zaffre.store.inserts import insert

T = TypeVar("T")
CHUNK = 500  # values to one IN: far below what either database takes


def run_raw(conn: sa.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Execute a text with `?` for each value, once a row.

    On SQLite this goes past SQLAlchemy, which costs ten times what SQLite itself does for one small row.
    """
    if conn.dialect.name == "sqlite":
        driver = _sqlite(conn)
        if len(rows) == 1:
            driver.execute(statement, rows[0])
        else:
            driver.executemany(statement, rows)
    else:
        conn.exec_driver_sql(statement.replace("?", "%s"), list(rows) if len(rows) != 1 else rows[0])


def insert_rows(conn: sa.Connection, statement: str, types: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Execute `INSERT … VALUES ON CONFLICT …`, in which `VALUES` stands for all `rows`; `types` are PostgreSQL's.

    On PostgreSQL it is one statement whose parameters are columns: its text is the same for any number of rows, and the
    way to the server is gone once.
    """
    before, word, after = statement.partition("VALUES")
    if conn.dialect.name == "sqlite":
        run_raw(conn, f"{before}{word} ({', '.join('?' * len(types))}){after}", rows)
        return
    columns = ", ".join(f"%s::{type_}[]" for type_ in types)
    values = tuple(list(column) for column in zip(*rows, strict=True))
    conn.exec_driver_sql(f"{before}SELECT * FROM unnest({columns}){after}", values)


def fetch_raw(conn: sa.Connection, statement: str, values: tuple[Any, ...]) -> list[Any]:
    """The rows a text with `?` for each value answers, as tuples."""
    if conn.dialect.name == "sqlite":
        return _sqlite(conn).execute(statement, values).fetchall()
    return list(conn.exec_driver_sql(statement.replace("?", "%s"), values))


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    rest = iter(values)
    while piece := list(islice(rest, size)):
        yield piece


def insert_or_ignore(conn: sa.Connection, table: sa.Table, values: dict[str, Any]) -> bool:
    """Insert a row; False when a unique constraint says it is there already."""
    statement = insert(conn, table).values(values).on_conflict_do_nothing()
    # PostgreSQL answers the new key here, and SQLAlchemy then drops the count unless told otherwise.
    result = conn.execute(statement.execution_options(preserve_rowcount=True))
    return result.rowcount == 1


def like(conn: sa.Connection, column: sa.ColumnElement[Any], pattern: str) -> sa.ColumnElement[bool]:
    """LIKE that minds the case, on both databases, and knows no letter that takes the meaning of `%` and `_`."""
    if conn.dialect.name == "postgresql":
        return column.like(pattern, escape="")
    # SQLite's LIKE ignores case; its GLOB does not.
    glob = "".join({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}.get(letter, letter) for letter in pattern)
    return column.op("GLOB", is_comparison=True)(glob)


def ilike(conn: sa.Connection, column: sa.ColumnElement[Any], pattern: str) -> sa.ColumnElement[bool]:
    """LIKE that does not mind the case. The database lowers both sides: SQLite knows the ASCII letters only."""
    lowered = sa.func.lower(sa.literal(pattern, sa.Text))
    if conn.dialect.name == "postgresql":
        return sa.func.lower(column).like(lowered, escape="")
    return sa.func.lower(column).like(lowered)


def _sqlite(conn: sa.Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", conn.connection.driver_connection)
