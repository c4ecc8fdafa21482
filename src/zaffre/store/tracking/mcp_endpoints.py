"""Where MCP servers are reached: an address, and the version behind it, which is named or is what an alias means now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.tracking.conditions import Condition
from zaffre.store.tracking.mcp_servers import DELETED, VERSION, Version, whole_versions
from zaffre.store.tracking.search import Key, compare, page
from zaffre.store.tracking.sql import chunks
from zaffre.store.unit import Unit

_t, _s, _v, _a = tables.mcp_endpoints, tables.mcp_servers, tables.mcp_server_versions, tables.mcp_server_aliases
_named = _v.alias("named")

LATEST = "latest"
"""The alias that every server has, of the version that speaks for it."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`server_version` or `alias` is what it was made for, `version` what it is of now."""

    pk: int
    id: str
    server: int
    server_name: str
    server_version: str | None
    alias: str | None
    url: str
    transport: str
    created_by: str
    modified_by: str
    created_at: int
    modified_at: int
    version: Version


_ELSEWHERE = {"server_name": _s.c.name, "server_version": _named.c.version}
_COLUMNS = [
    _ELSEWHERE[name].label(name) if name in _ELSEWHERE else _t.c[name]
    for name in Endpoint.__struct_fields__
    if name != "version"
]
_MEANT = sa.case((_t.c.version.is_not(None), _t.c.version), (_t.c.alias == LATEST, _s.c.latest), else_=_a.c.version)
# What means no version any more is not there.
_JOINED = (
    sa.join(_t, _s, _s.c.pk == _t.c.server)
    .outerjoin(_a, sa.and_(_a.c.server == _t.c.server, _a.c.alias == _t.c.alias))
    .outerjoin(_named, _named.c.pk == _t.c.version)
    .join(_v, sa.and_(_v.c.pk == _MEANT, _v.c.status != DELETED))
)
_SELECT = sa.select(*_COLUMNS, *(column.label(f"of_{column.name}") for column in VERSION)).select_from(_JOINED)
_SEARCHED: dict[str, sa.ColumnElement[Any]] = {
    "id": _t.c.id,
    "server_name": _s.c.name,
    "transport_type": _t.c.transport,
    "status": _v.c.status,
    "created_at": _t.c.created_at,
    "last_updated_at": _t.c.modified_at,
}


def insert(unit: Unit, scope: str, id_: str, server: int, user: str, **values: Any) -> None:
    times = {"created_at": unit.now, "modified_at": unit.now, "created_by": user, "modified_by": user}
    unit.conn.execute(sa.insert(_t).values(scope=scope, id=id_, server=server, **values, **times))


def get(conn: sa.Connection, scope: str, id_: str) -> Endpoint | None:
    found = _whole(conn, conn.execute(_SELECT.where(_t.c.scope == scope, _t.c.id == id_)).all())
    return found[0] if found else None


def of_servers(conn: sa.Connection, servers: Sequence[int]) -> dict[int, list[Endpoint]]:
    """All of these servers', by their keys, the oldest first."""
    found: dict[int, list[Endpoint]] = {pk: [] for pk in servers}
    for piece in chunks(servers):
        for one in _whole(conn, conn.execute(_SELECT.where(_t.c.server.in_(piece)).order_by(_t.c.pk)).all()):
            found[one.server].append(one)
    return found


def reached() -> sa.ColumnElement[bool]:
    """That a row of `mcp_servers` has an endpoint that means a version."""
    alias = sa.select(sa.literal(1)).where(_a.c.server == _t.c.server, _a.c.alias == _t.c.alias)
    named = sa.select(sa.literal(1)).where(_v.c.pk == _t.c.version, _v.c.status != DELETED)
    meant = sa.or_(sa.exists(named), sa.exists(alias), sa.and_(_t.c.alias == LATEST, _s.c.latest.is_not(None)))
    return sa.exists(sa.select(sa.literal(1)).where(_t.c.server == _s.c.pk, meant).correlate(_s))


def search(
    conn: sa.Connection,
    scope: str,
    conditions: Sequence[Condition],
    orders: Sequence[tuple[str, bool]],
    after: Sequence[Any] | None,
    limit: int,
    *,
    server: str | None,
    version: str | None,
    alias: str | None,
) -> list[tuple[Endpoint, list[Any]]]:
    """Up to `limit` endpoints, each with its place: of that server, made for that version or alias, where they are given.

    Raises ValueError when `after` does not fit the order.
    """
    keys: list[Key] = [(_SEARCHED[name], down) for name, down in orders]
    query = _SELECT.where(_t.c.scope == scope, *(compare(conn, _SEARCHED[one.key], one) for one in conditions))
    for column, value in ((_s.c.name, server), (_named.c.version, version), (_t.c.alias, alias)):
        if value is not None:
            query = query.where(column == value)
    rows = page(conn, query, keys, after, limit)
    return list(zip(_whole(conn, [row for row, _ in rows]), [place for _, place in rows], strict=True))


def update(unit: Unit, pk: int, user: str, **values: Any) -> None:
    unit.conn.execute(sa.update(_t).where(_t.c.pk == pk).values(**values, modified_by=user, modified_at=unit.now))


def delete(unit: Unit, pk: int) -> None:
    unit.conn.execute(sa.delete(_t).where(_t.c.pk == pk))


def delete_of(unit: Unit, server: int, *, version: int | None = None, aliases: Sequence[str] = ()) -> None:
    """Those that were made for the version, or for one of the aliases."""
    if version is not None:
        unit.conn.execute(sa.delete(_t).where(_t.c.version == version))
    for piece in chunks(aliases):
        unit.conn.execute(sa.delete(_t).where(_t.c.server == server, _t.c.alias.in_(piece)))


def _whole(conn: sa.Connection, rows: Sequence[Sequence[Any]]) -> list[Endpoint]:
    names, width = [column.name for column in _COLUMNS], len(_COLUMNS)
    versions = whole_versions(conn, [row[width:] for row in rows])
    return [
        Endpoint(**dict(zip(names, row[:width], strict=True)), version=version)
        for row, version in zip(rows, versions, strict=True)
    ]
