"""Logged models: what MLflow 3 writes between training and registering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.tracking.records import LoggedModel
from zaffre.store.tracking.sql import chunks
from zaffre.store.unit import Unit, decode, encode

_t = tables.logged_models
_e = tables.experiments
_COLUMNS = (*_t.c, _e.c.id.label("experiment_id"), _e.c.artifact_location.label("experiment_location"))


def get(conn: sa.Connection, scope: str, id_: str, *, lock: bool = False) -> LoggedModel | None:
    query = sa.select(*_COLUMNS).join(_e, _e.c.pk == _t.c.experiment).where(_t.c.scope == scope, _t.c.id == id_)
    if lock:
        query = query.with_for_update(of=_t)
    row = conn.execute(query).mappings().one_or_none()
    return None if row is None else _model(row)


def insert(
    unit: Unit,
    scope: str,
    id_: str,
    experiment: int,
    name: str,
    status: str,
    *,
    model_type: str | None,
    source_run: str | None,
    params: dict[str, str],
    tags: dict[str, str],
) -> None:
    unit.conn.execute(
        sa.insert(_t).values(
            scope=scope,
            id=id_,
            experiment=experiment,
            name=name,
            status=status,
            model_type=model_type,
            source_run=source_run,
            params=encode(params),
            tags=encode(tags),
            created_at=unit.now,
            modified_at=unit.now,
        )
    )


def update(unit: Unit, pk: int, **values: Any) -> None:
    """Change columns of one model; `params` and `tags` are given as documents."""
    for name in ("params", "tags"):
        if name in values:
            values[name] = encode(values[name])
    unit.conn.execute(sa.update(_t).where(_t.c.pk == pk).values(**values, modified_at=unit.now))


def listing(conn: sa.Connection, scope: str, experiments: Sequence[str]) -> list[LoggedModel]:
    """The models of those experiments that are not deleted, newest first."""
    found: list[LoggedModel] = []
    for piece in chunks(experiments):
        query = (
            sa.select(*_COLUMNS)
            .join(_e, _e.c.pk == _t.c.experiment)
            .where(_e.c.scope == scope, _e.c.id.in_(piece), _t.c.lifecycle == "active")
        )
        found.extend(_model(row) for row in conn.execute(query).mappings())
    return sorted(found, key=lambda model: model.pk, reverse=True)


def of_runs(conn: sa.Connection, scope: str, run_ids: Sequence[str]) -> list[LoggedModel]:
    """The models those runs logged."""
    found: list[LoggedModel] = []
    for piece in chunks(run_ids):
        query = (
            sa.select(*_COLUMNS)
            .join(_e, _e.c.pk == _t.c.experiment)
            .where(_t.c.scope == scope, _t.c.source_run.in_(piece))
        )
        found.extend(_model(row) for row in conn.execute(query).mappings())
    return found


def delete(unit: Unit, pk: int) -> None:
    unit.conn.execute(sa.delete(_t).where(_t.c.pk == pk))


def _model(row: sa.RowMapping) -> LoggedModel:
    values = {name: row[name] for name in LoggedModel.__struct_fields__}
    values["params"] = decode(values["params"])
    values["tags"] = decode(values["tags"])
    return LoggedModel(**values)
