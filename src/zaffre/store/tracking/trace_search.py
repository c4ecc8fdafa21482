"""Searching traces: conditions and an order become one statement; pages go on behind the last row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.tracking.conditions import Condition, Order
from zaffre.store.tracking.search import Key, compare, page
from zaffre.store.tracking.sql import bounded
from zaffre.store.tracking.traces import COLUMNS, METADATA, PROMPT, TAG, Trace, whole
from zaffre.store.unit import encode

NAME, SOURCE_RUN, SESSION = "mlflow.traceName", "mlflow.sourceRun", "mlflow.trace.session"

_t = tables.traces
_e = tables.experiments
_labels = tables.trace_labels.c
_spans = tables.spans.c
_contents = tables.span_contents.c
_assessments = tables.assessments.c
_runs = tables.trace_runs.c

ATTRIBUTES: dict[str, sa.ColumnElement[Any]] = {
    "trace_id": _t.c.id,
    "client_request_id": _t.c.client_request_id,
    "state": _t.c.state,
    "request_time": _t.c.requested_at,
    "execution_duration": _t.c.duration,
    "end_time": _t.c.requested_at + sa.func.coalesce(_t.c.duration, 0),
    "experiment_id": _e.c.id,
}
_ORDERED_LABELS = {"name": (TAG, NAME), "run_id": (METADATA, SOURCE_RUN)}
ORDERED = frozenset({*ATTRIBUTES, *_ORDERED_LABELS})
_OPTIONAL = frozenset({"client_request_id", "execution_duration", *_ORDERED_LABELS})
_YES_AND_NO = ("true", "false", '"yes"', '"no"')
_OF_SPANS = ("span", "span_attribute")
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
    keys = _keys(orders)
    with bounded(conn):
        query = sa.select(*COLUMNS).join(_e, _e.c.pk == _t.c.experiment)
        query = query.where(of(conn, scope, experiments), *wanted(conn, scope, conditions))
        rows = page(conn, query, keys, after, limit)
    names = [column.name for column in COLUMNS]
    traces = whole(conn, [Trace(**dict(zip(names, row, strict=True))) for row, _ in rows])
    return list(zip(traces, [place for _, place in rows], strict=True))


def counts(
    conn: sa.Connection,
    scope: str,
    experiments: Sequence[str],
    base: Sequence[Condition],
    first: Sequence[Condition],
    second: Sequence[Condition],
) -> tuple[int, int, int, int]:
    """Of the traces that fit `base`: how many fit `first`, `second`, both; and how many there are."""

    def fit(conditions: Sequence[Condition]) -> sa.ColumnElement[int]:
        return sa.case((sa.and_(sa.true(), *wanted(conn, scope, conditions)), 1), else_=0)

    with bounded(conn):
        each = (
            sa.select(fit(first).label("first"), fit(second).label("second"))
            .select_from(_t)
            .join(_e, _e.c.pk == _t.c.experiment)
            .where(of(conn, scope, experiments), *wanted(conn, scope, base))
            .subquery()
        )
        a, b = each.c.first, each.c.second
        row = conn.execute(sa.select(sa.func.sum(a), sa.func.sum(b), sa.func.sum(a * b), sa.func.count())).one()
    return row[0] or 0, row[1] or 0, row[2] or 0, row[3]


def of(conn: sa.Connection, scope: str, experiments: Sequence[str]) -> sa.ColumnElement[bool]:
    """Whether a trace is of one of the experiments. Their keys are looked up first: of one, an index has the traces in order."""
    keys = conn.execute(sa.select(_e.c.pk).where(_e.c.scope == scope, _e.c.id.in_(experiments))).scalars().all()
    return _t.c.experiment == keys[0] if len(keys) == 1 else _t.c.experiment.in_(keys)


def wanted(conn: sa.Connection, scope: str, conditions: Sequence[Condition]) -> list[sa.ColumnElement[bool]]:
    """The conditions as SQL. All that is asked of a span is asked of one and the same span."""
    found = [_where(conn, scope, one) for one in conditions if one.entity not in _OF_SPANS]
    counted = [one for one in conditions if one.entity == "span" and one.key in _SPAN]
    told = [one for one in conditions if one.entity in _OF_SPANS and one not in counted]
    spans = [*(compare(conn, _SPAN[one.key], one) for one in counted), *(_told(conn, one) for one in told)]
    if counted and told:
        spans.append(sa.and_(_contents.trace == _spans.trace, _contents.id == _spans.id))
    return [*found, _any(_contents.trace if told else _spans.trace, *spans)] if spans else found


def _keys(orders: Sequence[Order]) -> list[Key]:
    """What to sort by: what is asked, then the newest first. Absent values come last whichever way."""
    keys: list[Key] = []
    for one in orders:
        column = ATTRIBUTES.get(one.key) if one.entity == "attribute" else None
        if column is None:
            column = _value(*_ORDERED_LABELS[one.key]) if one.entity == "attribute" else _value(one.entity, one.key)
        if one.entity != "attribute" or one.key in _OPTIONAL:
            keys.append((sa.case((column.is_(None), 1), else_=0), False))
            empty: Any = "" if isinstance(column.type, sa.Text) else 0
            column = sa.func.coalesce(column, sa.literal(empty, column.type))
        keys.append((column, one.descending))
    if not any((one.entity, one.key) == ("attribute", "request_time") for one in orders):
        keys.append((_t.c.requested_at, True))
    return [*keys, (_t.c.pk, True)]


def _where(conn: sa.Connection, scope: str, condition: Condition) -> sa.ColumnElement[bool]:
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
    if condition.entity == "issue":  # an assessment that names the issue it is about
        return _any(_assessments.trace, _assessments.kind == "issue", _assessments.name == condition.value)
    if condition.entity in ("feedback", "expectation"):
        return _assessed(conn, scope, condition)
    return _label(conn, TAG if condition.entity == "tag" else METADATA, condition.key, condition)


def _told(conn: sa.Connection, condition: Condition) -> sa.ColumnElement[bool]:
    """What a span says: one of its attributes, or any of its text."""
    if condition.entity == "span_attribute":
        return compare(conn, _attribute(conn, condition.key), condition)
    # The text is JSON, in which quotes and ends of lines look otherwise than where they are read.
    pattern = str(condition.value)
    written = encode(pattern)[1:-1]
    either = [msgspec.structs.replace(condition, value=one) for one in dict.fromkeys((pattern, written))]
    return sa.or_(*(compare(conn, _contents.text, one) for one in either))


def _attribute(conn: sa.Connection, key: str) -> sa.ColumnElement[Any]:
    """As a text: what is no text itself as JSON."""
    if conn.dialect.name == "postgresql":
        document = sa.cast(_contents.text, sa.JSON)
        return document.op("->", return_type=sa.JSON())("attributes").op("->>", return_type=sa.Text())(key)
    path = f'$.attributes."{key}"'
    kind, value = sa.func.json_type(_contents.text, path), sa.func.json_extract(_contents.text, path)
    return sa.case((kind == "true", "true"), (kind == "false", "false"), else_=sa.cast(value, sa.Text))


def _assessed(conn: sa.Connection, scope: str, condition: Condition) -> sa.ColumnElement[bool]:
    """Whether people or judges said that of the trace, or of the whole session it is of."""
    here = [
        _assessments.kind == condition.entity,
        _assessments.name == condition.key,
        _assessments.valid.is_(sa.true()),
    ]
    if isinstance(condition.value, (int, float)):  # yes and no are counted as numbers, but are none
        here += [compare(conn, _assessments.number, condition), _assessments.json.not_in(_YES_AND_NO)]
    elif condition.op not in ("IS NULL", "IS NOT NULL"):
        here.append(compare(conn, _assessments.value, condition))
    session = (_labels.kind == METADATA, _labels.key == SESSION)
    sessions = (
        sa.select(_labels.value)
        .join(tables.assessments, _assessments.trace == _labels.trace)
        .join(_t, _t.c.pk == _labels.trace)
        .where(_t.c.scope == scope, *session, *here, _assessments.body.contains(f'"{SESSION}":', autoescape=True))
    )
    found = _any(_assessments.trace, *here)
    # Few assessments are of a session; where none is, the traces need not be asked for theirs.
    if conn.execute(sessions.limit(1)).first() is not None:
        found = sa.or_(found, _any(_labels.trace, *session, _labels.value.in_(sessions.correlate(None))))
    return ~found if condition.op == "IS NULL" else found


def _label(conn: sa.Connection, kind: str, key: str, condition: Condition) -> sa.ColumnElement[bool]:
    here = (_labels.kind == kind, _labels.key == key)
    if condition.op == "IS NULL":
        return ~_any(_labels.trace, *here)
    if condition.op == "IS NOT NULL":
        return _any(_labels.trace, *here)
    return _any(_labels.trace, *here, compare(conn, _labels.value, condition))


def _any(trace: sa.ColumnElement[Any], *where: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.exists(sa.select(sa.literal(1)).where(trace == _t.c.pk, *where))


def _value(kind: str, key: str) -> sa.ScalarSelect[Any]:
    return (
        sa.select(_labels.value)
        .where(_labels.trace == _t.c.pk, _labels.kind == kind, _labels.key == key)
        .scalar_subquery()
    )
