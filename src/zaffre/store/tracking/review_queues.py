"""Review queues: traces that wait for a reviewer, who may take them, and what they are asked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.inserts import insert as insert_into
from zaffre.store.tracking.sql import chunks, insert_or_ignore, newest_first
from zaffre.store.unit import Unit

PENDING = "PENDING"
_t, _e = tables.review_queues, tables.experiments
_users, _asks, _items = tables.review_queue_users, tables.review_queue_schemas, tables.review_queue_items
_traces, _schemas = tables.traces, tables.label_schemas


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """`type` is USER or CUSTOM. `schema_ids` are the label schemas chosen for it, none for a user's own queue."""

    pk: int
    id: str
    experiment: int
    experiment_id: str
    name: str
    type: str
    created_by: str
    created_at: int
    modified_at: int
    users: list[str] = []
    schema_ids: list[str] = []


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A trace in a queue. `status` is PENDING, COMPLETE or DECLINED; who and when are told of the last two."""

    trace: int
    id: str
    status: str
    completed_by: str | None
    completed_at: int | None
    created_at: int
    modified_at: int


_FIELDS = [name for name in Queue.__struct_fields__ if name not in ("users", "schema_ids")]
_COLUMNS = [_e.c.id.label("experiment_id") if name == "experiment_id" else _t.c[name] for name in _FIELDS]
_SELECT = sa.select(*_COLUMNS).join(_e, _e.c.pk == _t.c.experiment)
_ITEM_COLUMNS = [_traces.c.id if name == "id" else _items.c[name] for name in Item.__struct_fields__]
_SELECT_ITEM = sa.select(*_ITEM_COLUMNS).join(_traces, _traces.c.pk == _items.c.trace)


def key_of(name: str) -> str:
    """Names that differ in case only are one."""
    return name.lower()


def insert(unit: Unit, scope: str, id_: str, experiment: int, name: str, type_: str, created_by: str) -> bool:
    """Add a queue; False when its experiment has one of that name."""
    row = {
        "scope": scope,
        "id": id_,
        "experiment": experiment,
        "name": name,
        "name_key": key_of(name),
        "type": type_,
        "created_by": created_by,
        "created_at": unit.now,
        "modified_at": unit.now,
    }
    return insert_or_ignore(unit.conn, _t, row)


def get(conn: sa.Connection, scope: str, id_: str, *, lock: bool = False) -> Queue | None:
    """With `lock` no other transaction changes it, or adds items to it, before this one ends."""
    query = _SELECT.where(_t.c.scope == scope, _t.c.id == id_)
    return _one(conn, query.with_for_update(of=_t) if lock else query)


def by_name(conn: sa.Connection, experiment: int, name: str) -> Queue | None:
    return _one(conn, _SELECT.where(_t.c.experiment == experiment, _t.c.name_key == key_of(name)))


def listing(
    conn: sa.Connection,
    experiment: int,
    *,
    user: str | None,
    trace: str | None,
    after: tuple[int, str] | None,
    limit: int,
) -> list[Queue]:
    """Those of an experiment, the newest first, behind the place `after`; a user's, or those that hold a trace."""
    query = _SELECT.where(_t.c.experiment == experiment)
    if user is not None:
        query = query.where(sa.exists().where(_users.c.queue == _t.c.pk, _users.c.user == user))
    if trace is not None:
        held = sa.select(_items.c.queue).join(_traces, _traces.c.pk == _items.c.trace)
        query = query.where(_t.c.pk.in_(held.where(_traces.c.scope == _t.c.scope, _traces.c.id == trace)))
    return _whole(conn, newest_first(query, _t.c.created_at, _t.c.id, after, limit))


def update(unit: Unit, pk: int, *, name: str | None = None, created_by: str | None = None) -> None:
    values: dict[str, Any] = {} if name is None else {"name": name, "name_key": key_of(name)}
    if created_by is not None:
        values["created_by"] = created_by
    unit.conn.execute(sa.update(_t).where(_t.c.pk == pk).values(**values, modified_at=unit.now))


def set_users(unit: Unit, pk: int, users: Sequence[str]) -> None:
    """These, and nobody else."""
    unit.conn.execute(sa.delete(_users).where(_users.c.queue == pk))
    if users:
        unit.conn.execute(sa.insert(_users), [{"queue": pk, "user": user} for user in users])


def set_schemas(unit: Unit, pk: int, schemas: Collection[int]) -> None:
    """The label schemas with these keys, and no others."""
    unit.conn.execute(sa.delete(_asks).where(_asks.c.queue == pk))
    if schemas:
        unit.conn.execute(sa.insert(_asks), [{"queue": pk, "label_schema": schema} for schema in schemas])


def delete(unit: Unit, pk: int) -> None:
    """With its users, its questions and its items; the traces stay."""
    unit.conn.execute(sa.delete(_t).where(_t.c.pk == pk))


# ---- items
def is_empty(conn: sa.Connection, pk: int) -> bool:
    return conn.execute(sa.select(_items.c.trace).where(_items.c.queue == pk).limit(1)).first() is None


def add(unit: Unit, pk: int, traces: Sequence[int]) -> None:
    """Traces, by key, that wait from now on. One that is in the queue already stays as it is."""
    times = {"created_at": unit.now, "modified_at": unit.now}
    rows = [{"queue": pk, "trace": trace, "status": PENDING, **times} for trace in traces]
    unit.conn.execute(insert_into(unit.conn, _items).on_conflict_do_nothing(), rows)


def items(conn: sa.Connection, pk: int, ids: Sequence[str]) -> list[Item]:
    """Those with these ids that are in the queue, in the order asked for."""
    found: dict[str, Item] = {}
    for piece in chunks(ids):
        rows = conn.execute(_SELECT_ITEM.where(_items.c.queue == pk, _traces.c.id.in_(piece))).mappings()
        found |= {row["id"]: Item(**row) for row in rows}
    return [found[id_] for id_ in ids if id_ in found]


def item(conn: sa.Connection, pk: int, id_: str, *, lock: bool = False) -> Item | None:
    query = _SELECT_ITEM.where(_items.c.queue == pk, _traces.c.id == id_)
    row = conn.execute(query.with_for_update(of=_items) if lock else query).mappings().one_or_none()
    return None if row is None else Item(**row)


def list_items(
    conn: sa.Connection, pk: int, status: str | None, after: tuple[int, str] | None, limit: int
) -> list[Item]:
    """A queue's items, those added last first, behind the place `after`."""
    query = _SELECT_ITEM.where(_items.c.queue == pk)
    if status is not None:
        query = query.where(_items.c.status == status)
    query = newest_first(query, _items.c.created_at, _traces.c.id, after, limit)
    return [Item(**row) for row in conn.execute(query).mappings()]


def remove(unit: Unit, scope: str, pk: int, ids: Sequence[str]) -> None:
    for piece in chunks(ids):
        meant = sa.select(_traces.c.pk).where(_traces.c.scope == scope, _traces.c.id.in_(piece))
        unit.conn.execute(sa.delete(_items).where(_items.c.queue == pk, _items.c.trace.in_(meant)))


def set_status(unit: Unit, pk: int, trace: int, status: str, by: str | None) -> None:
    """`by` is who looked at it, None where it waits again."""
    values = {
        "status": status,
        "completed_by": by,
        "completed_at": None if by is None else unit.now,
        "modified_at": unit.now,
    }
    unit.conn.execute(sa.update(_items).where(_items.c.queue == pk, _items.c.trace == trace).values(values))


def _one(conn: sa.Connection, query: sa.Select[Any]) -> Queue | None:
    found = _whole(conn, query)
    return found[0] if found else None


def _whole(conn: sa.Connection, query: sa.Select[Any]) -> list[Queue]:
    """Queues with their users and questions, each in order."""
    rows = list(conn.execute(query).mappings())
    users: dict[int, list[str]] = {row["pk"]: [] for row in rows}
    schemas: dict[int, list[str]] = {row["pk"]: [] for row in rows}
    for piece in chunks(users):
        for row in conn.execute(sa.select(_users).where(_users.c.queue.in_(piece)).order_by(_users.c.user)):
            users[row.queue].append(row.user)
        asked = sa.select(_asks.c.queue, _schemas.c.id).join(_schemas, _schemas.c.pk == _asks.c.label_schema)
        for row in conn.execute(asked.where(_asks.c.queue.in_(piece)).order_by(_schemas.c.id)):
            schemas[row.queue].append(row.id)
    return [Queue(**row, users=users[row["pk"]], schema_ids=schemas[row["pk"]]) for row in rows]
