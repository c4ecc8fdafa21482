"""Secrets of the gateway and the models that are asked with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.inserts import insert
from zaffre.store.model_gateway.records import Model, Secret
from zaffre.store.unit import Actor, Unit, decode, encode

_s, _m, _map = tables.gateway_secrets, tables.gateway_models, tables.gateway_mappings
MODELS = sa.select(
    _m.c.pk,
    _m.c.id,
    _m.c.name,
    _s.c.id.label("secret_id"),
    _s.c.name.label("secret_name"),
    _m.c.provider,
    _m.c.model,
    _m.c.created_by,
    _m.c.created_at,
    _m.c.modified_by,
    _m.c.modified_at,
).outerjoin(_s, _s.c.pk == _m.c.secret)


def made(unit: Unit, actor: Actor) -> dict[str, Any]:
    """The columns of who made a row, and when."""
    return {
        "created_by": actor.name,
        "created_at": unit.now,
        "modified_by": actor.name,
        "modified_at": unit.now,
    }


def changed(unit: Unit, actor: Actor, before: int) -> dict[str, Any]:
    """The columns of who changed a row: always later than `before`, for whoever compares the two times."""
    return {"modified_by": actor.name, "modified_at": max(unit.now, before + 1)}


def inserted(unit: Unit, statement: Any, table: sa.Table) -> bool:
    """Whether an INSERT that passes over what is there already put its row in."""
    return unit.conn.execute(statement.returning(*table.primary_key.columns)).first() is not None


# ---- secrets
def add_secret(
    unit: Unit,
    actor: Actor,
    scope: str,
    id_: str,
    name: str,
    provider: str | None,
    masked: Mapping[str, str],
    auth: Mapping[str, str],
) -> bool:
    """False where the name is taken."""
    statement = insert(unit.conn, _s).values(
        scope=scope,
        id=id_,
        name=name,
        provider=provider,
        masked=encode(masked),
        auth=encode(auth),
        **made(unit, actor),
    )
    return inserted(unit, statement.on_conflict_do_nothing(index_elements=[_s.c.scope, _s.c.name]), _s)


def secret(conn: sa.Connection, scope: str, id_: str, *, lock: bool = False) -> Secret | None:
    query = sa.select(_s).where(_s.c.scope == scope, _s.c.id == id_)
    row = conn.execute(query.with_for_update() if lock else query).mappings().first()
    return None if row is None else _secret(row)


def secrets(conn: sa.Connection, scope: str, provider: str | None) -> list[Secret]:
    """In the order they were made."""
    query = sa.select(_s).where(_s.c.scope == scope).order_by(_s.c.pk)
    if provider is not None:
        query = query.where(_s.c.provider == provider)
    return [_secret(row) for row in conn.execute(query).mappings()]


def update_secret(
    unit: Unit, actor: Actor, held: Secret, masked: Mapping[str, str] | None, auth: Mapping[str, str] | None
) -> None:
    values = changed(unit, actor, held.modified_at)
    if masked is not None:
        values["masked"] = encode(masked)
    if auth is not None:
        values["auth"] = encode(auth)
    unit.conn.execute(sa.update(_s).where(_s.c.pk == held.pk).values(values))


def delete_secret(unit: Unit, held: Secret) -> None:
    """Its models stay, without one."""
    unit.conn.execute(sa.delete(_s).where(_s.c.pk == held.pk))


# ---- models
def add_model(
    unit: Unit, actor: Actor, scope: str, id_: str, name: str, secret_pk: int, provider: str, model: str
) -> bool:
    """False where the name is taken."""
    statement = insert(unit.conn, _m).values(
        scope=scope, id=id_, name=name, secret=secret_pk, provider=provider, model=model, **made(unit, actor)
    )
    return inserted(unit, statement.on_conflict_do_nothing(index_elements=[_m.c.scope, _m.c.name]), _m)


def lock_model(unit: Unit, scope: str, id_: str) -> Model | None:
    """Nobody deletes or changes it, or maps it to an endpoint, before this transaction ends."""
    unit.conn.execute(sa.select(_m.c.pk).where(_m.c.scope == scope, _m.c.id == id_).with_for_update())
    return model(unit.conn, scope, id_)


def model(conn: sa.Connection, scope: str, id_: str) -> Model | None:
    row = conn.execute(MODELS.where(_m.c.scope == scope, _m.c.id == id_)).mappings().first()
    return None if row is None else Model(**row)


def name_taken(conn: sa.Connection, scope: str, name: str, but: int) -> bool:
    """Whether another model than the one with key `but` has the name."""
    query = sa.select(_m.c.pk).where(_m.c.scope == scope, _m.c.name == name, _m.c.pk != but)
    return conn.execute(query).first() is not None


def models(conn: sa.Connection, scope: str, provider: str | None, secret_id: str | None) -> list[Model]:
    """In the order they were made."""
    query = MODELS.where(_m.c.scope == scope).order_by(_m.c.pk)
    if provider is not None:
        query = query.where(_m.c.provider == provider)
    if secret_id is not None:
        query = query.where(_s.c.id == secret_id)
    return [Model(**row) for row in conn.execute(query).mappings()]


def update_model(unit: Unit, actor: Actor, held: Model, **values: Any) -> None:
    values |= changed(unit, actor, held.modified_at)
    unit.conn.execute(sa.update(_m).where(_m.c.pk == held.pk).values(values))


def in_use(conn: sa.Connection, pk: int) -> bool:
    """Whether an endpoint has the model."""
    return conn.execute(sa.select(_map.c.pk).where(_map.c.model == pk).limit(1)).first() is not None


def delete_model(unit: Unit, pk: int) -> None:
    unit.conn.execute(sa.delete(_m).where(_m.c.pk == pk))


def _secret(row: Mapping[Any, Any]) -> Secret:
    fields = {name: row[name] for name in Secret.__struct_fields__}
    return Secret(**fields | {"masked": decode(row["masked"]), "auth": decode(row["auth"])})
