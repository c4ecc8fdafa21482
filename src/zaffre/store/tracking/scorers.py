"""Scorers: what judges an experiment's traces, kept in versions that are numbered from 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.inserts import insert
from zaffre.store.tracking.sql import chunks
from zaffre.store.unit import Unit

_t, _v, _o, _e = tables.scorers, tables.scorer_versions, tables.online_scoring_configs, tables.experiments


class ScorerVersion(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is the scorer's, whatever its version; `experiment_id` is what clients call the experiment, whose key is `experiment`."""

    scorer: int
    id: str
    experiment: int
    experiment_id: str
    name: str
    version: int
    serialized: str
    created_at: int


class OnlineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what arrives a scorer is to judge by itself. `filter` is None where nobody asked for a choice."""

    id: str
    scorer_id: str
    experiment_id: str
    sample_rate: float
    filter: str | None


_VERSIONS = (
    sa.select(
        _v.c.scorer,
        _t.c.id,
        _t.c.experiment,
        _e.c.id.label("experiment_id"),
        _t.c.name,
        _v.c.version,
        _v.c.serialized,
        _v.c.created_at,
    )
    .join(_t, _t.c.pk == _v.c.scorer)
    .join(_e, _e.c.pk == _t.c.experiment)
)
_CONFIGS = (
    sa.select(_o.c.id, _t.c.id.label("scorer_id"), _e.c.id.label("experiment_id"), _o.c.sample_rate, _o.c.filter)
    .join(_t, _t.c.pk == _o.c.scorer)
    .join(_e, _e.c.pk == _t.c.experiment)
)
_other = _v.alias()
_IS_NEWEST = ~sa.exists().where(_other.c.scorer == _v.c.scorer, _other.c.version > _v.c.version)


def add(unit: Unit, scope: str, id_: str, experiment: int, name: str, serialized: str) -> ScorerVersion:
    """Add a version behind the newest there is. `id_` becomes the scorer's where it has none yet.

    The scorer's row is written in any case: who adds at the same time waits for that, and counts on.
    """
    statement = insert(unit.conn, _t).values(scope=scope, id=id_, experiment=experiment, name=name)
    statement = statement.on_conflict_do_update(
        index_elements=[_t.c.experiment, _t.c.name], set_={"name": statement.excluded.name}
    )
    scorer = unit.conn.execute(statement.returning(_t.c.pk)).scalar_one()
    newest = unit.conn.execute(sa.select(sa.func.max(_v.c.version)).where(_v.c.scorer == scorer)).scalar_one() or 0
    row = {"scorer": scorer, "version": newest + 1, "serialized": serialized, "created_at": unit.now}
    unit.conn.execute(sa.insert(_v).values(row))
    made = version(unit.conn, experiment, name, newest + 1)
    assert made is not None, "the version was inserted in this transaction"
    return made


def newest(conn: sa.Connection, experiment: int) -> list[ScorerVersion]:
    """The newest version of each scorer of an experiment, by their names."""
    return _all(conn, _VERSIONS.where(_t.c.experiment == experiment, _IS_NEWEST).order_by(_t.c.name))


def versions(conn: sa.Connection, experiment: int, name: str) -> list[ScorerVersion]:
    """All of one scorer, the first one first."""
    query = _VERSIONS.where(_t.c.experiment == experiment, _t.c.name == name)
    return _all(conn, query.order_by(_v.c.version))


def version(conn: sa.Connection, experiment: int, name: str, number: int | None) -> ScorerVersion | None:
    """One version of a scorer; the newest where no number is given."""
    which = _IS_NEWEST if number is None else _v.c.version == number
    found = _all(conn, _VERSIONS.where(_t.c.experiment == experiment, _t.c.name == name, which))
    return found[0] if found else None


def lock(unit: Unit, experiment: int, name: str) -> int | None:
    """The scorer's key; nobody changes it or adds a version before this transaction ends."""
    query = sa.select(_t.c.pk).where(_t.c.experiment == experiment, _t.c.name == name)
    return unit.conn.execute(query.with_for_update()).scalar_one_or_none()


def delete(unit: Unit, scorer: int, number: int | None) -> bool:
    """Delete one version, or all; with the last one the scorer goes, and how it judged by itself. False: no such version."""
    if number is not None:
        gone = unit.conn.execute(sa.delete(_v).where(_v.c.scorer == scorer, _v.c.version == number))
        if gone.rowcount == 0:
            return False
        if unit.conn.execute(sa.select(_v.c.version).where(_v.c.scorer == scorer).limit(1)).first() is not None:
            return True
    unit.conn.execute(sa.delete(_t).where(_t.c.pk == scorer))
    return True


def put_config(unit: Unit, scorer: int, id_: str, sample_rate: float, filter_: str | None) -> OnlineConfig:
    """Set how a scorer judges by itself; the config is another one then, with an id of its own."""
    values: dict[str, Any] = {"id": id_, "sample_rate": sample_rate, "filter": filter_}
    statement = insert(unit.conn, _o).values(scorer=scorer, **values)
    unit.conn.execute(statement.on_conflict_do_update(index_elements=[_o.c.scorer], set_=values))
    row = unit.conn.execute(_CONFIGS.where(_o.c.scorer == scorer)).mappings().one()
    return OnlineConfig(**row)


def configs(conn: sa.Connection, scope: str, ids: Sequence[str]) -> list[OnlineConfig]:
    """Those of the scorers with these ids that have one."""
    found: list[OnlineConfig] = []
    for piece in chunks(dict.fromkeys(ids)):
        query = _CONFIGS.where(_t.c.scope == scope, _t.c.id.in_(piece)).order_by(_t.c.pk)
        found += [OnlineConfig(**row) for row in conn.execute(query).mappings()]
    return found


def _all(conn: sa.Connection, query: sa.Select[Any]) -> list[ScorerVersion]:
    return [ScorerVersion(**row) for row in conn.execute(query).mappings()]
