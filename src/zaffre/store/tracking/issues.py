"""Issues: what was found wrong with the traces of an experiment. Which traces, their assessments say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.tracking.conditions import Condition
from zaffre.store.tracking.search import Key, compare, page
from zaffre.store.unit import Unit

_t, _e, _r = tables.issues, tables.experiments, tables.runs
_a, _traces = tables.assessments, tables.traces

SEVERITIES = ("not_an_issue", "low", "medium", "high")
"""The lightest first."""
ISSUE = "issue"  # the kind of assessment that names the issue its trace shows


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """`experiment_id` and `source_run_id` are what clients call them; `traces` is None where nobody counted."""

    id: str
    experiment_id: str
    name: str
    description: str
    status: str
    severity: str | None
    root_causes: list[str]
    categories: list[str]
    source_run_id: str | None
    created_by: str | None
    created_at: int
    modified_at: int
    traces: int | None = None


_ELSEWHERE = {"experiment_id": _e.c.id, "source_run_id": _r.c.id}
_COLUMNS = [
    _ELSEWHERE[name].label(name) if name in _ELSEWHERE else _t.c[name]
    for name in Issue.__struct_fields__
    if name != "traces"
]
_JOINED = sa.join(_t, _e, _e.c.pk == _t.c.experiment).outerjoin(_r, _r.c.pk == _t.c.source_run)
_SELECT = sa.select(*_COLUMNS).select_from(_JOINED)
_SEARCHED = {"status": _t.c.status, "source_run_id": _r.c.id}
_RANK = sa.case({word: rank for rank, word in enumerate(SEVERITIES)}, value=_t.c.severity, else_=-1)
_texts: msgspec.json.Decoder[list[str]] = msgspec.json.Decoder(list[str])


def insert(unit: Unit, scope: str, id_: str, *, root_causes: list[str], categories: list[str], **values: Any) -> None:
    """Add an issue; `experiment` and `source_run` are keys."""
    lists = {"root_causes": _encode(root_causes), "categories": _encode(categories)}
    times = {"created_at": unit.now, "modified_at": unit.now}
    unit.conn.execute(sa.insert(_t).values(scope=scope, id=id_, **lists, **values, **times))


def get(conn: sa.Connection, scope: str, id_: str) -> Issue | None:
    row = conn.execute(_SELECT.where(_t.c.scope == scope, _t.c.id == id_)).mappings().one_or_none()
    return None if row is None else _issue({**row})


def update(unit: Unit, scope: str, id_: str, values: dict[str, Any]) -> bool:
    """Change an issue; False when there is none."""
    statement = sa.update(_t).where(_t.c.scope == scope, _t.c.id == id_)
    return unit.conn.execute(statement.values(**values, modified_at=unit.now)).rowcount == 1


def search(
    conn: sa.Connection,
    scope: str,
    experiment_id: str | None,
    conditions: Sequence[Condition],
    after: Sequence[Any] | None,
    limit: int,
    *,
    counted: bool,
) -> list[tuple[Issue, list[Any]]]:
    """Up to `limit` issues, each with its place: the gravest first, those in most traces if they are `counted`, the newest.

    Raises ValueError when `after` does not fit.
    """
    source, columns = _JOINED, list(_COLUMNS)
    keys: list[Key] = [(_RANK, True), (_t.c.created_at, True), (_t.c.id, True)]
    if counted:
        found = _counts(scope)
        source = source.outerjoin(found, found.c.pk == _t.c.pk)
        number = sa.func.coalesce(found.c.traces, 0)
        columns.append(number.label("traces"))
        keys.insert(1, (number, True))
    query = sa.select(*columns).select_from(source)
    query = query.where(_t.c.scope == scope, *(compare(conn, _SEARCHED[one.key], one) for one in conditions))
    if experiment_id is not None:
        query = query.where(_e.c.id == experiment_id)
    names = [column.name for column in columns]
    rows = page(conn, query, keys, after, limit)
    return [(_issue(dict(zip(names, row, strict=True))), place) for row, place in rows]


def _counts(scope: str) -> sa.Subquery:
    """In how many traces of the workspace each of its issues was found."""
    # Asked of each row found: joined, SQLite would begin with all traces there are.
    of_trace = sa.select(_traces.c.scope).where(_traces.c.pk == _a.c.trace).scalar_subquery()
    # A literal: that is how the index says it.
    named = sa.and_(_a.c.kind == sa.literal_column(f"'{ISSUE}'"), _a.c.name == _t.c.id)
    return (
        sa.select(_t.c.pk, sa.func.count(_a.c.trace.distinct()).label("traces"))
        .select_from(_t.join(_a, named))
        .where(_t.c.scope == scope, of_trace == scope)
        .group_by(_t.c.pk)
        .subquery()
    )


def _encode(texts: list[str]) -> str:
    return msgspec.json.encode(texts).decode()


def _issue(row: dict[str, Any]) -> Issue:
    values = {name: row[name] for name in Issue.__struct_fields__ if name in row}
    lists = {name: _texts.decode(row[name]) for name in ("root_causes", "categories")}
    return Issue(**{**values, **lists})
