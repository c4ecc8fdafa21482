"""Small helpers for statements that must be cheap or must run on both databases."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa

from zaffre.errors import InvalidInput
from zaffre.store import regex
from zaffre.store.inserts import insert
from zaffre.store.raw import fetch_of, sqlite

T = TypeVar("T")
LONGEST_SEARCH_S = 30.0
_STEPS = 100_000  # of SQLite's machine, between two looks at the clock: a few milliseconds
CHUNK = 500  # values to one IN: far below what either database takes


def pairs_of(conn: sa.Connection, statement: str, keys: Iterable[int]) -> dict[int, dict[str, str]]:
    """Keys and values of many rows, by their keys: tags, params. The statement answers (row, key, value), see `fetch_of`."""
    found: dict[int, dict[str, str]] = {key: {} for key in keys}
    for row, key, value in fetch_of(conn, statement, found):
        found[row][key] = value
    return found


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    rest = iter(values)
    while piece := list(islice(rest, size)):
        yield piece


@contextlib.contextmanager
def bounded(conn: sa.Connection, seconds: float = LONGEST_SEARCH_S) -> Iterator[None]:
    """Give up what takes longer: many texts may have to be read, and the threads that read are few.

    Raises InvalidInput then, and for a pattern that only one of the databases does not take.
    """
    try:
        if conn.dialect.name == "postgresql":
            conn.execute(sa.text(f"SET statement_timeout = {int(seconds * 1000)}"))
            try:
                yield
            finally:
                conn.execute(sa.text("RESET statement_timeout"))
            return
        driver, end = sqlite(conn), time.monotonic() + seconds
        driver.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        try:
            yield
        finally:
            driver.set_progress_handler(None, 0)
    except sa.exc.DBAPIError as error:
        state, text = getattr(error.orig, "sqlstate", None), str(error.orig)
        if state == "57014" or text == "interrupted":
            raise InvalidInput(
                f"The search took longer than {seconds:g} s and was given up. Narrow it: by a time, an experiment, a tag.",
                target="filter",
            ) from None
        if state == "2201B" or "pattern too complex" in text:
            raise InvalidInput(f"Field 'filter': {text.splitlines()[0][:200]}.", target="filter") from None
        raise


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


def matches(conn: sa.Connection, column: sa.ColumnElement[Any], pattern: str) -> sa.ColumnElement[bool]:
    """Whether a regular expression is found in it; see `store/regex.py`."""
    if conn.dialect.name == "postgresql":
        return column.op("~", is_comparison=True)(regex.for_postgres(pattern))
    return sa.Function(regex.SQL_NAME, pattern, column, type_=sa.Boolean()).is_(sa.true())


def ilike(conn: sa.Connection, column: sa.ColumnElement[Any], pattern: str) -> sa.ColumnElement[bool]:
    """LIKE that does not mind the case. The database lowers both sides: SQLite knows the ASCII letters only."""
    lowered = sa.func.lower(sa.literal(pattern, sa.Text))
    if conn.dialect.name == "postgresql":
        return sa.func.lower(column).like(lowered, escape="")
    return sa.func.lower(column).like(lowered)


def newest_first(
    query: sa.Select[Any],
    made: sa.ColumnElement[int],
    id_: sa.ColumnElement[str],
    after: tuple[int, str] | None,
    limit: int,
) -> sa.Select[Any]:
    """Rows by the time they were made, the newest first, of one moment by their id; those behind the place `after`."""
    if after is not None:
        time, last = after
        query = query.where((made < time) | ((made == time) & (id_ > last)))
    return query.order_by(made.desc(), id_).limit(limit)
