"""Metrics of several runs at steps they share: what a chart shows of histories too long to show whole."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.tracking import metrics
from zaffre.store.tracking.records import Point
from zaffre.store.tracking.sql import chunks

_t = tables.metrics


def steps(conn: sa.Connection, runs: Sequence[int], key: str, within: tuple[int, int] | None, most: int) -> list[int]:
    """At most `most` of the steps at which any of the runs logged the metric, evenly picked, and besides them the last
    one and those where a run begins or ends. `within` bounds them, both ends in."""
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


def points(conn: sa.Connection, run: int, key: str, at: Sequence[int]) -> list[Point]:
    """The run's points at those steps, by step."""
    if not at:
        return []
    wanted = set(at)
    return [one for one in metrics.history(conn, run, key, steps=(at[0], at[-1])) if one.step in wanted]
