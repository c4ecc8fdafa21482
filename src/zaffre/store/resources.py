"""ARM resources as rows: get, put, list, count and delete, for every kind."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.inserts import insert as insert_into
from zaffre.store.unit import Actor, Unit, decode, encode

_t = tables.resources


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One resource. `body` is the client's document, `server` what we fill; `generation` counts its changes."""

    pk: int
    scope: str
    type: str
    parent: str
    name: str
    state: str
    archived: bool
    generation: int
    counter: int
    fingerprint: str
    body: dict[str, Any]
    server: dict[str, Any]
    created_at: int
    created_by: str
    created_by_type: str
    modified_at: int
    modified_by: str
    modified_by_type: str


def get(conn: sa.Connection, scope: str, type_: str, name: str, parent: str = "", *, lock: bool = False) -> Row | None:
    """The resource, or None. With `lock` no other transaction changes it before this one ends."""
    query = sa.select(_t).where(
        _t.c.scope == scope, _t.c.type == type_, _t.c.parent == key(parent), _t.c.name_key == key(name)
    )
    found = conn.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return None if found is None else _row(found)


def by_pk(conn: sa.Connection, pk: int) -> Row | None:
    found = conn.execute(sa.select(_t).where(_t.c.pk == pk)).mappings().one_or_none()
    return None if found is None else _row(found)


def insert(
    unit: Unit,
    actor: Actor,
    scope: str,
    type_: str,
    name: str,
    body: dict[str, Any],
    server: dict[str, Any],
    *,
    parent: str = "",
    state: str = "Succeeded",
    archived: bool = False,
    fingerprint: str = "",
    counter: int = 1,
) -> bool:
    """Add the resource; False when one of that name exists."""
    result = unit.conn.execute(
        insert_into(unit.conn, _t)
        .values(
            scope=scope,
            type=type_,
            parent=key(parent),
            name=name,
            name_key=key(name),
            state=state,
            archived=archived,
            fingerprint=fingerprint,
            counter=counter,
            body=encode(body),
            server=encode(server),
            created_at=unit.now,
            created_by=actor.name,
            created_by_type=actor.kind,
            modified_at=unit.now,
            modified_by=actor.name,
            modified_by_type=actor.kind,
        )
        .on_conflict_do_nothing()
        .execution_options(preserve_rowcount=True)  # psycopg answers the new key, and SQLAlchemy then drops the count
    )
    return result.rowcount == 1


def update(unit: Unit, actor: Actor | None, pk: int, **values: Any) -> None:
    """Change columns of one row; `body` and `server` are given as documents. An `actor` marks the row as modified."""
    for document in ("body", "server"):
        if document in values:
            values[document] = encode(values[document])
    if actor is not None:
        values |= {
            "modified_at": unit.now,
            "modified_by": actor.name,
            "modified_by_type": actor.kind,
            "generation": _t.c.generation + 1,
        }
    unit.conn.execute(sa.update(_t).where(_t.c.pk == pk).values(values))


def delete(unit: Unit, pk: int) -> None:
    unit.conn.execute(sa.delete(_t).where(_t.c.pk == pk))


def listing(
    conn: sa.Connection,
    scope: str,
    type_: str,
    *,
    parent: str | None = None,
    archived: bool | None = None,
    fingerprint: str | None = None,
    after: int | None = None,
    newest_first: bool = False,
    limit: int | None = None,
) -> list[Row]:
    """Rows in the order they were made, from behind the row `after` on (keyset paging)."""
    query = sa.select(_t).where(_t.c.scope == scope, _t.c.type == type_)
    if parent is not None:
        query = query.where(_t.c.parent == key(parent))
    if archived is not None:
        query = query.where(_t.c.archived == archived)
    if fingerprint is not None:
        query = query.where(_t.c.fingerprint == fingerprint)
    if after is not None:
        query = query.where(_t.c.pk < after if newest_first else _t.c.pk > after)
    query = query.order_by(_t.c.pk.desc() if newest_first else _t.c.pk)
    if limit is not None:
        query = query.limit(limit)
    return [_row(found) for found in conn.execute(query).mappings()]


def in_states(conn: sa.Connection, type_: str, states: tuple[str, ...]) -> list[Row]:
    """Rows of every scope that stand in one of `states`: what a controller has to do."""
    query = sa.select(_t).where(_t.c.type == type_, _t.c.state.in_(states)).order_by(_t.c.pk)
    return [_row(found) for found in conn.execute(query).mappings()]


def named(conn: sa.Connection, type_: str, name: str) -> list[Row]:
    """Rows of that type and name in every scope."""
    query = sa.select(_t).where(_t.c.type == type_, _t.c.name_key == key(name)).order_by(_t.c.pk)
    return [_row(found) for found in conn.execute(query).mappings()]


def key(name: str) -> str:
    """ARM compares names without case."""
    return name.lower()


def _row(found: sa.RowMapping) -> Row:
    values = {name: found[name] for name in Row.__struct_fields__}
    values["body"] = decode(values["body"])
    values["server"] = decode(values["server"])
    return Row(**values)
