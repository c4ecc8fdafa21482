"""Searching traces: conditions and an order become one statement; pages go on behind the last row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.tracking.conditions import Condition, Order
from zaffre.store.tracking.search import behind, compare, fits
from zaffre.store.tracking.traces import COLUMNS, METADATA, PROMPT, TAG, Trace, whole

NAME, SOURCE_RUN = "mlflow.traceName", "mlflow.sourceRun"

_t = tables.traces
_e = tables.experiments
_labels = tables.trace_labels.c
_spans = tables.spans.c
_assessments = tables.assessments.c
_runs = tables.trace_runs.c

ATTRIBUTES: dict[str, sa.ColumnElement[Any]] = {
    "trace_id": _t.c.id,
    "client_request_id": _t.c.client_request_id,
    "state": _t.c.state,
    "request_time": _t.c.requested_at,
    "execution_duration": _t.c.duration,
    "end_time": _t.c.requested_at + _t.c.duration,
}
_SPAN = {"name": _spans.name, "type": _spans.type, "status": _spans.status}


def search(
    conn: sa.Connection,
    scope: str,
    experiments: Sequence[str],
    conditions: Sequence[Condition],
    orders: Sequence[Order],
    after: Sequence[Any] | None,
    limit: int,
) -> list[tuple[Trace, list[Any]]]:
    """Up to `limit` traces, each with its place. Raises ValueError when `after` does not fit the order."""
    keys: list[tuple[sa.ColumnElement[Any], bool]]
    keys = [(sa.func.coalesce(ATTRIBUTES[one.key], _least(one.key)), one.descending) for one in orders]
    if not any(one.key == "request_time" for one in orders):
        keys.append((_t.c.requested_at, True))
    keys.append((_t.c.pk, True))
    if after is not None and not (
        len(after) == len(keys) and all(fits(key, value) for (key, _), value in zip(keys, after, strict=True))
    ):
        raise ValueError("the place belongs to another order")
    query = (
        sa.select(*COLUMNS, *(key.label(f"place_{index}") for index, (key, _) in enumerate(keys)))
        .join(_e, _e.c.pk == _t.c.experiment)
        .where(_e.c.scope == scope, _e.c.id.in_(experiments), *(_where(conn, one) for one in conditions))
        .order_by(*(key.desc() if down else key.asc() for key, down in keys))
        .limit(limit)
    )
    rows = conn.execute(query if after is None else query.where(behind(keys, after))).mappings().all()
    names = [column.name for column in COLUMNS]
    traces = whole(conn, [Trace(**{name: row[name] for name in names}) for row in rows])
    places = [[row[f"place_{index}"] for index in range(len(keys))] for row in rows]
    return list(zip(traces, places, strict=True))


def counts(
    conn: sa.Connection,
    scope: str,
    experiments: Sequence[str],
    base: Sequence[Condition],
    first: Sequence[Condition],
    second: Sequence[Condition],
) -> tuple[int, int, int, int]:
    """Of the traces that fit `base`: how many fit `first`, `second`, both; and how many there are."""

    def fits_all(conditions: Sequence[Condition]) -> sa.ColumnElement[int]:
        return sa.case((sa.and_(sa.true(), *(_where(conn, one) for one in conditions)), 1), else_=0)

    each = (
        sa.select(fits_all(first).label("first"), fits_all(second).label("second"))
        .select_from(_t)
        .join(_e, _e.c.pk == _t.c.experiment)
        .where(_e.c.scope == scope, _e.c.id.in_(experiments), *(_where(conn, one) for one in base))
        .subquery()
    )
    a, b = each.c.first, each.c.second
    row = conn.execute(sa.select(sa.func.sum(a), sa.func.sum(b), sa.func.sum(a * b), sa.func.count())).one()
    return row[0] or 0, row[1] or 0, row[2] or 0, row[3]


def _least(key: str) -> Any:
    return "" if isinstance(ATTRIBUTES[key].type, sa.Text) else 0


def _where(conn: sa.Connection, condition: Condition) -> sa.ColumnElement[bool]:
    if condition.entity == "attribute" and condition.key in ATTRIBUTES:
        return compare(conn, ATTRIBUTES[condition.key], condition)
    if condition.entity == "attribute" and condition.key == "run_id":
        links = sa.select(sa.literal(1)).where(_runs.scope == _t.c.scope, _runs.trace == _t.c.id)
        linked = sa.exists(links.where(compare(conn, _runs.run, condition)))
        return sa.or_(_label(conn, METADATA, SOURCE_RUN, condition), linked)
    if condition.entity == "attribute" and condition.key == "prompt":
        return _any(_labels.trace, _labels.kind == PROMPT, _labels.key == condition.value)
    if condition.entity == "attribute":
        return _label(conn, TAG, NAME, condition)
    if condition.entity == "span":
        return _any(_spans.trace, compare(conn, _SPAN[condition.key], condition))
    if condition.entity in ("feedback", "expectation"):
        here = [
            _assessments.kind == condition.entity,
            _assessments.name == condition.key,
            _assessments.valid.is_(sa.true()),
        ]
        if condition.op in ("IS NULL", "IS NOT NULL"):
            found = _any(_assessments.trace, *here)
            return ~found if condition.op == "IS NULL" else found
        return _any(_assessments.trace, *here, compare(conn, _assessments.value, condition))
    return _label(conn, TAG if condition.entity == "tag" else METADATA, condition.key, condition)


def _label(conn: sa.Connection, kind: str, key: str, condition: Condition) -> sa.ColumnElement[bool]:
    here = (_labels.kind == kind, _labels.key == key)
    if condition.op == "IS NULL":
        return ~_any(_labels.trace, *here)
    if condition.op == "IS NOT NULL":
        return _any(_labels.trace, *here)
    return _any(_labels.trace, *here, compare(conn, _labels.value, condition))


def _any(trace: sa.ColumnElement[Any], *where: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.exists(sa.select(sa.literal(1)).where(trace == _t.c.pk, *where))
