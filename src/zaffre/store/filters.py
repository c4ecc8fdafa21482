"""Conditions on documents kept as JSON text, for lists: does the object at a path hold these keys, with these values?"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa


class Pair(msgspec.Struct, frozen=True):
    """A key that must be there, and its value unless any will do."""

    key: str
    value: str | None = None


def holds(
    conn: sa.Connection, document: sa.ColumnElement[str], path: tuple[str, ...], pair: Pair
) -> sa.ColumnElement[bool]:
    """Whether the object at `path` of a JSON text has the pair; what is no object has none."""
    if conn.dialect.name == "postgresql":
        found = sa.func.json_extract_path_text(sa.cast(document, sa.JSON), *path, pair.key)
        return found.is_not(None) if pair.value is None else found == pair.value
    # A key may hold any letter, which SQLite's JSON paths cannot quote; so the entries are walked.
    entry = sa.func.json_each(document, _json_path(path)).table_valued("key", "value")
    wanted = entry.c.key == pair.key
    if pair.value is not None:
        wanted &= entry.c.value == pair.value
    return sa.exists(sa.select(sa.literal(1)).select_from(entry).where(wanted))


def text_at(conn: sa.Connection, document: sa.ColumnElement[str], *path: str) -> sa.ColumnElement[str]:
    """The text at a path of plain names; NULL where there is none."""
    if conn.dialect.name == "postgresql":
        return sa.func.json_extract_path_text(sa.cast(document, sa.JSON), *path)
    return sa.func.json_extract(document, _json_path(path))


def flag_at(conn: sa.Connection, document: sa.ColumnElement[str], *path: str) -> sa.ColumnElement[bool]:
    """Whether `true` stands at a path of plain names."""
    if conn.dialect.name == "postgresql":
        return text_at(conn, document, *path) == "true"
    return sa.func.json_extract(document, _json_path(path)) == 1


def _json_path(names: tuple[str, ...]) -> str:
    return "".join(("$", *(f".{name}" for name in names)))
