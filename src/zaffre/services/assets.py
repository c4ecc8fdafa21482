"""Assets: containers (`workspaces/models`) and their versions (`…/versions`), the same for ARM and MLflow.

A container's `counter` is the next version number it gives out; it only grows, so a number is never given twice.
A version is immutable but for a few fields: the same content again updates those, another content is a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict
from zaffre.services import lineage, registry_events
from zaffre.services.kinds.base import MUTABLE
from zaffre.store import resources
from zaffre.store.resources import Row, Selection
from zaffre.store.unit import Actor, Unit

_MAX_DIGITS = 18  # a longer number does not fit the counter; it is a name like any other then


def put_version(
    unit: Unit,
    actor: Actor,
    scope: str,
    kind: str,
    name: str,
    version: str | None,
    body: Mapping[str, Any],
    server: Mapping[str, Any],
    fingerprint: str,
    *,
    container_body: Mapping[str, Any] | None = None,
    mutable: tuple[str, ...] = MUTABLE,
) -> tuple[Row, bool]:
    """Make version `version` of `name`, or the next one when it is None; answers the row and whether it is new.

    `kind` is the container's type. `fingerprint` stands for everything of the body that must never change; it is the
    caller's to compute, and is searched by. The job that made the content is found by its place. A missing container is
    made from `container_body`. Raises Conflict when the version exists with another fingerprint.
    """
    container = put_container(unit, actor, scope, kind, name, container_body)
    type_ = versions_of(kind)
    number = str(container.counter) if version is None else version
    archived = bool(body.get("properties", {}).get("isArchived"))
    created = resources.insert(
        unit,
        actor,
        scope,
        type_,
        number,
        dict(body),
        dict(server),
        parent=container.name,
        archived=archived,
        fingerprint=fingerprint,
    )
    row = resources.get(unit.conn, scope, type_, number, name)
    assert row is not None, "the version was inserted or found in this transaction"
    if created:
        _count(unit, container, number)
        filled = lineage.note_version(unit, scope, type_, name, number, body.get("properties", {}), row.server)
        if filled != row.server:
            resources.update(unit, None, row.pk, server=filled)
            row = msgspec.structs.replace(row, server=filled)
        if kind in registry_events.TYPES:
            registry_events.version_created(unit, scope, container.name, row)
    elif row.fingerprint != fingerprint:
        raise Conflict(
            f"Version '{row.name}' of '{container.name}' exists with other content, and a version never changes. "
            f"Leave the version out, or take the next free one: {container.counter}.",
            target="version",
        )
    else:
        before, row = row, _refresh(unit, actor, row, body, mutable)
        if kind in registry_events.TYPES:
            registry_events.tags_changed(unit, scope, container.name, before, row)
    unit.audit(actor, f"{type_}/write", f"{scope}/{container.name}/{row.name}", detail={"created": created})
    unit.emit(scope, kind, container.name)
    return row, created


def put_container(
    unit: Unit,
    actor: Actor,
    scope: str,
    kind: str,
    name: str,
    body: Mapping[str, Any] | None = None,
    server: Mapping[str, Any] | None = None,
) -> Row:
    """The container, made if missing; locked until the transaction ends, so that its numbers are given out in turn."""
    new = resources.insert(unit, actor, scope, kind, name, dict(body or empty_container()), dict(server or {}))
    row = resources.get(unit.conn, scope, kind, name, lock=True)
    assert row is not None, "the container was inserted or found in this transaction"
    if new:
        note_container(unit, scope, row)
    return row


def note_container(unit: Unit, scope: str, row: Row) -> None:
    """What goes with a new container, whoever made it: a model takes no prompt's name, and webhooks hear of it."""
    if row.type != registry_events.MODELS:
        return
    if resources.get(unit.conn, scope, registry_events.PROMPTS, row.name) is not None:
        raise Conflict(f"'{row.name}' is the name of a prompt; a model needs another one.", target="name")
    registry_events.created(unit, scope, row)


def latest_version(
    conn: sa.Connection, scope: str, kind: str, name: str, *, archived: bool | None = None
) -> Row | None:
    """The version that was made last, whatever its name; `archived=False` passes over archived ones."""
    wanted = Selection(parent=name, archived=archived, limit=1)
    found = resources.select(conn, scope, versions_of(kind), wanted)
    return found[0] if found else None


def delete_version(unit: Unit, actor: Actor, scope: str, row: Row, *, all_go: bool = False) -> None:
    """Delete a version, and the bytes that were uploaded for it alone. Raises Conflict while something needs it.

    With `all_go` the asset's other versions go, too, and need nothing.
    """
    lineage.refuse_if_needed(unit.conn, scope, row.type, row.parent, [row.name], all_go=all_go)
    lineage.delete_version(unit, scope, row)
    container = resources.get(unit.conn, scope, row.type.rpartition("/")[0], row.parent, lock=True)
    held = container.server.get("mlflow", {}).get("aliases", {}) if container else {}
    if container is not None and row.name in held.values():  # no alias may name what is gone
        kept = {alias: version for alias, version in held.items() if version != row.name}
        server = {**container.server, "mlflow": {**container.server["mlflow"], "aliases": kept}}
        resources.update(unit, None, container.pk, server=server)
    unit.audit(actor, f"{row.type}/delete", f"{scope}/{row.parent}/{row.name}")
    unit.emit(scope, row.type.rpartition("/")[0], row.parent)


def versions_of(kind: str) -> str:
    return f"{kind}/versions"


def empty_container() -> dict[str, Any]:
    return {"properties": {"description": None, "tags": {}, "properties": {}, "isArchived": False}}


def _count(unit: Unit, container: Row, number: str) -> None:
    """Numbers given by hand count too: after version 7 the next one is 8."""
    if number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS and int(number) >= container.counter:
        resources.update(unit, None, container.pk, counter=int(number) + 1)


def _refresh(unit: Unit, actor: Actor, row: Row, body: Mapping[str, Any], mutable: tuple[str, ...]) -> Row:
    """Take over what may change, as far as the new body names it."""
    given = body.get("properties", {})
    properties = {**row.body.get("properties", {}), **{name: given[name] for name in mutable if name in given}}
    if properties == row.body.get("properties", {}):
        return row
    resources.update(
        unit,
        actor,
        row.pk,
        body={**row.body, "properties": properties},
        archived=bool(properties.get("isArchived")),
    )
    fresh = resources.by_pk(unit.conn, row.pk)
    assert fresh is not None, "the version was found in this transaction"
    return fresh
