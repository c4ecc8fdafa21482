"""Webhooks and their outbox: what is to be told is written with the change it tells of, and goes when it was told."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.runtime import iso
from zaffre.store import tables
from zaffre.store.unit import Unit, decode, encode

TOPIC = "webhooks"
_hooks, _deliveries = tables.webhooks, tables.webhook_deliveries


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """`events` are `entity.action`, as MLflow writes them."""

    pk: int
    scope: str
    id: str
    name: str
    url: str
    description: str | None
    active: bool
    events: tuple[str, ...]
    created_at: int
    modified_at: int


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """`id` and `body` are the same with every try; `tries` counts those that were begun."""

    pk: int
    webhook: int
    id: str
    body: str
    tries: int
    due_at: int


def insert(
    unit: Unit,
    scope: str,
    id_: str,
    name: str,
    url: str,
    description: str | None,
    active: bool,
    events: Collection[str],
) -> Webhook:
    unit.conn.execute(
        sa.insert(_hooks).values(
            scope=scope,
            id=id_,
            name=name,
            url=url,
            description=description,
            active=active,
            events=encode(list(events)),
            created_at=unit.now,
            modified_at=unit.now,
        )
    )
    made = get(unit.conn, scope, id_)
    assert made is not None, "it was inserted in this transaction"
    return made


def get(conn: sa.Connection, scope: str, id_: str) -> Webhook | None:
    row = conn.execute(sa.select(_hooks).where(_hooks.c.scope == scope, _hooks.c.id == id_)).first()
    return None if row is None else _webhook(row)


def by_pk(conn: sa.Connection, pk: int) -> Webhook | None:
    row = conn.execute(sa.select(_hooks).where(_hooks.c.pk == pk)).first()
    return None if row is None else _webhook(row)


def listing(conn: sa.Connection, scope: str, after: int, limit: int) -> list[Webhook]:
    """In the order they were made, behind the one with key `after`."""
    query = sa.select(_hooks).where(_hooks.c.scope == scope, _hooks.c.pk > after).order_by(_hooks.c.pk).limit(limit)
    return [_webhook(row) for row in conn.execute(query)]


def update(unit: Unit, webhook: Webhook, **values: Any) -> None:
    if "events" in values:
        values["events"] = encode(list(values["events"]))
    changed = max(unit.now, webhook.modified_at + 1)  # whoever compares the two times sees a change
    unit.conn.execute(sa.update(_hooks).where(_hooks.c.pk == webhook.pk).values(**values, modified_at=changed))


def delete(unit: Unit, pk: int) -> None:
    unit.conn.execute(sa.delete(_deliveries).where(_deliveries.c.webhook == pk))
    unit.conn.execute(sa.delete(_hooks).where(_hooks.c.pk == pk))


def publish(unit: Unit, scope: str, event: str, data: Mapping[str, Any]) -> None:
    """Put `event` into the outbox once for each active webhook of the workspace that wants it; they go after the commit."""
    query = sa.select(_hooks.c.pk, _hooks.c.events).where(_hooks.c.scope == scope, _hooks.c.active.is_(True))
    wanting = [row.pk for row in unit.conn.execute(query) if event in decode(row.events)]
    if not wanting:
        return
    body = message(event, data, unit.now)
    unit.conn.execute(
        sa.insert(_deliveries),
        [
            {"scope": scope, "webhook": pk, "id": str(uuid.uuid4()), "body": body, "tries": 0, "due_at": unit.now}
            for pk in wanting
        ],
    )
    unit.ring(TOPIC)


def message(event: str, data: Mapping[str, Any], at: int) -> str:
    """The body of a delivery, in MLflow's form."""
    entity, _, action = event.partition(".")
    return encode({"entity": entity, "action": action, "timestamp": iso(at), "data": data})


def due(conn: sa.Connection, now: int, busy: Collection[int], limit: int) -> list[Delivery]:
    """What may be told now, the oldest first, of webhooks that are not in `busy`."""
    query = sa.select(_deliveries).where(_deliveries.c.due_at <= now, _deliveries.c.webhook.not_in(list(busy)))
    found = conn.execute(query.order_by(_deliveries.c.due_at, _deliveries.c.pk).limit(limit))
    return [_delivery(row) for row in found]


def next_due(conn: sa.Connection, busy: Collection[int]) -> int | None:
    """When the next one may be told, of webhooks that are not in `busy`."""
    query = sa.select(sa.func.min(_deliveries.c.due_at)).where(_deliveries.c.webhook.not_in(list(busy)))
    found: int | None = conn.execute(query).scalar_one()
    return found


def claim(unit: Unit, delivery: Delivery, until: int) -> bool:
    """Begin a try; False where another server has. One that is not heard of by `until` may be begun again."""
    mine = (_deliveries.c.pk == delivery.pk) & (_deliveries.c.tries == delivery.tries)
    values = {"tries": delivery.tries + 1, "due_at": until}
    return unit.conn.execute(sa.update(_deliveries).where(mine).values(values)).rowcount == 1


def postpone(unit: Unit, pk: int, due_at: int) -> None:
    unit.conn.execute(sa.update(_deliveries).where(_deliveries.c.pk == pk).values(due_at=due_at))


def finish(unit: Unit, pk: int) -> None:
    """It was told, or never will be."""
    unit.conn.execute(sa.delete(_deliveries).where(_deliveries.c.pk == pk))


def _webhook(row: Any) -> Webhook:
    fields = {**row._mapping, "events": tuple(decode(row.events))}
    return Webhook(**fields)


def _delivery(row: Any) -> Delivery:
    return Delivery(pk=row.pk, webhook=row.webhook, id=row.id, body=row.body, tries=row.tries, due_at=row.due_at)
