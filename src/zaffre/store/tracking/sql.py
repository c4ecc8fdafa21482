"""Small helpers for statements that must be cheap or must run on both databases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")
CHUNK = 500  # values to one IN: far below what either database takes


def run_raw(conn: sa.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> sa.CursorResult[Any]:
    """Execute a text with `?` for each value, once a row. Skips SQLAlchemy's compiler: for the hot paths only."""
    text = statement if conn.dialect.name == "sqlite" else statement.replace("?", "%s")
    return conn.exec_driver_sql(text, list(rows) if len(rows) != 1 else rows[0])


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    rest = iter(values)
    while piece := list(islice(rest, size)):
        yield piece


def insert_or_ignore(conn: sa.Connection, table: sa.Table, values: dict[str, Any]) -> bool:
    """Insert a row; False when a unique constraint says it is there already."""
    statement = dialect_insert(conn, table).values(values).on_conflict_do_nothing()
    # PostgreSQL answers the new key here, and SQLAlchemy then drops the count unless told otherwise.
    result = conn.execute(statement.execution_options(preserve_rowcount=True))
    return result.rowcount == 1


def dialect_insert(conn: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that knows ON CONFLICT; the two dialects' classes share the methods but no base."""
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)


def like(conn: sa.Connection, column: sa.ColumnElement[Any], pattern: str) -> sa.ColumnElement[bool]:
    """LIKE that minds the case, on both databases."""
    if conn.dialect.name == "postgresql":
        return column.like(pattern)
    # SQLite's LIKE ignores case; its GLOB does not.
    glob = "".join({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}.get(letter, letter) for letter in pattern)
    return column.op("GLOB", is_comparison=True)(glob)


def ilike(column: sa.ColumnElement[Any], pattern: str) -> sa.ColumnElement[bool]:
    return sa.func.lower(column).like(pattern.lower())
