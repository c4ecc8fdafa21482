"""Databases that are full before anybody is asked: ours by the store's own functions, MLflow's by its tables."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from benchmarks.tracking_sides import NOW
from zaffre.store.database import Database
from zaffre.store.tracking import experiments, metrics, runs
from zaffre.store.tracking.records import NewRun, Point

PIECE = 2_000
_SCOPE = sa.text("SELECT scope FROM resources WHERE type = 'workspaces/datastores'")


def ours(url: str, experiment: str, count: int, *, points: int, history: int) -> str:
    """Runs with two metrics, and one run with a long history, whose id is answered."""
    database = Database(url)
    chance = random.Random(7)
    try:
        scope = database.read_now(lambda conn: conn.execute(_SCOPE).scalars().first())
        assert scope is not None, "the server has made a workspace"
        database.write_now(lambda unit: experiments.insert(unit, scope, str(uuid.uuid4()), experiment, None, {}))
        found = database.read_now(lambda conn: experiments.by_name(conn, scope, experiment))
        assert found is not None, "it was made just now"
        steps = range(max(points // 2, 1))
        for first in range(0, count, PIECE):
            new = [_new(scope, found.pk, NOW + first + n) for n in range(min(PIECE, count - first))]
            _log(database, found.pk, {pk: _points(chance, steps) for pk in _insert(database, new)})
        long = _new(scope, found.pk, NOW)
        (pk,) = _insert(database, [long])
        for first in range(0, history, 20_000):
            values = [_value(n, history) for n in range(first, min(first + 20_000, history))]
            own = [Point(key="long", value=v, timestamp=NOW + first + n, step=first + n) for n, v in enumerate(values)]
            _log(database, found.pk, {pk: own})
        return long.id
    finally:
        database.close()


def _insert(database: Database, new: Sequence[NewRun]) -> list[int]:
    return [pk for pk in database.write_now(lambda unit: runs.insert(unit, new)) if pk is not None]


def _log(database: Database, experiment: int, points: Mapping[int, Sequence[Point]]) -> None:
    database.write_now(lambda unit: metrics.log(unit, [(run, experiment, own) for run, own in points.items()]))


def _points(chance: random.Random, steps: range) -> list[Point]:
    return [
        Point(key=key, value=chance.random(), timestamp=NOW, step=step) for key in ("loss", "acc") for step in steps
    ]


def _value(n: int, history: int) -> float:
    """Between 0 and 1 but for one point below and one above."""
    return -1.0 if n == history // 3 else 2.0 if n == history // 2 else (n * 7919 % 10_007) / 10_007


def _new(scope: str, experiment: int, started: int) -> NewRun:
    return NewRun(
        scope=scope, id=uuid.uuid4().hex, experiment=experiment, origin="mlflow", status="Completed", display_name="run",
        user="bench", started_at=started,
    )  # fmt: skip


def mlflows(url: str, experiment: str, count: int, *, history: int) -> str:
    """The same for MLflow's server, as its own version of today keeps them."""
    chance = random.Random(7)
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as conn:
        insert = _inserting(conn)
        columns = {"name": experiment, "artifact_location": "mlflow-artifacts:/1", "lifecycle_stage": "active"}
        insert("experiments", [{**columns, "creation_time": NOW, "last_update_time": NOW}])
        asked = sa.text("SELECT experiment_id FROM experiments WHERE name = :name")
        id_ = conn.execute(asked, {"name": experiment}).scalar_one()
        ids = [uuid.uuid4().hex for _ in range(count + 1)]
        same = {
            "name": "run",
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "user_id": "bench",
            "status": "FINISHED",
            "source_version": "",
            "lifecycle_stage": "active",
            "experiment_id": id_,
        }
        insert(
            "runs",
            (
                {**same, "run_uuid": run, "start_time": NOW + n, "artifact_uri": f"mlflow-artifacts:/1/{run}/artifacts"}
                for n, run in enumerate(ids)
            ),
        )
        for key in ("loss", "acc"):
            rows = [_metric(key, chance.random(), run, NOW, 9) for run in ids[:-1]]
            for table in ("metrics", "latest_metrics"):
                insert(table, rows)
        points = [_metric("long", _value(n, history), ids[-1], NOW + n, n) for n in range(history)]
        insert("metrics", points)
        insert("latest_metrics", points[-1:])
    engine.dispose()
    return ids[-1]


def megabytes(url: str) -> float:
    """What the database takes of the disk."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    sqlite = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    query = sqlite if engine.dialect.name == "sqlite" else "SELECT pg_database_size(current_database())"
    with engine.connect() as conn:
        size = int(conn.execute(sa.text(query)).scalar_one())
    engine.dispose()
    return size / 1e6


def _inserting(conn: sa.Connection) -> Callable[[str, Iterable[dict[str, Any]]], None]:
    def insert(table: str, rows: Iterable[dict[str, Any]]) -> None:
        given: Sequence[dict[str, Any]] = list(rows)
        into = sa.table(table, *(sa.column(name) for name in given[0]))
        for first in range(0, len(given), PIECE):
            conn.execute(into.insert(), list(given[first : first + PIECE]))

    return insert


def _metric(key: str, value: float, run: str, timestamp: int, step: int) -> dict[str, Any]:
    return {"key": key, "value": value, "timestamp": timestamp, "run_uuid": run, "step": step, "is_nan": False}
