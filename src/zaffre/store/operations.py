"""Long-running operations: what a client polls while a controller works."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.unit import Unit, decode, encode

_t = tables.operations
RUNNING, SUCCEEDED, FAILED, CANCELED = "InProgress", "Succeeded", "Failed", "Canceled"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    scope: str
    resource: str
    status: str
    error: dict[str, Any] | None


def begin(unit: Unit, id_: str, scope: str, resource: str) -> None:
    """Open an operation on `resource`. One that still ran on it is superseded: its wish is no longer the last one."""
    unit.conn.execute(
        sa.update(_t)
        .where(_t.c.scope == scope, _t.c.resource == resource, _t.c.status == RUNNING)
        .values(
            status=CANCELED,
            ended_at=unit.now,
            error=encode({"code": "Superseded", "message": "A later request replaced this one."}),
        )
    )
    unit.conn.execute(sa.insert(_t).values(id=id_, scope=scope, resource=resource, status=RUNNING, created_at=unit.now))


def end(unit: Unit, id_: str | None, status: str, error: dict[str, Any] | None = None) -> None:
    """Close an operation once; closing it again changes nothing."""
    if id_ is not None:
        unit.conn.execute(
            sa.update(_t)
            .where(_t.c.id == id_, _t.c.status == RUNNING)
            .values(status=status, ended_at=unit.now, error=encode(error) if error else None)
        )


def end_all(unit: Unit, scope: str, resource: str, status: str, error: dict[str, Any] | None = None) -> None:
    """Close whatever still runs on a resource."""
    unit.conn.execute(
        sa.update(_t)
        .where(_t.c.scope == scope, _t.c.resource == resource, _t.c.status == RUNNING)
        .values(status=status, ended_at=unit.now, error=encode(error) if error else None)
    )


def get(conn: sa.Connection, scope: str, id_: str) -> Operation | None:
    found = conn.execute(sa.select(_t).where(_t.c.scope == scope, _t.c.id == id_)).mappings().one_or_none()
    if found is None:
        return None
    return Operation(
        id=found["id"],
        scope=found["scope"],
        resource=found["resource"],
        status=found["status"],
        error=decode(found["error"]) if found["error"] else None,
    )
