"""Experiments: found by id or name, made once a name, deleted softly."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.raw import fetch_raw, run_raw
from zaffre.store.tracking.records import Experiment
from zaffre.store.tracking.sql import insert_or_ignore, pairs_of
from zaffre.store.unit import Unit

_t = tables.experiments
_tags = tables.experiment_tags

# Statements are built once: building one costs more than running it.
_COLUMNS = tuple(name for name in Experiment.__struct_fields__ if name != "tags")
_ONE = f"""SELECT {", ".join(f'"{name}"' for name in _COLUMNS)} FROM "experiments" WHERE "scope" = ? AND """
_BY_ID, _BY_NAME = f'{_ONE} "id" = ?', f'{_ONE} "name" = ?'
_TAGS = 'SELECT "experiment", "key", "value" FROM "experiment_tags" WHERE "experiment" IN KEYS'
_SET_TAG = """INSERT INTO experiment_tags ("experiment", "key", "value") VALUES (?, ?, ?)
ON CONFLICT ("experiment", "key") DO UPDATE SET "value" = excluded."value" """


def by_id(conn: sa.Connection, scope: str, id_: str) -> Experiment | None:
    return _with_tags(conn, find(conn, scope, id_))


def find(conn: sa.Connection, scope: str, id_: str) -> Experiment | None:
    """The same without its tags."""
    return _one(conn, _BY_ID, scope, id_)


def by_name(conn: sa.Connection, scope: str, name: str) -> Experiment | None:
    return _with_tags(conn, _one(conn, _BY_NAME, scope, name))


def id_of(conn: sa.Connection, scope: str, pk: int) -> str | None:
    return conn.execute(sa.select(_t.c.id).where(_t.c.scope == scope, _t.c.pk == pk)).scalar_one_or_none()


def insert(unit: Unit, scope: str, id_: str, name: str, artifact_location: str | None, tags: dict[str, str]) -> bool:
    """Add an experiment; False when its id or name is taken."""
    values = {
        "scope": scope,
        "id": id_,
        "name": name,
        "artifact_location": artifact_location,
        "created_at": unit.now,
        "modified_at": unit.now,
    }
    if not insert_or_ignore(unit.conn, _t, values):
        return False
    made = by_id(unit.conn, scope, id_)
    assert made is not None, "the experiment was inserted in this transaction"
    set_tags(unit, made.pk, tags)
    return True


def update(unit: Unit, pk: int, **values: Any) -> None:
    unit.conn.execute(sa.update(_t).where(_t.c.pk == pk).values(**values, modified_at=unit.now))


def set_tags(unit: Unit, pk: int, tags: dict[str, str]) -> None:
    if tags:
        run_raw(unit.conn, _SET_TAG, [(pk, key, value) for key, value in tags.items()])


def delete_tag(unit: Unit, pk: int, key: str) -> bool:
    return unit.conn.execute(sa.delete(_tags).where(_tags.c.experiment == pk, _tags.c.key == key)).rowcount == 1


def listing(conn: sa.Connection, scope: str, lifecycles: tuple[str, ...]) -> list[Experiment]:
    """All experiments of a workspace that stand in one of `lifecycles`, newest first, with their tags."""
    columns = [_t.c[name] for name in _COLUMNS]
    query = sa.select(*columns).where(_t.c.scope == scope, _t.c.lifecycle.in_(lifecycles)).order_by(_t.c.pk.desc())
    rows = conn.execute(query).all()
    tags = pairs_of(conn, _TAGS, [row.pk for row in rows])
    return [Experiment(**dict(zip(_COLUMNS, row, strict=True)), tags=tags[row.pk]) for row in rows]


def _one(conn: sa.Connection, query: str, scope: str, which: str) -> Experiment | None:
    for row in fetch_raw(conn, query, (scope, which)):
        return Experiment(**dict(zip(_COLUMNS, row, strict=True)))
    return None


def _with_tags(conn: sa.Connection, found: Experiment | None) -> Experiment | None:
    if found is None:
        return None
    return msgspec.structs.replace(found, tags=pairs_of(conn, _TAGS, [found.pk])[found.pk])
