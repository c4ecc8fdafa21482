"""Endpoints of the gateway: the models behind them, their tags, and what is bound to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.inserts import insert
from zaffre.store.model_gateway.models import MODELS, changed, inserted, made
from zaffre.store.model_gateway.records import Binding, Endpoint, Fallback, Mapping, Model
from zaffre.store.tracking.sql import chunks
from zaffre.store.unit import Actor, Unit, decode, encode

_e, _map, _m = tables.gateway_endpoints, tables.gateway_mappings, tables.gateway_models
_t, _b, _x = tables.gateway_tags, tables.gateway_bindings, tables.experiments
_s, _c = tables.gateway_secrets, tables.scorers
_ENDPOINTS = sa.select(_e, _x.c.id.label("experiment_id")).outerjoin(_x, _x.c.pk == _e.c.experiment)
_OWN = (
    "id",
    "linkage",
    "weight",
    "position",
    "created_by",
    "created_at",
)


def add(unit: Unit, actor: Actor, scope: str, id_: str, name: str, **values: Any) -> int | None:
    """The new endpoint's key, None where the name is taken. `values` are `routing`, `fallback`, `experiment`, `usage_tracking`."""
    statement = insert(unit.conn, _e).values(scope=scope, id=id_, name=name, **_columns(values), **made(unit, actor))
    statement = statement.on_conflict_do_nothing(index_elements=[_e.c.scope, _e.c.name]).returning(_e.c.pk)
    found: int | None = unit.conn.execute(statement).scalar_one_or_none()
    return found


def get(conn: sa.Connection, scope: str, *, id_: str | None = None, name: str | None = None) -> Endpoint | None:
    """By its id, else by its name."""
    which = _e.c.id == id_ if id_ is not None else _e.c.name == name
    found = _read(conn, _ENDPOINTS.where(_e.c.scope == scope, which))
    return found[0] if found else None


def lock(unit: Unit, scope: str, id_: str) -> Endpoint | None:
    """Nobody changes it before this transaction ends."""
    unit.conn.execute(sa.select(_e.c.pk).where(_e.c.scope == scope, _e.c.id == id_).with_for_update())
    return get(unit.conn, scope, id_=id_)


def listing(conn: sa.Connection, scope: str, provider: str | None, secret_id: str | None) -> list[Endpoint]:
    """In the order they were made; those of which a model is of that provider, or asked with that secret."""
    query = _ENDPOINTS.where(_e.c.scope == scope).order_by(_e.c.pk)
    if provider is not None or secret_id is not None:
        behind = sa.select(_map.c.endpoint).join(_m, _m.c.pk == _map.c.model).outerjoin(_s, _s.c.pk == _m.c.secret)
        if provider is not None:
            behind = behind.where(_m.c.provider == provider)
        if secret_id is not None:
            behind = behind.where(_s.c.id == secret_id)
        query = query.where(_e.c.pk.in_(behind))
    return _read(conn, query)


def names(conn: sa.Connection, scope: str, ids: Sequence[str]) -> dict[str, str]:
    """What endpoints are called, by their ids; those that are gone are left out."""
    found: dict[str, str] = {}
    for some in chunks(set(ids)):
        query = sa.select(_e.c.id, _e.c.name).where(_e.c.scope == scope, _e.c.id.in_(some))
        found |= {row.id: row.name for row in conn.execute(query)}
    return found


def name_taken(conn: sa.Connection, scope: str, name: str, but: int) -> bool:
    """Whether another endpoint than the one with key `but` has the name."""
    query = sa.select(_e.c.pk).where(_e.c.scope == scope, _e.c.name == name, _e.c.pk != but)
    return conn.execute(query).first() is not None


def update(unit: Unit, actor: Actor, held: Endpoint, **values: Any) -> None:
    """Values as for `add`, and `name`."""
    values = _columns(values) | changed(unit, actor, held.modified_at)
    unit.conn.execute(sa.update(_e).where(_e.c.pk == held.pk).values(values))


def delete(unit: Unit, pk: int) -> None:
    """With its mappings, tags and bindings."""
    unit.conn.execute(sa.delete(_e).where(_e.c.pk == pk))


# ---- models behind it
def attach(
    unit: Unit,
    actor: Actor,
    scope: str,
    id_: str,
    endpoint: int,
    model: int,
    linkage: str,
    weight: float,
    position: int | None,
) -> bool:
    """False where the model is behind the endpoint already, in the same way."""
    statement = insert(unit.conn, _map).values(
        scope=scope,
        id=id_,
        endpoint=endpoint,
        model=model,
        linkage=linkage,
        weight=weight,
        position=position,
        created_by=actor.name,
        created_at=unit.now,
    )
    index = [_map.c.endpoint, _map.c.model, _map.c.linkage]
    return inserted(unit, statement.on_conflict_do_nothing(index_elements=index), _map)


def detach(unit: Unit, endpoint: int, ids: Sequence[str]) -> None:
    unit.conn.execute(sa.delete(_map).where(_map.c.endpoint == endpoint, _map.c.id.in_(ids)))


def detach_all(unit: Unit, endpoint: int) -> None:
    unit.conn.execute(sa.delete(_map).where(_map.c.endpoint == endpoint))


# ---- tags
def set_tag(unit: Unit, endpoint: int, key: str, value: str) -> None:
    statement = insert(unit.conn, _t).values(endpoint=endpoint, key=key, value=value)
    index = [_t.c.endpoint, _t.c.key]
    unit.conn.execute(statement.on_conflict_do_update(index_elements=index, set_={"value": value}))


def delete_tag(unit: Unit, endpoint: int, key: str) -> None:
    unit.conn.execute(sa.delete(_t).where(_t.c.endpoint == endpoint, _t.c.key == key))


# ---- bindings
def bind(unit: Unit, actor: Actor, endpoint: int, resource_type: str, resource_id: str) -> bool:
    """False where it is bound already."""
    statement = insert(unit.conn, _b).values(
        endpoint=endpoint, resource_type=resource_type, resource_id=resource_id, **made(unit, actor)
    )
    index = [_b.c.endpoint, _b.c.resource_type, _b.c.resource_id]
    return inserted(unit, statement.on_conflict_do_nothing(index_elements=index), _b)


def unbind(unit: Unit, endpoint: int, resource_type: str, resource_id: str) -> bool:
    which = (_b.c.endpoint == endpoint) & (_b.c.resource_type == resource_type) & (_b.c.resource_id == resource_id)
    return unit.conn.execute(sa.delete(_b).where(which)).rowcount == 1


def unbind_all(unit: Unit, scope: str, resource_type: str, resource_id: str) -> None:
    """From whatever endpoint of the workspace it is bound to."""
    those = sa.select(_e.c.pk).where(_e.c.scope == scope)
    which = (_b.c.resource_type == resource_type) & (_b.c.resource_id == resource_id) & _b.c.endpoint.in_(those)
    unit.conn.execute(sa.delete(_b).where(which))


def bindings(
    conn: sa.Connection, scope: str, endpoint_id: str | None, resource_type: str | None, resource_id: str | None
) -> list[Binding]:
    """Those that fit all that is asked."""
    query = (
        sa.select(
            _e.c.id.label("endpoint_id"),
            _c.c.name.label("display_name"),
            *(_b.c[name] for name in Binding.__struct_fields__ if name in _b.c),
        )
        .join(_e, _e.c.pk == _b.c.endpoint)
        .outerjoin(_c, (_c.c.scope == _e.c.scope) & (_c.c.id == _b.c.resource_id) & (_b.c.resource_type == "scorer"))
        .where(_e.c.scope == scope)
        .order_by(_b.c.created_at, _b.c.resource_type, _b.c.resource_id, _e.c.pk)
    )
    for column, wanted in (
        (_e.c.id, endpoint_id),
        (_b.c.resource_type, resource_type),
        (_b.c.resource_id, resource_id),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    return [Binding(**row) for row in conn.execute(query).mappings()]


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    if values.get("fallback") is not None:
        values["fallback"] = encode(values["fallback"])
    return values


def _read(conn: sa.Connection, query: sa.Select[Any]) -> list[Endpoint]:
    rows = list(conn.execute(query).mappings())
    ids = {row["pk"]: row["id"] for row in rows}
    mappings: dict[int, list[Mapping]] = {pk: [] for pk in ids}
    tags: dict[int, dict[str, str]] = {pk: {} for pk in ids}
    for some in chunks(list(ids)):
        behind = MODELS.join(_map, _map.c.model == _m.c.pk).where(_map.c.endpoint.in_(some)).order_by(_map.c.pk)
        behind = behind.add_columns(_map.c.endpoint.label("map_endpoint"))
        behind = behind.add_columns(*(_map.c[name].label(f"map_{name}") for name in _OWN))
        for row in conn.execute(behind).mappings():
            model = Model(**{name: row[name] for name in Model.__struct_fields__})
            own = {name: row[f"map_{name}"] for name in _OWN}
            endpoint = row["map_endpoint"]
            mappings[endpoint].append(Mapping(endpoint_id=ids[endpoint], model=model, **own))
        for tag in conn.execute(sa.select(_t).where(_t.c.endpoint.in_(some)).order_by(_t.c.key)):
            tags[tag.endpoint][tag.key] = tag.value
    return [_endpoint(row, mappings[row["pk"]], tags[row["pk"]]) for row in rows]


def _endpoint(row: Any, mappings: list[Mapping], tags: dict[str, str]) -> Endpoint:
    own = {name: row[name] for name in Endpoint.__struct_fields__ if name not in ("mappings", "tags", "fallback")}
    fallback = None if row["fallback"] is None else Fallback(**decode(row["fallback"]))
    return Endpoint(mappings=mappings, tags=tags, fallback=fallback, **own)
