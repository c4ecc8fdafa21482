"""Metrics: the hot path. A point is its own key, so a batch sent twice changes nothing.

Beside every point stands the newest one of its run and key, by (step, timestamp, value) as MLflow orders them, so that
listing and sorting runs never reads a history.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.raw import fetch_of, fetch_raw, insert_rows, run_raw
from zaffre.store.tracking.records import ModelPoint, PlainPoint, Point
from zaffre.store.tracking.sql import chunks
from zaffre.store.unit import Unit

_t = tables.metrics

_COLUMNS = '"run", "key", "step", "timestamp", "value", "is_nan", "model_id", "dataset"'
_TYPES = ("bigint", "text", "bigint", "bigint", "float8", "boolean", "text", "text")
_INSERT_NEW = f'INSERT INTO "metrics" ({_COLUMNS}) VALUES'
_INSERT = f"{_INSERT_NEW} ON CONFLICT DO NOTHING"
_NEWER = """((excluded."step", excluded."timestamp", excluded."value")
 > ("latest_metrics"."step", "latest_metrics"."timestamp", "latest_metrics"."value"))"""
_LOWER, _HIGHER = '(excluded."low" < "latest_metrics"."low")', '(excluded."high" > "latest_metrics"."high")'


def _either(condition: str, *columns: str) -> str:
    return ", ".join(
        f'"{name}" = CASE WHEN {condition} THEN excluded."{name}" ELSE "latest_metrics"."{name}" END'
        for name in columns
    )


_LATEST_TYPES = (*_TYPES, "bigint", "float8", "bigint", "float8", "bigint")
_UPSERT_LATEST = f"""INSERT INTO "latest_metrics" ({_COLUMNS}, "experiment", "low", "low_step", "high", "high_step") VALUES
ON CONFLICT ("run", "key") DO UPDATE SET
{_either(_NEWER, "step", "timestamp", "value", "is_nan", "model_id", "dataset")},
{_either(_LOWER, "low", "low_step")}, {_either(_HIGHER, "high", "high_step")}
WHERE {_NEWER} OR {_LOWER} OR {_HIGHER}"""

_LATEST = f'SELECT {_COLUMNS} FROM "latest_metrics" WHERE "run" IN KEYS ORDER BY "run", "key"'
_ORDER = '"step", "timestamp", "value", "is_nan"'
# MLflow sends a run's points again for each model it logs; in the history of the run each stands once.
_HISTORY = (
    f'SELECT "run", "key", {_ORDER}, MIN("model_id"), MIN("dataset") FROM "metrics" WHERE "run" = ? AND "key" = ?'
)

_PLAIN = (
    'SELECT "step", "timestamp", "value", ("is_nan" OR "model_id" <> \'\' OR "dataset" <> \'\') '
    'FROM "metrics" WHERE "run" = ? AND "key" = ?'
)
_BEHIND = f" AND ({_ORDER}) > (?, ?, ?, ?)"

_NOWHERE: tuple[None, ...] = (None,) * 8
_SERIES = operator.itemgetter(0, 1)
_MANY = 100
"""Points, from which on it pays to try without `ON CONFLICT`, for a savepoint's way to PostgreSQL."""

_Row = tuple[int, str, int, int, float, bool, str, str]
Place = tuple[int, int, float, bool]
"""Where a point stands in its history; the last says that the value is NaN."""


def log(unit: Unit, logged: Iterable[tuple[int, int, Sequence[Point]]]) -> None:
    """Add points to runs, each given by its key and its experiment's.

    Sorted, so that two writers take PostgreSQL's locks in the same order.
    """
    experiments: dict[int, int] = {}
    rows: list[_Row] = []
    for run, experiment, points in logged:
        experiments[run] = experiment
        rows += [_row(run, point) for point in points]
    if not rows:
        return
    rows.sort()
    _add(unit.conn, rows)
    insert_rows(unit.conn, _UPSERT_LATEST, _LATEST_TYPES, _summaries(rows, experiments))


def latest(conn: sa.Connection, runs: Sequence[int]) -> dict[int, list[Point]]:
    """The newest value of each metric, by run."""
    found: dict[int, list[Point]] = {run: [] for run in runs}
    for row in fetch_of(conn, _LATEST, runs):
        found[row[0]].append(_point(row))
    return found


def plain_history(
    conn: sa.Connection, run: int, key: str, *, after: Place | None = None, limit: int | None = None
) -> list[PlainPoint] | None:
    """What `history` answers, in a third of the time; None where a point has more to say than such a one can."""
    query, values = f"{_PLAIN}{_BEHIND if after else ''} ORDER BY {_ORDER}", (run, key, *(after or ()))
    if limit is not None:
        query, values = f"{query} LIMIT ?", (*values, limit)
    rows = fetch_raw(conn, query, values)
    if any(row[3] for row in rows) or not all(map(math.isfinite, [row[2] for row in rows])):
        return None
    return [PlainPoint(key, value, timestamp, step) for step, timestamp, value, _ in rows]


def history(
    conn: sa.Connection,
    run: int,
    key: str,
    *,
    after: Place | None = None,
    steps: tuple[int, int] | None = None,
    limit: int | None = None,
) -> list[Point]:
    """Every point of one metric by (step, timestamp, value), from behind `after` on, within `steps` (both ends in)."""
    query = _HISTORY
    values: tuple[Any, ...] = (run, key)
    if after is not None:
        query, values = f"{query}{_BEHIND}", (*values, *after)
    if steps is not None:
        query, values = f'{query} AND "step" BETWEEN ? AND ?', (*values, *steps)
    query = f'{query} GROUP BY "run", "key", {_ORDER} ORDER BY {_ORDER}'
    if limit is not None:
        query, values = f"{query} LIMIT ?", (*values, limit)
    return [_point(row) for row in fetch_raw(conn, query, values)]


def place(point: Point | PlainPoint) -> Place:
    """Where `history` goes on behind this point."""
    nan = math.isnan(point.value)
    return point.step, point.timestamp, 0.0 if nan else point.value, nan


def of_models(conn: sa.Connection, scope: str, models: Sequence[str]) -> dict[str, list[ModelPoint]]:
    """The newest value a run measured of each metric, by logged model."""
    runs = tables.runs
    found: dict[str, dict[tuple[Any, ...], ModelPoint]] = {model: {} for model in models}
    for piece in chunks(models):
        query = (
            sa.select(_t, runs.c.id)
            .join(runs, runs.c.pk == _t.c.run)
            # The second condition lets both databases use the partial index.
            .where(_t.c.model_id.in_(piece), _t.c.model_id != "", runs.c.scope == scope)
            .order_by(_t.c.step, _t.c.timestamp, _t.c.value)
        )
        for row in conn.execute(query):
            point = _point(row)
            found[point.model_id][(row[-1], point.key, point.dataset)] = ModelPoint(run_id=row[-1], point=point)
    return {model: list(points.values()) for model, points in found.items()}


def _row(run: int, point: Point) -> _Row:
    nan = math.isnan(point.value)
    dataset = msgspec.json.encode(point.dataset).decode() if point.dataset else ""
    return run, point.key, point.step, point.timestamp, 0.0 if nan else point.value, nan, point.model_id, dataset


def _add(conn: sa.Connection, rows: list[_Row]) -> None:
    """Points that are there already stay as they are.

    PostgreSQL takes half as long again for a row that may be there, so many are first tried as if none were.
    """
    if conn.dialect.name == "postgresql" and len(rows) >= _MANY:
        run_raw(conn, "SAVEPOINT many", [()])
        try:
            insert_rows(conn, _INSERT_NEW, _TYPES, list(dict.fromkeys(rows)))
        except sa.exc.IntegrityError:  # some were sent before
            run_raw(conn, "ROLLBACK TO SAVEPOINT many", [()])
        else:
            return
    insert_rows(conn, _INSERT, _TYPES, rows)


def _summaries(rows: list[_Row], experiments: dict[int, int]) -> list[tuple[Any, ...]]:
    """Of rows in their order, the last of each run and key, with the lowest and the highest of them. NaN is neither."""
    found: list[tuple[Any, ...]] = []
    for (run, _), same in itertools.groupby(rows, key=_SERIES):
        own = list(same)
        known = [row for row in own if not row[5]]
        values = [row[4] for row in known]
        lowest = known[values.index(min(values))] if known else _NOWHERE
        highest = known[values.index(max(values))] if known else _NOWHERE
        found.append((*own[-1], experiments[run], lowest[4], lowest[2], highest[4], highest[2]))
    return found


def _point(row: Sequence[Any]) -> Point:
    _, key, step, timestamp, value, nan, model, dataset = row[:8]
    return Point(
        key=key,
        value=math.nan if nan else value,
        timestamp=timestamp,
        step=step,
        model_id=model,
        dataset=msgspec.json.decode(dataset, type=tuple[str, str]) if dataset else None,
    )
