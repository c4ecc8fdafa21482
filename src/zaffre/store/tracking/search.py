"""Searching runs: conditions and an order become one statement; pages go on behind the last row, never by counting."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.raw import fetch_raw
from zaffre.store.tracking.conditions import COMPARE, Condition, Order
from zaffre.store.tracking.records import RunHead
from zaffre.store.tracking.runs import HEAD, head_of
from zaffre.store.tracking.sql import ilike, like, matches

_t = tables.runs
_e = tables.experiments

# MLflow's names of what a run is. Three of its tags are columns of ours, since the control plane shows them too.
ATTRIBUTES: dict[str, sa.ColumnElement[Any]] = {
    "run_id": _t.c.id,
    "run_name": _t.c.display_name,
    "status": _t.c.status,
    "start_time": _t.c.started_at,
    "end_time": _t.c.ended_at,
    "user_id": _t.c.user,
    # as plain mlflow is told it: where the run or its experiment was given a place, else below the workspace's own
    "artifact_uri": sa.case(
        (_t.c.artifact_uri.is_not(None), _t.c.artifact_uri),
        (
            sa.and_(_e.c.artifact_location.is_not(None), _t.c.origin != "job"),
            sa.func.rtrim(_e.c.artifact_location, "/") + "/" + _t.c.id + "/artifacts",
        ),
        else_=sa.literal("mlflow-artifacts:/ExperimentRun/dcid.", sa.Text) + _t.c.id,
    ),
}
COLUMN_TAGS: dict[str, sa.Column[Any]] = {
    "mlflow.runName": _t.c.display_name,
    "mlflow.note.content": _t.c.description,
    "mlflow.parentRunId": _t.c.parent,
}
_DATASET = {"name": tables.run_links.c.name, "digest": tables.run_links.c.digest, "context": tables.run_links.c.context}
_TABLES = {"metric": tables.latest_metrics, "param": tables.run_params, "tag": tables.run_tags}

LARGE = 2000  # runs
_HOW_MANY = """SELECT count(*) FROM (SELECT 1 FROM "latest_metrics"
WHERE "experiment" = ? AND "key" = ? AND "is_nan" = FALSE AND "value" OP ? LIMIT ?) AS found"""

Key = tuple[sa.ColumnElement[Any], bool]  # what to order by, and whether descending


def search(
    conn: sa.Connection,
    scope: str,
    experiments: Sequence[int],
    lifecycles: tuple[str, ...],
    conditions: Sequence[Condition],
    orders: Sequence[Order],
    after: Sequence[Any] | None,
    limit: int,
) -> list[tuple[RunHead, list[Any]]]:
    """Up to `limit` runs, each with its place: given as `after`, the next page begins behind it.

    Raises ValueError when `after` does not fit the order.
    """
    keys, joins = _order(orders)
    if after is not None and not fits_all(keys, after):
        raise ValueError("the place belongs to another order")
    within = (_t.c.scope == scope, _t.c.experiment.in_(experiments))
    where = [_t.c.lifecycle.in_(lifecycles), *(_where(conn, condition) for condition in conditions)]
    found: list[tuple[RunHead, list[Any]]] = []
    few = _few(conn, experiments, conditions)
    if few is not None:
        where.append(few)
    along = experiments[0] if few is None and len(experiments) == 1 else None
    for part in _parts(within, along, orders, keys, joins, after):
        query = part.select(after).where(*where).limit(limit - len(found))
        rows = conn.execute(query).all()
        found += [(head_of(row), [*part.fixed, *row[len(HEAD) :]]) for row in rows]
        if len(found) >= limit:
            break
    return found


@dataclass(frozen=True)
class _Part:
    """Some of the result: where it is read from and in what order. The first keys of its rows' places are `fixed`."""

    source: sa.Join
    within: tuple[sa.ColumnElement[bool], ...]
    fixed: tuple[Any, ...]
    keys: list[Key]

    def select(self, after: Sequence[Any] | None) -> sa.Select[Any]:
        query = sa.select(*HEAD, *(key.label(f"place_{index}") for index, (key, _) in enumerate(self.keys)))
        query = query.select_from(self.source).where(*self.within)
        begun = after is not None and tuple(after[: len(self.fixed)]) == self.fixed
        if after is not None and begun:
            query = query.where(behind(self.keys, after[len(self.fixed) :]))
        return query.order_by(*(key.desc() if down else key.asc() for key, down in self.keys))


def _parts(
    within: tuple[sa.ColumnElement[bool], ...],
    experiment: int | None,
    orders: Sequence[Order],
    keys: list[Key],
    joins: Sequence[tuple[Any, str]],
    after: Sequence[Any] | None,
) -> Iterator[_Part]:
    """The result, part after part; all in one, in general: of the runs that are `within`.

    Of one `experiment` in the order of a metric, the runs that have it are read along its index, so that a page costs the
    same among a hundred thousand as among a hundred. Behind them come those with NaN, then those without.
    """
    runs = sa.join(_t, _e, _e.c.pk == _t.c.experiment)
    if experiment is None or not orders or orders[0].entity != "metric":
        yield _Part(_joined(runs, joins), within, (), keys)
        return
    (metric, key), *others = joins
    along = _joined(sa.join(metric, _t, _t.c.pk == metric.c.run).join(_e, _e.c.pk == _t.c.experiment), others)
    # Nothing is said of the runs' own experiment and workspace, which follow: without statistics, as of new rows, PostgreSQL would
    # look for each of them among all there are.
    here = (metric.c.experiment == experiment, metric.c.key == key)
    _, (_, down), *rest = keys
    parts = (
        _Part(along, (*here, metric.c.is_nan.is_(sa.false())), (0,), [(metric.c.value, down), *rest]),
        _Part(along, (*here, metric.c.is_nan.is_(sa.true())), (1, 0.0), rest),
        _Part(_joined(runs, joins), (*within, metric.c.run.is_(None)), (2, 0.0), rest),
    )
    yield from (part for part in parts if after is None or part.fixed[0] >= after[0])


def _joined(source: sa.Join, joins: Sequence[tuple[Any, str]]) -> sa.Join:
    for table, key in joins:
        source = sa.outerjoin(source, table, sa.and_(table.c.run == _t.c.pk, table.c.key == key))
    return source


def _few(
    conn: sa.Connection, experiments: Sequence[int], conditions: Sequence[Condition]
) -> sa.ColumnElement[bool] | None:
    """That a run is one of those that fulfil a condition on a metric, where they are so few that all else is best looked for
    among them.
    """
    for condition in conditions:
        if condition.entity != "metric" or condition.op not in COMPARE or condition.op == "!=" or len(experiments) != 1:
            continue
        values = (experiments[0], condition.key, condition.value, LARGE)
        if fetch_raw(conn, _HOW_MANY.replace("OP", condition.op, 1), values)[0][0] == LARGE:
            continue
        column = tables.latest_metrics.c
        chosen = sa.select(column.run).where(
            column.experiment == experiments[0],
            column.key == condition.key,
            column.is_nan.is_(sa.false()),
            COMPARE[condition.op](column.value, condition.value),
        )
        if conn.dialect.name == "sqlite":
            return _t.c.pk.in_(chosen)
        # As an array they are read once. Without statistics, as of new rows, PostgreSQL reads a subquery for each run.
        return _t.c.pk == sa.any_(sa.func.array(chosen.scalar_subquery()))
    return None


def _where(conn: sa.Connection, condition: Condition) -> sa.ColumnElement[bool]:
    column = ATTRIBUTES[condition.key] if condition.entity == "attribute" else None
    if condition.entity == "tag":
        column = COLUMN_TAGS.get(condition.key)
    if column is not None:
        return compare(conn, column, condition)
    if condition.entity == "dataset":
        links = tables.run_links.c
        read = sa.select(sa.literal(1)).where(links.run == _t.c.pk, links.direction == "input", links.kind == "dataset")
        return sa.exists(read.where(compare(conn, _DATASET[condition.key], condition)))
    table = _TABLES[condition.entity]
    here = sa.select(sa.literal(1)).where(table.c.run == _t.c.pk, table.c.key == condition.key)
    if condition.op == "IS NULL":
        return ~sa.exists(here)
    if condition.op != "IS NOT NULL":
        here = here.where(compare(conn, table.c.value, condition))
        if condition.entity == "metric":
            here = here.where(table.c.is_nan.is_(sa.false()))
    return sa.exists(here)


def compare(conn: sa.Connection, column: sa.ColumnElement[Any], condition: Condition) -> sa.ColumnElement[bool]:
    value: Any = condition.value
    made: sa.ColumnElement[bool]
    match condition.op:
        case "LIKE":
            made = like(conn, column, value)
        case "ILIKE":
            made = ilike(conn, column, value)
        case "RLIKE":
            made = matches(conn, column, value)
        case "IN":
            made = column.in_(value)
        case "NOT IN":
            made = column.not_in(value)
        case "IS NULL":
            made = column.is_(None)
        case "IS NOT NULL":
            made = column.is_not(None)
        case comparison:
            made = COMPARE[comparison](column, value)
    return made


def _order(orders: Sequence[Order]) -> tuple[list[Key], list[tuple[Any, str]]]:
    """The keys to sort by and the tables they need. Absent values come last whichever way, before them NaN."""
    keys: list[Key] = []
    joins: list[tuple[Any, str]] = []
    for index, order in enumerate(orders):
        column = ATTRIBUTES.get(order.key) if order.entity == "attribute" else None
        if order.entity == "tag":
            column = COLUMN_TAGS.get(order.key)
        if order.entity == "attribute" and order.key == "start_time":
            keys.append((_t.c.ordered_at, order.descending))
            continue
        nan: tuple[Any, ...] = ()
        if column is None:
            table = _ordering(order.entity, index)
            joins.append((table, order.key))
            column = table.c.value
            if order.entity == "metric":
                nan = ((table.c.is_nan.is_(sa.true()), 1),)
        keys.append((sa.case((column.is_(None), 2), *nan, else_=0), False))
        empty: Any = "" if isinstance(column.type, sa.Text) else 0
        keys.append((sa.func.coalesce(column, sa.literal(empty, column.type)), order.descending))
    keys.append((_t.c.ordered_at, True))
    keys.append((_t.c.id, False))
    return keys, joins


@functools.lru_cache(64)
def _ordering(entity: str, index: int) -> sa.FromClause:
    """The table once more, for the order of that place. Kept, since making one costs as much as reading a page's worth of rows."""
    return _TABLES[entity].alias(f"order_{index}")


def page(
    conn: sa.Connection, query: sa.Select[Any], keys: Sequence[Key], after: Sequence[Any] | None, limit: int
) -> list[tuple[Sequence[Any], list[Any]]]:
    """A page of rows in the order of `keys`, each with its place. Raises ValueError when `after` does not fit."""
    if after is not None and not fits_all(keys, after):
        raise ValueError("the place belongs to another order")
    width = len(query.selected_columns)
    query = query.add_columns(*(key.label(f"place_{index}") for index, (key, _) in enumerate(keys)))
    query = query.order_by(*(key.desc() if down else key.asc() for key, down in keys)).limit(limit)
    rows = conn.execute(query if after is None else query.where(behind(keys, after))).all()
    return [(row[:width], list(row[width:])) for row in rows]


def behind(keys: Sequence[Key], after: Sequence[Any]) -> sa.ColumnElement[bool]:
    """What sorts behind the place `after`: later in the first key, or equal there and later in the next, and so on."""
    either: list[sa.ColumnElement[bool]] = []
    for index, (key, down) in enumerate(keys):
        same = [keys[before][0] == after[before] for before in range(index)]
        either.append(sa.and_(*same, key < after[index] if down else key > after[index]))
    first, down = keys[0]
    # Implied by the rest, but it is what lets an index begin at the right place.
    return sa.and_(first <= after[0] if down else first >= after[0], sa.or_(*either))


def fits_all(keys: Sequence[Key], after: Sequence[Any]) -> bool:
    """Whether a place that came back from a client may be compared with those keys."""
    return len(after) == len(keys) and all(_fits(key, value) for (key, _), value in zip(keys, after, strict=True))


def _fits(key: sa.ColumnElement[Any], value: object) -> bool:
    if isinstance(key.type, sa.Text):
        return isinstance(value, str) and "\0" not in value
    if isinstance(value, float):
        return isinstance(key.type, sa.Float)
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
