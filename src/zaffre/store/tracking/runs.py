"""Runs: one record each, whoever made them, and what is logged to them but for metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.raw import fetch_of, fetch_raw, insert_rows, returned_rows, run_raw
from zaffre.store.tracking import metrics
from zaffre.store.tracking.records import DatasetSummary, Found, Link, NewRun, Run, RunHead
from zaffre.store.tracking.sql import chunks, pairs_of
from zaffre.store.unit import Unit, decode, encode

_t = tables.runs
_e = tables.experiments
_params = tables.run_params
_tags = tables.run_tags
_links = tables.run_links

_OF_EXPERIMENT = {
    "experiment_id": _e.c.id.label("experiment_id"),
    "experiment_name": _e.c.name.label("experiment_name"),
    "experiment_location": _e.c.artifact_location.label("experiment_location"),
}
HEAD = tuple(_OF_EXPERIMENT[name] if name in _OF_EXPERIMENT else _t.c[name] for name in RunHead.__struct_fields__)
# Statements are built once: building one costs more than running it.
_WITH_EXPERIMENT = sa.select(*HEAD).join(_e, _e.c.pk == _t.c.experiment)
_BY_ID = _WITH_EXPERIMENT.where(_t.c.scope == sa.bindparam("scope"), _t.c.id == sa.bindparam("id"))
_CHILDREN = _WITH_EXPERIMENT.where(_t.c.scope == sa.bindparam("scope"), _t.c.parent == sa.bindparam("parent")).order_by(
    _t.c.pk
)
_TAGS_OF = 'SELECT "run", "key", "value" FROM "run_tags" WHERE "run" IN KEYS'
_PARAMS_OF = 'SELECT "run", "key", "value" FROM "run_params" WHERE "run" IN KEYS'
_LINKS_OF = f"""SELECT "run", {", ".join(f'"{name}"' for name in Link.__struct_fields__)} FROM "run_links"
WHERE "run" IN KEYS ORDER BY "step", "target" """
_COLUMNS = (
    "scope", "id", "experiment", "origin", "status", "display_name", "description", "hidden", "lifecycle", "parent",
    "root", "user", "artifact_uri", "properties", "created_at", "started_at", "ordered_at", "modified_at",
)  # fmt: skip
_TYPES = (
    "text", "text", "bigint", "text", "text", "text", "text", "boolean", "text", "text",
    "text", "text", "text", "text", "bigint", "bigint", "bigint", "bigint",
)  # fmt: skip
_INTO = f'INSERT INTO "runs" ({", ".join(f"{chr(34)}{name}{chr(34)}" for name in _COLUMNS)}) VALUES'
_INSERT = f"{_INTO} ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT DO NOTHING RETURNING pk"
_INSERT_MANY = f'{_INTO} ON CONFLICT DO NOTHING RETURNING "pk", "scope", "id"'
_FIND = 'SELECT "pk", "experiment", "lifecycle", "origin" FROM "runs" WHERE "scope" = ? AND "id" = ?'
_FIND_MANY = """SELECT "scope", "id", "pk", "experiment", "lifecycle", "origin" FROM "runs"
JOIN unnest(?::text[], ?::text[]) AS asked ("scope", "id") USING ("scope", "id")"""
_TAG_TYPES = ("bigint", "text", "text")
_SET_TAG = """INSERT INTO "run_tags" ("run", "key", "value") VALUES
ON CONFLICT ("run", "key") DO UPDATE SET "value" = excluded."value" """
_PUT_PARAM = 'INSERT INTO "run_params" ("run", "key", "value") VALUES ON CONFLICT DO NOTHING'
# A run has read a dataset once, as it said first; a model it made again is the one of the last step.
_LINK = """INSERT INTO "run_links" ("run", "direction", "kind", "target", "step", "detail", "name", "digest", "context")
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT ("run", "direction", "kind", "target")
DO UPDATE SET "step" = excluded."step" WHERE "run_links"."direction" = 'output' """


def find(conn: sa.Connection, scope: str, id_: str) -> Found | None:
    """The cheap question every write begins with."""
    rows = fetch_raw(conn, _FIND, (scope, id_))
    return Found(*rows[0]) if rows else None


def find_many(conn: sa.Connection, asked: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Found]:
    """The same for many, by (scope, id); those that are not there are left out."""
    wanted = list(dict.fromkeys(asked))
    if conn.dialect.name == "sqlite" or len(wanted) == 1:
        one_by_one = {key: find(conn, *key) for key in wanted}
        return {key: found for key, found in one_by_one.items() if found is not None}
    rows = fetch_raw(conn, _FIND_MANY, ([scope for scope, _ in wanted], [id_ for _, id_ in wanted]))
    return {(row[0], row[1]): Found(*row[2:]) for row in rows}


def hold(conn: sa.Connection, scope: str, id_: str) -> bool:
    """Whether the run is there. No other transaction changes or deletes it before this one ends; logging to it goes on."""
    query = sa.select(_t.c.pk).where(_t.c.scope == scope, _t.c.id == id_)
    return conn.execute(query.with_for_update(key_share=True)).first() is not None


def head(conn: sa.Connection, scope: str, id_: str) -> RunHead | None:
    row = conn.execute(_BY_ID, {"scope": scope, "id": id_}).one_or_none()
    return None if row is None else head_of(row)


def get(conn: sa.Connection, scope: str, id_: str) -> Run | None:
    found = head(conn, scope, id_)
    return None if found is None else with_data(conn, [found])[0]


def with_data(conn: sa.Connection, heads: Sequence[RunHead]) -> list[Run]:
    """The runs with what was logged to them, a few queries for all of them."""
    pks = [one.pk for one in heads]
    tags = tags_of(conn, pks)
    params = pairs_of(conn, _PARAMS_OF, pks)
    links: dict[int, list[Link]] = {pk: [] for pk in pks}
    for run, *link in fetch_of(conn, _LINKS_OF, pks):
        links[run].append(_link(link))
    latest = metrics.latest(conn, pks)
    return [
        Run(head=one, tags=tags[one.pk], params=params[one.pk], metrics=latest[one.pk], links=links[one.pk])
        for one in heads
    ]


def insert(unit: Unit, news: Sequence[NewRun]) -> list[int | None]:
    """Add runs and answer their keys; None where an id is taken."""
    rows = [_values(new, unit.now) for new in news]
    pks = [found[0] if found else None for found in _insert(unit.conn, rows)]
    tags = [
        (pk, key, value) for pk, new in zip(pks, news, strict=True) if pk is not None for key, value in new.tags.items()
    ]
    if tags:
        insert_rows(unit.conn, _SET_TAG, _TAG_TYPES, tags)
    return pks


def _insert(conn: sa.Connection, rows: list[tuple[Any, ...]]) -> list[Any]:
    if conn.dialect.name == "sqlite":
        return [next(iter(fetch_raw(conn, _INSERT, row)), None) for row in rows]
    found = [] if not rows else returned_rows(conn, _INSERT_MANY, _TYPES, rows)
    made = {(scope, id_): (pk,) for pk, scope, id_ in found}
    return [made.pop(row[:2], None) for row in rows]


def _values(new: NewRun, now: int) -> tuple[Any, ...]:
    return (
        new.scope,
        new.id,
        new.experiment,
        new.origin,
        new.status,
        new.display_name,
        new.description,
        new.hidden,
        "active",
        new.parent,
        new.root or new.id,
        new.user,
        new.artifact_uri,
        encode(new.properties),
        now,
        new.started_at,
        now if new.started_at is None else new.started_at,
        now,
    )


def update(unit: Unit, pk: int, **values: Any) -> None:
    """Change columns of one run; `properties` and `error` are given as documents."""
    for name in ("properties", "error"):
        if values.get(name) is not None:
            values[name] = encode(values[name])
    unit.conn.execute(sa.update(_t).where(_t.c.pk == pk).values(**values, modified_at=unit.now))


def set_lifecycles(unit: Unit, experiment: int, lifecycle: str) -> None:
    """Of every run of the experiment with that key."""
    where = sa.and_(_t.c.experiment == experiment, _t.c.lifecycle != lifecycle)
    unit.conn.execute(sa.update(_t).where(where).values(lifecycle=lifecycle, modified_at=unit.now))


def transition(unit: Unit, scope: str, id_: str, expected: tuple[str, ...], new: str, **values: Any) -> bool:
    """Move the status to `new` if it stands in `expected`; False when somebody else was faster."""
    if values.get("error") is not None:
        values["error"] = encode(values["error"])
    where = sa.and_(_t.c.scope == scope, _t.c.id == id_)
    return unit.transition(_t, where, "status", expected, new, **values, modified_at=unit.now)


def set_tags(unit: Unit, pk: int, tags: Mapping[str, str]) -> None:
    if tags:
        insert_rows(unit.conn, _SET_TAG, _TAG_TYPES, [(pk, key, value) for key, value in tags.items()])


def tags(conn: sa.Connection, pk: int) -> dict[str, str]:
    return {row.key: row.value for row in conn.execute(sa.select(_tags.c.key, _tags.c.value).where(_tags.c.run == pk))}


def get_tag(conn: sa.Connection, pk: int, key: str) -> str | None:
    return conn.execute(sa.select(_tags.c.value).where(_tags.c.run == pk, _tags.c.key == key)).scalar_one_or_none()


def delete_tag(unit: Unit, pk: int, key: str) -> bool:
    return unit.conn.execute(sa.delete(_tags).where(_tags.c.run == pk, _tags.c.key == key)).rowcount == 1


def put_params(unit: Unit, pk: int, params: Sequence[tuple[str, str]]) -> tuple[str, str, str] | None:
    """Add params, which never change; the first (key, kept value, other value) that would, or None."""
    if not params:
        return None
    insert_rows(unit.conn, _PUT_PARAM, _TAG_TYPES, [(pk, key, value) for key, value in params])
    kept: dict[str, str] = {}
    for piece in chunks({key for key, _ in params}):
        query = sa.select(_params.c.key, _params.c.value).where(_params.c.run == pk, _params.c.key.in_(piece))
        kept.update((row[0], row[1]) for row in unit.conn.execute(query))
    return next(((key, kept[key], value) for key, value in params if kept[key] != value), None)


def put_links(unit: Unit, pk: int, links: Sequence[Link]) -> None:
    """Add what the run read and made. What it read stays in the order it was told: a model it made has a step, these a place."""
    if not links:
        return
    known: int = unit.conn.execute(
        sa.select(sa.func.count()).where(_links.c.run == pk, _links.c.direction == "input")
    ).scalar_one()
    rows = [
        (
            pk,
            one.direction,
            one.kind,
            one.target,
            known + place if one.direction == "input" else one.step,
            encode(one.detail),
            one.name,
            one.digest,
            one.context,
        )
        for place, one in enumerate(links)
    ]
    run_raw(unit.conn, _LINK, rows)


def datasets(conn: sa.Connection, scope: str, experiments: Sequence[str], limit: int) -> list[DatasetSummary]:
    """What the runs of those experiments (by id) that are not deleted read, each dataset once a context, by name."""
    found: list[DatasetSummary] = []
    for piece in chunks(experiments):
        query = (
            sa.select(_e.c.id, _links.c.name, _links.c.digest, _links.c.context)
            .select_from(_e)
            .join(_t, _t.c.experiment == _e.c.pk)
            .join(_links, _links.c.run == _t.c.pk)
            .where(_e.c.scope == scope, _e.c.id.in_(piece), _t.c.lifecycle == "active")
            .where(_links.c.direction == "input", _links.c.kind == "dataset")
            .distinct()
            .order_by(_links.c.name, _links.c.digest, _links.c.context)
            .limit(limit - len(found))
        )
        found += [
            DatasetSummary(experiment_id=row[0], name=row[1], digest=row[2], context=row[3])
            for row in conn.execute(query)
        ]
    return found


def children(
    conn: sa.Connection, scope: str, parent: str, *, after: int | None = None, limit: int | None = None
) -> list[RunHead]:
    """The runs directly below `parent`, oldest first, from behind the run with the key `after` on."""
    query = _CHILDREN if after is None else _CHILDREN.where(_t.c.pk > after)
    if limit is not None:
        query = query.limit(limit)
    return [head_of(row) for row in conn.execute(query, {"scope": scope, "parent": parent}).all()]


def below(conn: sa.Connection, scope: str, id_: str) -> list[RunHead]:
    """Every run below `id_`, however deep."""
    found: dict[str, RunHead] = {}
    level = [id_]
    while level:
        fresh = [
            run for parent in level for run in children(conn, scope, parent) if run.id not in found and run.id != id_
        ]
        found.update((run.id, run) for run in fresh)
        level = [run.id for run in fresh]
    return list(found.values())


def delete(unit: Unit, pks: Sequence[int]) -> None:
    """Take runs away for good, with all that was logged to them and their jobs."""
    for piece in chunks(pks):
        unit.conn.execute(sa.delete(_t).where(_t.c.pk.in_(piece)))


def tags_of(conn: sa.Connection, pks: Sequence[int]) -> dict[int, dict[str, str]]:
    """The tags of many runs, by their keys."""
    return pairs_of(conn, _TAGS_OF, pks)


def _link(row: Sequence[Any]) -> Link:
    values = dict(zip(Link.__struct_fields__, row, strict=True))
    return Link(**{**values, "detail": decode(values["detail"])})


def head_of(row: Sequence[Any]) -> RunHead:
    """Of a row that begins with `HEAD`."""
    values = dict(zip(RunHead.__struct_fields__, row, strict=False))
    values["properties"] = decode(values["properties"])
    values["error"] = decode(values["error"]) if values["error"] else None
    return RunHead(**values)
