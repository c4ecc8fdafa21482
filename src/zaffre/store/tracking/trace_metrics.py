"""Figures over many traces, their spans or their assessments: counted, added up and ranked by the database, group by group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.tracking.search import Key, behind, fits_all
from zaffre.store.tracking.sql import bounded
from zaffre.store.tracking.trace_search import NAME, SESSION, SOURCE_RUN, of
from zaffre.store.tracking.traces import COSTS, METADATA, TAG, TOKENS

TRACES, SPANS, ASSESSMENTS = "TRACES", "SPANS", "ASSESSMENTS"
COUNT, SUM, AVG, MIN, MAX, PERCENTILE = "COUNT", "SUM", "AVG", "MIN", "MAX", "PERCENTILE"
TIME_BUCKET, SESSION_COUNT = "time_bucket", "session_count"

_t = tables.traces
_labels = tables.trace_labels.c
_named = tables.trace_labels.alias("named")
_session = tables.trace_labels.alias("session")
_runs = tables.trace_runs.c
_spans = tables.spans.c
_assessments = tables.assessments.c

VALUES: dict[tuple[str, str], sa.ColumnElement[Any]] = {
    (TRACES, "trace_count"): sa.literal(1),
    (TRACES, "session_count"): _session.c.value,
    (TRACES, "latency"): _t.c.duration,
    **{(TRACES, name): _t.c[name] for name in TOKENS},
    (SPANS, "span_count"): sa.literal(1),
    (SPANS, "latency"): (_spans.ended_ns - _spans.started_ns) // 1_000_000,
    **{(SPANS, name): _spans[name] for name in COSTS},
    (ASSESSMENTS, "assessment_count"): sa.literal(1),
    (ASSESSMENTS, "assessment_value"): _assessments.number,
}
"""What is counted or added up, by view and MLflow's name. Latencies in milliseconds, costs in US dollars."""
DIMENSIONS: dict[str, sa.ColumnElement[Any]] = {
    "trace_name": _named.c.value,
    "trace_status": _t.c.state,
    "span_name": _spans.name,
    "span_type": _spans.type,
    "span_status": _spans.status,
    "span_model_name": _spans.model,
    "span_model_provider": _spans.provider,
    "assessment_name": _assessments.name,
    "assessment_value": _assessments.json,
}
FILTERS: dict[tuple[str, str], sa.ColumnElement[Any]] = {
    ("trace", "status"): _t.c.state,
    ("span", "name"): _spans.name,
    ("span", "status"): _spans.status,
    ("span", "type"): _spans.type,
    ("assessment", "name"): _assessments.name,
    ("assessment", "type"): _assessments.kind,
}
"""What a filter compares, by the two first words of its name; tags and metadata of traces have a third."""
_TIMES = {TRACES: _t.c.requested_at, SPANS: _spans.started_ns // 1_000_000, ASSESSMENTS: _assessments.created_at}
_JOINED = {SPANS: tables.spans, ASSESSMENTS: tables.assessments}


class Aggregation(msgspec.Struct, frozen=True):
    """`percentile` of 0 to 100 goes with PERCENTILE only."""

    kind: str
    percentile: float | None = None

    @property
    def name(self) -> str:
        return self.kind if self.percentile is None else f"P{self.percentile}"


class Filter(msgspec.Struct, frozen=True):
    """Equality. `key` is of a tag or metadata."""

    entity: str
    field: str
    key: str | None
    value: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Times in milliseconds; `since` and `until` are those of the traces, whatever is counted."""

    experiments: Sequence[str]
    view: str
    metric: str
    aggregations: Sequence[Aggregation]
    dimensions: Sequence[str] = ()
    filters: Sequence[Filter] = ()
    interval: int | None = None
    since: int | None = None
    until: int | None = None


class Group(msgspec.Struct, frozen=True):
    """`place` are its dimensions in their order, the beginning of its time before them; `values` by the aggregation's name."""

    place: list[Any]
    values: dict[str, float]


def groups(conn: sa.Connection, scope: str, asked: Asked, after: Sequence[Any] | None, limit: int) -> list[Group]:
    """Up to `limit` groups in the order of their places. Raises ValueError when `after` does not fit.

    Rows without a value, or without one of the dimensions, are in no group.
    """
    keys = _keys(asked)
    if after is not None and not fits_all(keys, after):
        raise ValueError("the place belongs to another question")
    value = VALUES[asked.view, asked.metric]
    if asked.metric != SESSION_COUNT:
        value = sa.cast(value, sa.Double)
    names = [f"place_{index}" for index in range(len(keys))]
    rows = _rows(asked).where(
        of(conn, scope, asked.experiments), value.is_not(None), *(key.is_not(None) for key, _ in keys)
    )
    if after is not None:
        rows = rows.where(behind(keys, after))
    columns = [key.label(name) for name, (key, _) in zip(names, keys, strict=True)]
    inner = rows.add_columns(*columns, value.label("value")).subquery()
    kinds = _of_rows
    if any(one.kind == PERCENTILE for one in asked.aggregations):
        inner, kinds = _ranked(inner, names), _of_ranked
    elif asked.metric == SESSION_COUNT:
        kinds = _of_sessions
    place = [inner.c[name] for name in names]
    found = [kinds(one, inner).label(f"value_{index}") for index, one in enumerate(asked.aggregations)]
    query = sa.select(*place, *found).group_by(*place).order_by(*place).limit(limit)
    with bounded(conn):
        answered = conn.execute(query).all()
    return [
        Group(
            list(row[: len(names)]),
            {
                one.name: float(given)
                for one, given in zip(asked.aggregations, row[len(names) :], strict=True)
                if given is not None
            },
        )
        for row in answered
    ]


def _keys(asked: Asked) -> list[Key]:
    keys: list[Key] = []
    if asked.interval is not None:
        at, size = _TIMES[asked.view], sa.literal(asked.interval, sa.BigInteger)
        # Twice, since the rest of a time before 1970 is negative: its interval begins before it too.
        keys.append((at - (at % size + size) % size, False))
    return [*keys, *((DIMENSIONS[name], False) for name in asked.dimensions)]


def _rows(asked: Asked) -> sa.Select[Any]:
    source: sa.FromClause = _t
    joined = _JOINED.get(asked.view)
    if joined is not None:
        source = source.join(joined, joined.c.trace == _t.c.pk)
    if asked.metric == SESSION_COUNT:
        session = sa.and_(_session.c.trace == _t.c.pk, _session.c.kind == METADATA, _session.c.key == SESSION)
        source = source.join(_session, session)
    if "trace_name" in asked.dimensions:
        named = sa.and_(_named.c.trace == _t.c.pk, _named.c.kind == TAG, _named.c.key == NAME)
        source = source.join(_named, named)
    where = [_fits(one) for one in asked.filters]
    if asked.view == ASSESSMENTS:
        where.append(_assessments.valid.is_(sa.true()))  # what was overridden counts no more
    if asked.since is not None:
        where.append(_t.c.requested_at >= asked.since)
    if asked.until is not None:
        where.append(_t.c.requested_at <= asked.until)
    return sa.select().select_from(source).where(*where)


def _fits(one: Filter) -> sa.ColumnElement[bool]:
    if one.key is None:
        return FILTERS[one.entity, one.field] == one.value
    kind = TAG if one.field == "tag" else METADATA
    here = (_labels.trace == _t.c.pk, _labels.kind == kind, _labels.key == one.key, _labels.value == one.value)
    found = sa.exists(sa.select(sa.literal(1)).where(*here))
    if (kind, one.key) != (METADATA, SOURCE_RUN):
        return found
    linked = (_runs.scope == _t.c.scope, _runs.trace == _t.c.id, _runs.run == one.value)
    return sa.or_(found, sa.exists(sa.select(sa.literal(1)).where(*linked)))


def _of_sessions(one: Aggregation, rows: sa.Subquery) -> sa.ColumnElement[Any]:
    return sa.func.count(sa.distinct(rows.c.value))


def _of_rows(one: Aggregation, rows: sa.Subquery) -> sa.ColumnElement[Any]:
    return sa.Function(one.kind.lower(), rows.c.value, type_=sa.Double())


def _ranked(rows: sa.Subquery, names: Sequence[str]) -> sa.Subquery:
    """The different values of each group with how many there are, how many up to there, and how many in all.

    Latencies repeat, so that these are few: ranking them costs a fifth of ranking every row. It needs no percentile_cont,
    which SQLite lacks, nor a function in Python, which it would call for each row.
    """
    place = [rows.c[name] for name in names]
    values = sa.select(*place, rows.c.value, sa.func.count().label("count")).group_by(*place, rows.c.value).subquery()
    within = [values.c[name] for name in names]
    upto = sa.func.sum(values.c["count"]).over(partition_by=within, order_by=values.c.value).label("upto")
    size = sa.func.sum(values.c["count"]).over(partition_by=within).label("size")
    return sa.select(values, upto, size).subquery()


def _of_ranked(one: Aggregation, rows: sa.Subquery) -> sa.ColumnElement[Any]:
    value, count, upto, size = (sa.cast(rows.c[name], sa.Double) for name in ("value", "count", "upto", "size"))
    match one.kind:
        case "COUNT":
            return sa.func.sum(count)
        case "SUM":
            return sa.func.sum(value * count)
        case "AVG":
            return sa.func.sum(value * count) / sa.func.sum(count)
        case "MIN" | "MAX":
            return _of_rows(one, rows)
    # Where it falls on among the sorted rows, counted from 0; between two rows, in proportion. The row below is of the last
    # value that begins no later, the row above of the first that ends no earlier. Where the two differ, the row below is
    # the last of its value.
    at = (size - 1) * ((one.percentile or 0.0) / 100)
    begins = upto - count <= at
    low, high = sa.func.max(sa.case((begins, value))), sa.func.min(sa.case((upto - 1 >= at, value)))
    between: sa.ColumnElement[Any] = sa.func.max(at) - sa.func.max(sa.case((begins, upto - 1)))
    return sa.case((low == high, low), else_=low + (high - low) * between)
