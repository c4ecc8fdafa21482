"""Charts of long series: few points, the ends and extremes among them, however long the series is."""

from __future__ import annotations

import itertools
import math

import pytest
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.tracking import experiments, metrics, runs, sampling
from zaffre.store.tracking.records import NewRun, Point

MOST = 50


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "LONG", 500)


def series(database: Database, *logged: list[Point]) -> list[int]:
    """Runs that logged these, by key."""

    def make(unit):
        experiments.insert(unit, "s", "e", "first", None, {})
        experiment = experiments.by_id(unit.conn, "s", "e").pk
        new = [
            NewRun(
                scope="s",
                id=f"r{n}",
                experiment=experiment,
                origin="mlflow",
                status="Running",
                display_name="",
                user="",
            )
            for n in range(len(logged))
        ]
        pks = runs.insert(unit, new)
        for points in range(0, max(map(len, logged)), 300):  # in pieces, as clients do
            pieces = [(pk, experiment, own[points : points + 300]) for pk, own in zip(pks, logged, strict=True)]
            metrics.log(unit, pieces)
        return pks

    return database.write_now(make)


def sampled(database: Database, pks: list[int], within: tuple[int, int] | None = None) -> dict[int, list[Point]]:
    rows = database.read_now(lambda conn: sampling.sample(conn, pks, "m", within, MOST))
    return {pk: [point for run, point in rows if run == pk] for pk in pks}


def wave(count: int, *, peak: int) -> list[Point]:
    """Steps 0, 3, 6 …; NaN now and then; one value above and one below all others."""
    values = [math.sin(i / 40) for i in range(count)]
    values[peak], values[peak + 1] = 99.0, -99.0
    return [
        Point(key="m", value=math.nan if i % 7 == 6 else value, timestamp=1000 + i, step=3 * i)
        for i, value in enumerate(values)
    ]


def test_a_long_series_shows_its_ends_and_extremes(database: Database) -> None:
    longer, shorter = wave(2000, peak=700), wave(900, peak=77)
    found = sampled(database, series(database, longer, shorter))
    for points, logged in zip(found.values(), (longer, shorter), strict=True):
        assert len(points) <= MOST
        assert [p.step for p in points] == sorted(p.step for p in points)
        known = {(p.step, p.timestamp): p for p in logged}
        assert all(known[p.step, p.timestamp].value == pytest.approx(p.value, nan_ok=True) for p in points)
        assert (points[0].step, points[-1].step) == (logged[0].step, logged[-1].step)
        values = [p.value for p in points if not math.isnan(p.value)]
        assert (min(values), max(values)) == (-99.0, 99.0)
    first, second = ([p.step for p in points] for points in found.values())
    shared = set(first) & set(second)
    assert len(shared) > len(second) // 2, "at steps they share, so that they can be compared"


def test_a_part_of_a_long_series_has_ends_and_extremes_of_its_own(database: Database) -> None:
    logged = wave(2000, peak=700)
    pks = series(database, logged)
    (points,) = sampled(database, pks, (2103, 3000)).values()
    inside = [p for p in logged if 2103 <= p.step <= 3000]
    assert (points[0].step, points[-1].step) == (inside[0].step, inside[-1].step)
    assert min(p.value for p in points if not math.isnan(p.value)) == -99.0
    assert max(p.value for p in points if not math.isnan(p.value)) == max(
        p.value for p in inside if not math.isnan(p.value)
    )
    assert all(2103 <= p.step <= 3000 for p in points) and len(points) <= MOST
    assert sampled(database, pks, (10_000, 20_000)) == {pks[0]: []}


def test_where_nobody_counts_steps_it_goes_by_time(database: Database) -> None:
    logged = [Point(key="m", value=i % 100, timestamp=5000 + 10 * i) for i in range(1500)]
    (points,) = sampled(database, series(database, logged)).values()
    assert 30 < len(points) <= MOST
    gaps = [later.timestamp - earlier.timestamp for earlier, later in itertools.pairwise(points)]
    assert max(gaps) <= 2 * 15_000 / (MOST - 4)


def test_extremes_that_an_older_version_did_not_keep_are_found(database: Database) -> None:
    pks = series(database, wave(1200, peak=310))
    table = tables.latest_metrics
    database.write_now(lambda unit: unit.conn.execute(sa.update(table).values(low=None, high=None)))
    (points,) = sampled(database, pks).values()
    values = [p.value for p in points if not math.isnan(p.value)]
    assert (min(values), max(values)) == (-99.0, 99.0)


def test_the_extremes_are_kept_whatever_comes_in_what_order(database: Database) -> None:
    values = [3.0, -1.0, math.nan, 7.0, 7.0, -1.0, 2.0, math.inf, 0.0]
    (pk,) = series(database, [Point(key="m", value=v, timestamp=i, step=i) for i, v in enumerate(values)])
    database.write_now(lambda unit: metrics.log(unit, [(pk, 1, [Point(key="m", value=-5.0, timestamp=0, step=-4)])]))
    row = database.read_now(lambda conn: conn.execute(sa.select(tables.latest_metrics)).one())
    assert (row.low, row.low_step, row.high, row.high_step) == (-5.0, -4, math.inf, 7)
    assert (row.step, row.value) == (8, 0.0), "an older point is not the newest"
