"""ARM resources as rows: get, put, list, count and delete, for every kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import InvalidInput
from zaffre.store import filters, links, tables
from zaffre.store.filters import Pair
from zaffre.store.inserts import insert as insert_into
from zaffre.store.tracking.sql import chunks
from zaffre.store.unit import Actor, Unit, decode, encode

_t = tables.resources
ORDERS = {"created": _t.c.pk, "modified": _t.c.modified_at, "name": _t.c.name_key}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One resource. `body` is the client's document, `server` what we fill; `generation` counts its changes.

    `parent` is the key of what it lies below, `parent_name` that one's name as it is told.
    """

    pk: int
    scope: str
    type: str
    parent: str
    parent_name: str = ""
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


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """The last row of a page: its key, and its value where the order is not that of the keys."""

    pk: int
    value: int | str | None = None

    @property
    def token(self) -> str:
        return f"{self.pk}" if self.value is None else f"{self.pk}.{self.value}"

    @classmethod
    def of(cls, token: str) -> Cursor:
        """The cursor a `$skip` token names. Raises InvalidInput for one that is not ours."""
        pk, found, value = token.partition(".")
        if not pk.isascii() or not pk.isdigit() or len(pk) > 18 or (found and not value):
            raise InvalidInput(
                f"Query '$skip': '{token[:50]}' is not a token of this server's paging; follow nextLink as it is.",
                code="InvalidField",
                target="$skip",
            )
        return cls(pk=int(pk), value=value or None)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows of a type a list wants, in which order, and from where on. What is None or empty chooses nothing out.

    `tags` lie in the body where `tags_at` says; `properties` are the user's own; `fields` are texts among the resource's
    properties, `without` such as must not be there; `unlisted` are names that are passed over; `search` is part of a name.
    `offset` rows are passed over; `after` goes on behind a page.
    """

    parent: str | None = None
    archived: bool | None = None
    fingerprint: str | None = None
    names: tuple[str, ...] = ()
    search: str | None = None
    description: str | None = None
    created_by: str | None = None
    default_only: bool = False
    tags: tuple[Pair, ...] = ()
    tags_at: tuple[str, ...] = ("properties", "tags")
    properties: tuple[Pair, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    without: tuple[tuple[str, str], ...] = ()
    unlisted: tuple[str, ...] = ()
    order: str = "created"
    descending: bool = True
    after: Cursor | None = None
    offset: int = 0
    limit: int

    def cursor(self, row: Row) -> Cursor:
        """Where the page behind `row` begins."""
        value = {"created": None, "modified": row.modified_at, "name": key(row.name)}[self.order]
        return Cursor(pk=row.pk, value=value)


def get(conn: sa.Connection, scope: str, type_: str, name: str, parent: str = "", *, lock: bool = False) -> Row | None:
    """The resource, or None. With `lock` no other transaction changes it before this one ends."""
    query = sa.select(_t).where(
        _t.c.scope == scope, _t.c.type == type_, _t.c.parent == key(parent), _t.c.name_key == key(name)
    )
    found = conn.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return None if found is None else _row(found)


def by_pk(conn: sa.Connection, pk: int, *, lock: bool = False) -> Row | None:
    query = sa.select(_t).where(_t.c.pk == pk)
    found = conn.execute(query.with_for_update() if lock else query).mappings().one_or_none()
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
            parent_name=parent,
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


def move(unit: Unit, pk: int, scope: str, type_: str, name: str) -> None:
    """Give a row another place: what looks for it where it was finds nothing, and somebody may take that name."""
    unit.conn.execute(sa.update(_t).where(_t.c.pk == pk).values(scope=scope, type=type_, name=name, name_key=key(name)))


def rename(unit: Unit, actor: Actor, pk: int, *, name: str | None = None, parent: str | None = None) -> None:
    """Another name, or the name of another parent."""
    named = {} if name is None else {"name": name, "name_key": key(name)}
    below = {} if parent is None else {"parent": key(parent), "parent_name": parent}
    update(unit, actor, pk, **named, **below)


def delete(unit: Unit, pk: int) -> None:
    """Remove the row, and what it named."""
    gone = sa.delete(_t).where(_t.c.pk == pk).returning(_t.c.scope, _t.c.type, _t.c.parent, _t.c.name)
    for scope, type_, parent, name in unit.conn.execute(gone).all():
        links.forget(unit, scope, type_, subject_of(parent, name))


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


def select(conn: sa.Connection, scope: str, type_: str, wanted: Selection) -> list[Row]:
    """Up to `wanted.limit` rows (keyset paging: a late page costs what an early one does)."""
    query = sa.select(_t).where(_t.c.scope == scope, _t.c.type == type_, *_conditions(conn, wanted))
    column = ORDERS[wanted.order]
    if wanted.after is not None:
        query = query.where(_behind(wanted.after, wanted.order, wanted.descending))
    columns = [_t.c.pk] if wanted.order == "created" else [column, _t.c.pk]
    query = query.order_by(*(one.desc() if wanted.descending else one.asc() for one in columns)).limit(wanted.limit)
    if wanted.offset:
        query = query.offset(wanted.offset)
    return [_row(found) for found in conn.execute(query).mappings()]


def newest(conn: sa.Connection, scope: str, type_: str, parents: Sequence[str]) -> dict[str, str | None]:
    """The version of each parent that was made last and is not archived, by the parent's key; one look at the index each."""
    found: dict[str, str | None] = {}
    for some in chunks((key(parent) for parent in parents), 200):  # SQLite joins at most 500 selects
        given = sa.union_all(*(sa.select(sa.literal(parent, sa.Text).label("parent")) for parent in some)).cte("given")
        last = (
            sa.select(_t.c.name)
            .where(_t.c.scope == scope, _t.c.type == type_, _t.c.parent == given.c.parent, _t.c.archived.is_(False))
            .order_by(_t.c.pk.desc())
            .limit(1)
            .scalar_subquery()
        )
        found.update(row._tuple() for row in conn.execute(sa.select(given.c.parent, last)))
    return found


def in_states(conn: sa.Connection, type_: str, states: tuple[str, ...]) -> list[Row]:
    """Rows of every scope that stand in one of `states`: what a controller has to do."""
    query = sa.select(_t).where(_t.c.type == type_, _t.c.state.in_(states)).order_by(_t.c.pk)
    return [_row(found) for found in conn.execute(query).mappings()]


def below(
    conn: sa.Connection, scope: str, type_: str, *, after: int | None = None, limit: int | None = None
) -> list[Row]:
    """Rows of `scope` and of the scopes below it (`scope/…`), oldest first, from behind the row `after` on."""
    inside = sa.or_(_t.c.scope == scope, _t.c.scope.startswith(f"{scope}/", autoescape=True))
    query = sa.select(_t).where(_t.c.type == type_, inside)
    if after is not None:
        query = query.where(_t.c.pk > after)
    query = query.order_by(_t.c.pk)
    if limit is not None:
        query = query.limit(limit)
    return [_row(found) for found in conn.execute(query).mappings()]


def state_counts(conn: sa.Connection, type_: str) -> dict[str, int]:
    """How many rows of a type are in each state, over all scopes."""
    query = sa.select(_t.c.state, sa.func.count()).where(_t.c.type == type_).group_by(_t.c.state)
    return dict(conn.execute(query).tuples().all())


def named(conn: sa.Connection, type_: str, name: str) -> list[Row]:
    """Rows of that type and name in every scope."""
    query = sa.select(_t).where(_t.c.type == type_, _t.c.name_key == key(name)).order_by(_t.c.pk)
    return [_row(found) for found in conn.execute(query).mappings()]


def _conditions(conn: sa.Connection, wanted: Selection) -> list[sa.ColumnElement[bool]]:
    made: list[sa.ColumnElement[bool]] = []
    for column, value in (
        (_t.c.parent, None if wanted.parent is None else key(wanted.parent)),
        (_t.c.archived, wanted.archived),
        (_t.c.fingerprint, wanted.fingerprint),
        (_t.c.created_by, wanted.created_by),
    ):
        if value is not None:
            made.append(column == value)
    if wanted.names:
        made.append(_t.c.name_key.in_([key(name) for name in wanted.names]))
    if wanted.search is not None:
        made.append(_t.c.name_key.contains(key(wanted.search), autoescape=True))
    if wanted.description is not None:
        text = sa.func.lower(filters.text_at(conn, _t.c.body, "properties", "description"))
        made.append(text.contains(wanted.description.lower(), autoescape=True))
    if wanted.default_only:
        made.append(filters.flag_at(conn, _t.c.body, "properties", "isDefault"))
    made.extend(filters.holds(conn, _t.c.body, wanted.tags_at, pair) for pair in wanted.tags)
    made.extend(filters.holds(conn, _t.c.body, ("properties", "properties"), pair) for pair in wanted.properties)
    for name, value in wanted.fields:
        made.append(sa.func.lower(filters.text_at(conn, _t.c.body, "properties", name)) == value.lower())
    if wanted.unlisted:
        made.append(_t.c.name_key.not_in([key(name) for name in wanted.unlisted]))
    for name, value in wanted.without:
        text = sa.func.lower(filters.text_at(conn, _t.c.body, "properties", name))
        made.append(sa.func.coalesce(text, "") != value.lower())
    return made


def _behind(after: Cursor, order: str, descending: bool) -> sa.ColumnElement[bool]:
    value: int | str | None = after.value
    if order == "created":
        return _t.c.pk < after.pk if descending else _t.c.pk > after.pk
    if value is None or (order == "modified" and not str(value).isdigit()):
        raise InvalidInput(
            "Query '$skip': the token belongs to a list in another order; follow nextLink as it is.",
            code="InvalidField",
            target="$skip",
        )
    place = sa.tuple_(ORDERS[order], _t.c.pk)
    last = sa.tuple_(sa.literal(int(value) if order == "modified" else value), sa.literal(after.pk))
    return place < last if descending else place > last


def mentioning(conn: sa.Connection, scope: str, words: Sequence[str]) -> list[Row]:
    """Rows whose body holds one of `words`, whatever their type."""
    found: dict[int, Row] = {}
    for first in range(0, len(words), 50):
        any_of = sa.or_(*(_t.c.body.contains(word, autoescape=True) for word in words[first : first + 50]))
        for row in conn.execute(sa.select(_t).where(_t.c.scope == scope, any_of)).mappings():
            found[row["pk"]] = _row(row)
    return list(found.values())


def subject_of(parent: str, name: str) -> str:
    """The resource as a subject of links."""
    return f"{key(parent)}/{key(name)}" if parent else key(name)


def key(name: str) -> str:
    """ARM compares names without case."""
    return name.lower()


def _row(found: sa.RowMapping) -> Row:
    values = {name: found[name] for name in Row.__struct_fields__}
    values["body"] = decode(values["body"])
    values["server"] = decode(values["server"])
    return Row(**values)
