"""Experiments: found by id or name, made once a name, deleted softly."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.raw import fetch_raw, run_raw
from zaffre.store.tracking.records import Experiment
from zaffre.store.tracking.sql import chunks, insert_or_ignore
from zaffre.store.unit import Unit

_t = tables.experiments
_tags = tables.experiment_tags

# Statements are built once: building one costs more than running it.
_COLUMNS = tuple(name for name in Experiment.__struct_fields__ if name != "tags")
_ONE = f"""SELECT {", ".join(f'"{name}"' for name in _COLUMNS)} FROM "experiments" WHERE "scope" = ? AND """
_BY_ID, _BY_NAME = f'{_ONE} "id" = ?', f'{_ONE} "name" = ?'
_TAGS_OF_ONE = 'SELECT "key", "value" FROM "experiment_tags" WHERE "experiment" = ?'
_TAGS = sa.select(_tags).where(_tags.c.experiment.in_(sa.bindparam("experiments", expanding=True)))
_SET_TAG = """INSERT INTO experiment_tags ("experiment", "key", "value") VALUES (?, ?, ?)
ON CONFLICT ("experiment", "key") DO UPDATE SET "value" = excluded."value" """


def by_id(conn: sa.Connection, scope: str, id_: str) -> Experiment | None:
    return _one(conn, _BY_ID, scope, id_)


def find(conn: sa.Connection, scope: str, id_: str) -> Experiment | None:
    """The same without its tags."""
    for row in fetch_raw(conn, _BY_ID, (scope, id_)):
        return Experiment(**dict(zip(_COLUMNS, row, strict=True)))
    return None


def by_name(conn: sa.Connection, scope: str, name: str) -> Experiment | None:
    return _one(conn, _BY_NAME, scope, name)


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
    query = sa.select(_t).where(_t.c.scope == scope, _t.c.lifecycle.in_(lifecycles)).order_by(_t.c.pk.desc())
    rows = list(conn.execute(query).mappings())
    return [_experiment(row, tags) for row, tags in zip(rows, _tags_of(conn, [row["pk"] for row in rows]), strict=True)]


def _one(conn: sa.Connection, query: str, scope: str, which: str) -> Experiment | None:
    for row in fetch_raw(conn, query, (scope, which)):
        tags = dict(fetch_raw(conn, _TAGS_OF_ONE, (row[0],)))
        return Experiment(tags=tags, **dict(zip(_COLUMNS, row, strict=True)))
    return None


def _tags_of(conn: sa.Connection, pks: list[int]) -> list[dict[str, str]]:
    found: dict[int, dict[str, str]] = {pk: {} for pk in pks}
    for piece in chunks(pks):
        for row in conn.execute(_TAGS, {"experiments": piece}):
            found[row.experiment][row.key] = row.value
    return [found[pk] for pk in pks]


def _experiment(row: sa.RowMapping, tags: dict[str, str]) -> Experiment:
    return Experiment(tags=tags, **{name: row[name] for name in _COLUMNS})
