"""Metrics of several runs at steps they share: what a chart shows of histories too long to show whole."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.raw import fetch_raw
from zaffre.store.tracking import metrics
from zaffre.store.tracking.records import Point
from zaffre.store.tracking.sql import chunks

LONG = 5_000
"""Points of a series from which on it is not read, only looked into."""
LOOKS = 1_000
"""How often at most: a chart has not many more places."""

_t = tables.metrics
_OWN = '"run" = ? AND "key" = ?'
_COLUMNS = '"step", "timestamp", "value", "is_nan"'
_SOME = f'SELECT count(*) FROM (SELECT 1 FROM "metrics" WHERE {_OWN} LIMIT ?) AS few'
_FIRST = f'SELECT {_COLUMNS} FROM "metrics" WHERE {_OWN} AND "step" >= ? ORDER BY {_COLUMNS} LIMIT 1'
_LAST = (
    f'SELECT {_COLUMNS} FROM "metrics" WHERE {_OWN} AND "step" <= ? '
    'ORDER BY "step" DESC, "timestamp" DESC, "value" DESC, "is_nan" DESC LIMIT 1'
)
_EXTREMES = f'SELECT "low", "low_step", "high", "high_step" FROM "latest_metrics" WHERE {_OWN}'
_AT = f'SELECT {_COLUMNS} FROM "metrics" WHERE {_OWN} AND "step" = ? AND "value" = ? ORDER BY "timestamp" LIMIT 1'
_LOOKED_AT = ('"step"', '"timestamp"', """CASE WHEN "is_nan" THEN 'NaN' ELSE "value" END""")
_FIRST_STEP, _LAST_STEP = -(2**63), 2**63 - 1

_Row = tuple[Any, ...]
Within = tuple[int, int] | None
Series = list[tuple[int, Point]]


def sample(conn: sa.Connection, runs: Sequence[int], key: str, within: Within, most: int) -> Series:
    """Points of the runs, each with its run, run by run and by step. `within` bounds the steps, both ends in.

    Of short histories, at most `most` of the steps at which any of the runs logged the metric, evenly picked, and besides them
    the last one and those where a run begins or ends. Of long ones at most `most` points each, evenly over all the steps, the
    ends and the extremes among them; that takes a look at each, however many there are.
    """
    if any(_is_long(conn, run, key) for run in runs):
        return _looked_into(conn, runs, key, within or (_FIRST_STEP, _LAST_STEP), most)
    at = _steps(conn, runs, key, within, most)
    wanted = set(at)
    found: Series = []
    for run in runs if at else ():
        points = metrics.history(conn, run, key, steps=(at[0], at[-1]))
        found += [(run, point) for point in points if point.step in wanted]
    return found


def _steps(conn: sa.Connection, runs: Sequence[int], key: str, within: Within, most: int) -> list[int]:
    known: set[int] = set()
    ends: set[int] = set()
    for piece in chunks(runs):
        mine = sa.and_(_t.c.run.in_(piece), _t.c.key == key)
        if within is not None:
            mine = sa.and_(mine, _t.c.step.between(*within))
        known.update(conn.execute(sa.select(_t.c.step).where(mine).distinct()).scalars())
        for first, last in conn.execute(
            sa.select(sa.func.min(_t.c.step), sa.func.max(_t.c.step)).where(mine).group_by(_t.c.run)
        ):
            ends.update((first, last))
    every = sorted(known)
    if len(every) > most:
        every = [every[int(index * len(every) / most)] for index in range(most)] + every[-1:]
    return sorted({*every, *ends})


# ---- long histories
def _is_long(conn: sa.Connection, run: int, key: str) -> bool:
    return bool(fetch_raw(conn, _SOME, (run, key, LONG + 1))[0][0] > LONG)


def _looked_into(conn: sa.Connection, runs: Sequence[int], key: str, within: tuple[int, int], most: int) -> Series:
    ends: dict[int, tuple[_Row, _Row]] = {}
    for run in runs:
        lowest = fetch_raw(conn, _FIRST, (run, key, within[0]))
        highest = fetch_raw(conn, _LAST, (run, key, within[1]))
        if lowest and highest and lowest[0][0] <= within[1] and highest[0][0] >= within[0]:
            ends[run] = (tuple(lowest[0]), tuple(highest[0]))
    if not ends:
        return []
    begin, end = min(first[0] for first, _ in ends.values()), max(last[0] for _, last in ends.values())
    places = max(min(most, LOOKS) - 4, 1)  # besides them the two ends and the two extremes
    at = sorted({begin + (end - begin) * index // places for index in range(places)})
    found: Series = []
    for run, (first, last) in ends.items():
        rows = {first, last, *_extremes(conn, run, key, within)}
        if first[0] == last[0]:  # nobody has counted steps: evenly over the time
            span = last[1] - first[1]
            rows |= _looks(conn, run, key, [first[1] + span * index // places for index in range(places)], first[0])
        else:
            rows |= {row for row in _looks(conn, run, key, at, None) if row[0] <= last[0]}
        found += [(run, _point(key, *row)) for row in sorted(rows)]
    return found


def _extremes(conn: sa.Connection, run: int, key: str, within: tuple[int, int]) -> set[_Row]:
    ((low, low_step, high, high_step),) = fetch_raw(conn, _EXTREMES, (run, key))
    if low is None or within != (_FIRST_STEP, _LAST_STEP):
        # Not known, or of a part: every value is looked at.
        query = f'SELECT {{}}("value"), "step" FROM "metrics" WHERE {_OWN} AND "step" BETWEEN ? AND ? AND NOT "is_nan"'
        query += ' GROUP BY "step" ORDER BY 1 {} LIMIT 1'
        lowest = fetch_raw(conn, query.format("MIN", "ASC"), (run, key, *within))
        highest = fetch_raw(conn, query.format("MAX", "DESC"), (run, key, *within))
        if not lowest:
            return set()
        (low, low_step), (high, high_step) = lowest[0], highest[0]
    at = (fetch_raw(conn, _AT, (run, key, step, value)) for value, step in ((low, low_step), (high, high_step)))
    return {tuple(rows[0]) for rows in at if rows}


def _looks(conn: sa.Connection, run: int, key: str, at: list[int], step: int | None) -> set[_Row]:
    """The first point at or behind each of these steps; with `step`, at or behind each of these times of that one."""
    where = (
        f'{_OWN} AND "step" >= look."value"'
        if step is None
        else f'{_OWN} AND "step" = ? AND "timestamp" >= look."value"'
    )
    values = (run, key) if step is None else (run, key, step)
    if conn.dialect.name == "sqlite":
        # SQLite joins no row to another's first match but by one such question a column; each is a walk down its tree.
        columns = ", ".join(
            f'(SELECT {column} FROM "metrics" WHERE {where} ORDER BY {_COLUMNS} LIMIT 1)' for column in _LOOKED_AT
        )
        rows = fetch_raw(
            conn, f"SELECT {columns} FROM json_each(?) AS look", (*values * len(_LOOKED_AT), json.dumps(at))
        )
        return {(*row[:2], *((0.0, 1) if row[2] == "NaN" else (row[2], 0))) for row in rows if row[0] is not None}
    query = (
        f'SELECT hit.* FROM unnest(?::bigint[]) AS look ("value") CROSS JOIN LATERAL '
        f'(SELECT {_COLUMNS} FROM "metrics" WHERE {where} ORDER BY {_COLUMNS} LIMIT 1) AS hit'
    )
    return {tuple(row) for row in fetch_raw(conn, query, (at, *values))}


def _point(key: str, step: int, timestamp: int, value: float, nan: bool) -> Point:
    return Point(key=key, value=math.nan if nan else value, timestamp=timestamp, step=step)
