"""MCP servers and their versions, with tags and aliases. The newest active version, or else the newest, speaks for a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.inserts import insert as insert_into
from zaffre.store.raw import fetch_of
from zaffre.store.tracking.conditions import Condition
from zaffre.store.tracking.search import Key, compare, page
from zaffre.store.tracking.sql import insert_or_ignore, pairs_of
from zaffre.store.unit import Unit, decode, encode

_s, _v, _a = tables.mcp_servers, tables.mcp_server_versions, tables.mcp_server_aliases
_tags, _version_tags = tables.mcp_server_tags, tables.mcp_version_tags
_latest = _v.alias("latest")

ACTIVE, DELETED = "active", "deleted"
_OF_SERVERS = 'SELECT "server", "key", "value" FROM "mcp_server_tags" WHERE "server" IN KEYS ORDER BY "key"'
_OF_VERSIONS = 'SELECT "version", "key", "value" FROM "mcp_version_tags" WHERE "version" IN KEYS ORDER BY "key"'
_ALIASES = """SELECT "mcp_server_aliases"."server", "alias", "mcp_server_versions"."version"
FROM "mcp_server_aliases" JOIN "mcp_server_versions" ON "mcp_server_versions"."pk" = "mcp_server_aliases"."version"
WHERE "mcp_server_aliases"."server" IN KEYS ORDER BY "alias" """
_ALIASES_OF = 'SELECT "version", "alias" FROM "mcp_server_aliases" WHERE "version" IN KEYS ORDER BY "alias"'


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """`latest` is the key of the version that speaks for it, whose number, status and document follow; `aliases` name versions."""

    pk: int
    name: str
    display_name: str | None
    description: str | None
    icons: list[dict[str, Any]] | None
    latest: int | None
    latest_version: str | None
    status: str | None
    server_json: dict[str, Any] | None
    created_by: str
    modified_by: str
    created_at: int
    modified_at: int
    tags: dict[str, str] = {}
    aliases: dict[str, str] = {}


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is its server's; `server_json` is the document that describes it, as it was given."""

    pk: int
    server: int
    name: str
    version: str
    server_json: dict[str, Any]
    status: str
    tools: list[dict[str, Any]] | None
    source: str | None
    connect_options: dict[str, dict[str, Any]] | None
    created_by: str
    modified_by: str
    created_at: int
    modified_at: int
    aliases: list[str] = []
    tags: dict[str, str] = {}


_OF_LATEST = {"latest_version": _latest.c.version, "status": _latest.c.status, "server_json": _latest.c.server_json}
_SERVER = [
    _OF_LATEST[name].label(name) if name in _OF_LATEST else _s.c[name]
    for name in Server.__struct_fields__
    if name not in ("tags", "aliases")
]
_SERVERS = sa.select(*_SERVER).select_from(sa.outerjoin(_s, _latest, _latest.c.pk == _s.c.latest))
VERSION = [
    _s.c.name if name == "name" else _v.c[name] for name in Version.__struct_fields__ if name not in ("aliases", "tags")
]
_VERSIONS = sa.select(*VERSION).join(_s, _s.c.pk == _v.c.server)
_TIMES = {"created_at": "created_at", "last_updated_at": "modified_at"}
_SEARCHED_SERVERS: dict[str, sa.ColumnElement[Any]] = {
    "name": _s.c.name,
    "display_name": _s.c.display_name,
    "status": _latest.c.status,
    **{name: _s.c[column] for name, column in _TIMES.items()},
}
_SEARCHED_VERSIONS: dict[str, sa.ColumnElement[Any]] = {
    "name": _s.c.name,
    "version": _v.c.version,
    "precedence": _v.c.precedence,
    "status": _v.c.status,
    **{name: _v.c[column] for name, column in _TIMES.items()},
}


# ---- servers
def insert(unit: Unit, scope: str, name: str, user: str, **values: Any) -> bool:
    """Add a server; False when there is one of that name."""
    return insert_or_ignore(unit.conn, _s, {"scope": scope, "name": name, **_encoded(values), **_made(unit, user)})


def get(conn: sa.Connection, scope: str, name: str) -> Server | None:
    found = whole(conn, conn.execute(_SERVERS.where(_s.c.scope == scope, _s.c.name == name)).all())
    return found[0] if found else None


def hold(conn: sa.Connection, scope: str, name: str) -> int | None:
    """The key of a server; no other transaction changes anything of it before this one ends."""
    query = sa.select(_s.c.pk).where(_s.c.scope == scope, _s.c.name == name).with_for_update()
    return conn.execute(query).scalar_one_or_none()


def search(
    conn: sa.Connection,
    scope: str,
    conditions: Sequence[Condition],
    orders: Sequence[tuple[str, bool]],
    reached: sa.ColumnElement[bool],
    after: Sequence[Any] | None,
    limit: int,
) -> list[tuple[Server, list[Any]]]:
    """Up to `limit` servers, each with its place. `orders` are names and whether descending; `reached` tells whether a server has an
    endpoint. Raises ValueError when `after` does not fit.
    """
    keys: list[Key] = [(_SEARCHED_SERVERS[name], down) for name, down in orders]
    where = [_s.c.scope == scope]
    for one in conditions:
        if one.entity == "tag":
            there = sa.select(sa.literal(1)).where(_tags.c.server == _s.c.pk, _tags.c.key == one.key)
            if one.op == "IS NULL":
                where.append(~sa.exists(there))
            else:
                plain = one.op == "IS NOT NULL"
                where.append(sa.exists(there if plain else there.where(compare(conn, _tags.c.value, one))))
        elif one.key == "has_access_endpoints":
            where.append(reached if str(one.value).lower() == "true" else ~reached)
        else:
            where.append(compare(conn, _SEARCHED_SERVERS[one.key], one))
    rows = page(conn, _SERVERS.where(*where), keys, after, limit)
    return list(zip(whole(conn, [row for row, _ in rows]), [place for _, place in rows], strict=True))


def update(unit: Unit, pk: int, user: str, **values: Any) -> None:
    unit.conn.execute(sa.update(_s).where(_s.c.pk == pk).values(**_encoded(values), **_changed(unit, user)))


def delete(unit: Unit, pk: int) -> None:
    """Its versions, tags, aliases and endpoints go with it."""
    unit.conn.execute(sa.delete(_s).where(_s.c.pk == pk))


def settle(unit: Unit, server: int) -> int | None:
    """Choose the version that speaks for the server anew; its key, None where there is none."""
    active_first = sa.case((_v.c.status == ACTIVE, 0), else_=1)
    newest = (_v.c.precedence.desc(), _v.c.created_at.desc(), _v.c.pk.desc())
    query = sa.select(_v.c.pk).where(_v.c.server == server, _v.c.status != DELETED).order_by(active_first, *newest)
    latest = unit.conn.execute(query.limit(1)).scalar_one_or_none()
    unit.conn.execute(sa.update(_s).where(_s.c.pk == server).values(latest=latest))
    return latest


# ---- versions
def insert_version(unit: Unit, server: int, version: str, precedence: str, user: str, **values: Any) -> bool:
    """Add a version; False when there is one of that number, be it deleted."""
    row = {"server": server, "version": version, "precedence": precedence, **_encoded(values), **_made(unit, user)}
    return insert_or_ignore(unit.conn, _v, row)


def version(conn: sa.Connection, server: int, number: str) -> Version | None:
    """Deleted ones are found, too."""
    return _one(conn, _VERSIONS.where(_v.c.server == server, _v.c.version == number))


def version_by_key(conn: sa.Connection, pk: int) -> Version | None:
    return _one(conn, _VERSIONS.where(_v.c.pk == pk))


def version_by_alias(conn: sa.Connection, server: int, alias: str) -> Version | None:
    of = sa.select(_a.c.version).where(_a.c.server == server, _a.c.alias == alias)
    return _one(conn, _VERSIONS.where(_v.c.pk == of.scalar_subquery()))


def active(conn: sa.Connection, server: int) -> str | None:
    """The number of one of its active versions."""
    return conn.execute(
        sa.select(_v.c.version).where(_v.c.server == server, _v.c.status == ACTIVE).limit(1)
    ).scalar_one_or_none()


def search_versions(
    conn: sa.Connection,
    server: int,
    conditions: Sequence[Condition],
    orders: Sequence[tuple[str, bool]],
    after: Sequence[Any] | None,
    limit: int,
) -> list[tuple[Version, list[Any]]]:
    """The same of a server's versions that are not deleted."""
    keys: list[Key] = [(_SEARCHED_VERSIONS[name], down) for name, down in orders]
    where = [compare(conn, _SEARCHED_VERSIONS[one.key], one) for one in conditions]
    query = _VERSIONS.where(_v.c.server == server, _v.c.status != DELETED, *where)
    rows = page(conn, query, keys, after, limit)
    return list(zip(whole_versions(conn, [row for row, _ in rows]), [place for _, place in rows], strict=True))


def update_version(unit: Unit, pk: int, user: str, **values: Any) -> None:
    unit.conn.execute(sa.update(_v).where(_v.c.pk == pk).values(**_encoded(values), **_changed(unit, user)))


# ---- tags and aliases
def set_tag(unit: Unit, server: int, key: str, value: str) -> None:
    _put(unit, _tags, {"server": server, "key": key}, {"value": value})


def delete_tag(unit: Unit, server: int, key: str) -> bool:
    """False when there is none."""
    return unit.conn.execute(sa.delete(_tags).where(_tags.c.server == server, _tags.c.key == key)).rowcount == 1


def set_version_tag(unit: Unit, version: int, key: str, value: str) -> None:
    _put(unit, _version_tags, {"version": version, "key": key}, {"value": value})


def delete_version_tag(unit: Unit, version: int, key: str) -> bool:
    where = (_version_tags.c.version == version, _version_tags.c.key == key)
    return unit.conn.execute(sa.delete(_version_tags).where(*where)).rowcount == 1


def set_alias(unit: Unit, server: int, alias: str, version: int) -> None:
    _put(unit, _a, {"server": server, "alias": alias}, {"version": version})


def delete_alias(unit: Unit, server: int, alias: str) -> bool:
    return unit.conn.execute(sa.delete(_a).where(_a.c.server == server, _a.c.alias == alias)).rowcount == 1


def delete_aliases_of(unit: Unit, version: int) -> list[str]:
    """Those of a version; which they were."""
    found = unit.conn.execute(sa.select(_a.c.alias).where(_a.c.version == version)).scalars().all()
    unit.conn.execute(sa.delete(_a).where(_a.c.version == version))
    return list(found)


# ---- rows
def whole(conn: sa.Connection, rows: Sequence[Sequence[Any]]) -> list[Server]:
    """Servers of rows, with their tags and aliases."""
    pks = [row[0] for row in rows]
    tags = pairs_of(conn, _OF_SERVERS, pks)
    aliases = pairs_of(conn, _ALIASES, pks)
    names = [column.name for column in _SERVER]
    found = [_decoded(dict(zip(names, row, strict=True)), "icons", "server_json") for row in rows]
    return [Server(**one, tags=tags[one["pk"]], aliases=aliases[one["pk"]]) for one in found]


def whole_versions(conn: sa.Connection, rows: Sequence[Sequence[Any]]) -> list[Version]:
    """Versions of rows that are as `VERSION`, with their tags and aliases."""
    names = [column.name for column in VERSION]
    found = [_decoded(dict(zip(names, row, strict=True)), "server_json", "tools", "connect_options") for row in rows]
    tags = pairs_of(conn, _OF_VERSIONS, [one["pk"] for one in found])
    aliases: dict[int, list[str]] = {one["pk"]: [] for one in found}
    for version, alias in fetch_of(conn, _ALIASES_OF, aliases):
        aliases[version].append(alias)
    return [Version(**one, tags=tags[one["pk"]], aliases=aliases[one["pk"]]) for one in found]


def _one(conn: sa.Connection, query: sa.Select[Any]) -> Version | None:
    found = whole_versions(conn, conn.execute(query).all())
    return found[0] if found else None


def _put(unit: Unit, table: sa.Table, which: dict[str, Any], values: dict[str, Any]) -> None:
    statement = insert_into(unit.conn, table).values(**which, **values)
    unit.conn.execute(statement.on_conflict_do_update(index_elements=list(which), set_=values))


def _encoded(values: dict[str, Any]) -> dict[str, Any]:
    """Documents as their columns hold them."""
    return {name: encode(value) if isinstance(value, (dict, list)) else value for name, value in values.items()}


def _decoded(values: dict[str, Any], *documents: str) -> dict[str, Any]:
    return values | {name: decode(values[name]) for name in documents if values[name] is not None}


def _made(unit: Unit, user: str) -> dict[str, Any]:
    return {"created_by": user, "created_at": unit.now, **_changed(unit, user)}


def _changed(unit: Unit, user: str) -> dict[str, Any]:
    return {"modified_by": user, "modified_at": unit.now}
