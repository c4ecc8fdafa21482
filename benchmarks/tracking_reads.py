"""Reading beside MLflow's server, and what a database that grows does to either; on SQLite.

Both databases are filled while their servers are down: ours by the store's own functions, MLflow's by its tables.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import statistics
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from pathlib import Path

from benchmarks import load, mlflow_server
from benchmarks.figures import Figure
from benchmarks.samples import ratios
from benchmarks.server import ServerError
from benchmarks.tracking_sides import NOW, Side, one
from benchmarks.tracking_writes import METRIC, RUNS, metrics_of
from zaffre.store.database import Database
from zaffre.store.tracking import experiments, metrics, runs
from zaffre.store.tracking.records import NewRun, Point

MANY, HISTORY, PAGE = 100_000, 100_000, 100
CHART_RUNS, CHART_POINTS, CHART_LIMIT = 10, 1_000_000, 2_000
PEERS = 10_000
"""MLflow's runs: one search of 100,000 took it more than ten minutes, so it is given a tenth of ours."""
GROWTH = (10_000, 100_000, 1_000_000)
GROWTH_POINTS = 10  # a run
SEARCH = "runs/search of 100,000 runs (MLflow: of 10,000), filter and order by a metric, 100 a page"
LONG = "metric history of 100,000 points"
CHART = "sampled history, 10 runs of 1,000,000 points each"
COUNTS = {"zaffre": {SEARCH: 60, LONG: 8, CHART: 10}, "mlflow": {SEARCH: 1, LONG: 2}}
PIECE = 2_000


def measure(folder: Path, *, rounds: int) -> list[Figure]:
    python = mlflow_server.install(folder)
    place = folder / "reads"
    with _side(place, python, "zaffre"), _side(place, python, "mlflow"):
        """Each has made its tables."""
    run = _fill(place / "zaffre" / "zaffre.db", "reads", MANY, points=1, history=HISTORY)
    peers_run = _fill_mlflow(place / "mlflow" / "mlflow.db", "reads", PEERS, HISTORY)
    with _side(place, python, "zaffre") as ours, _side(place, python, "mlflow") as peer:
        asked = [
            (side, _search(side, "reads"), _history(side, its_run))
            for side, its_run in ((ours, run), (peer, peers_run))
        ]
        for _ in range(rounds):
            for side, search, history in asked:
                side.measure(SEARCH, search, clients=1, count=COUNTS[side.name][SEARCH], warm=0)
                side.measure(LONG, history, clients=1, count=COUNTS[side.name][LONG], warm=0)
        found = [figure for what, times in ((SEARCH, 20), (LONG, 15)) for figure in _beside(what, times, ours, peer)]
        found.append(_slowest(ours))
    return [*found, *_chart(folder, python)]


def growth(folder: Path) -> list[Figure]:
    """The same requests on databases of more and more runs, ten metric points each."""
    python = mlflow_server.install(folder)
    place, found, filled = folder / "growth", [], 0
    with _side(place, python, "zaffre"):
        """It has made its tables."""
    for size in GROWTH:
        run = _fill(place / "zaffre" / "zaffre.db", f"g{size}", size - filled, points=GROWTH_POINTS, history=HISTORY)
        filled = size
        with _side(place, python, "zaffre") as ours:
            for _ in range(3):
                its_run = ours.new_run()
                ours.measure(METRIC, metrics_of(ours, its_run), clients=32, count=4000, warm=2)
                experiment = ours.json("POST", "experiments/create", {"name": f"n{time.time_ns()}"})["experiment_id"]
                message = ours.message("runs/create", {"experiment_id": experiment, "start_time": NOW, "tags": []})
                ours.measure(RUNS, message, clients=32, count=2000, warm=2)
                ours.measure(SEARCH, _search(ours, f"g{size}"), clients=1, count=40, warm=1)
                ours.measure(LONG, _history(ours, run), clients=1, count=5, warm=1)
            text = ", ".join(
                f"{name} {ours.cost(what).text('µs' if scale > 1e3 else 'ms', scale=scale, digits=digits)}"
                for name, what, scale, digits in (
                    ("log-metric", METRIC, 1e6, 0),
                    ("runs/create", RUNS, 1e6, 0),
                    ("search", SEARCH, 1e3, 1),
                    ("history", LONG, 1e3, 0),
                )
            )
            file = (place / "zaffre" / "zaffre.db").stat().st_size / 1e6
            points = size * GROWTH_POINTS
            found.append(Figure(f"CPU a request with {size:,} runs, {points:,} points ({file:,.0f} MB)", text))
    return found


@contextlib.contextmanager
def _side(folder: Path, python: Path, name: str) -> Iterator[Side]:
    with contextlib.ExitStack() as stack:
        yield one(stack, name, folder / name, python)


def _search(side: Side, experiment: str) -> bytes:
    id_ = side.json("GET", "experiments/get-by-name", {"experiment_name": experiment})["experiment"]["experiment_id"]
    asked = {
        "experiment_ids": [id_],
        "filter": "metrics.acc > 0.5",
        "order_by": ["metrics.loss DESC"],
        "max_results": PAGE,
    }
    answer = side.json("POST", "runs/search", asked)
    losses = [{m["key"]: m["value"] for m in run["data"]["metrics"]} for run in answer["runs"]]
    if (
        len(losses) != PAGE
        or sorted(losses, key=lambda one: -one["loss"]) != losses
        or min(m["acc"] for m in losses) <= 0.5
    ):
        raise ServerError(f"{side.name}: the search found something else")
    return side.message("runs/search", asked)


def _history(side: Side, run: str) -> bytes:
    answer = side.json("GET", "metrics/get-history", {"run_id": run, "metric_key": "long"})
    if len(answer["metrics"]) != HISTORY:
        raise ServerError(f"{side.name}: the history has {len(answer['metrics']):,} points")
    query = urllib.parse.urlencode({"run_id": run, "metric_key": "long"})
    return load.message("GET", f"{side.api}/metrics/get-history?{query}", headers=side.headers)


def _slowest(ours: Side) -> Figure:
    """One request after another, as a person waits for them; the whole way, with TLS."""
    asked = urllib.parse.quote("reads")
    id_ = ours.ask("GET", f"{ours.api}/experiments/get-by-name?experiment_name={asked}", None)["experiment"][
        "experiment_id"
    ]
    taken = []
    for _ in range(200):
        started = time.perf_counter()
        ours.json(
            "POST",
            "runs/search",
            {"experiment_ids": [id_], "filter": "metrics.acc > 0.5", "order_by": ["metrics.loss"], "max_results": PAGE},
        )
        taken.append((time.perf_counter() - started) * 1e3)
    p99 = statistics.quantiles(taken, n=100)[98]
    text = f"{p99:.0f} ms (median {statistics.median(taken):.0f} ms)"
    return Figure("… p99 of 200, as a client sees it", text, p99, 50.0, "< 50 ms")


def _chart(folder: Path, python: Path) -> list[Figure]:
    place = folder / "chart"
    with _side(place, python, "zaffre"):
        """It has made its tables."""
    ids = [_fill(place / "zaffre" / "zaffre.db", f"c{n}", 0, points=0, history=CHART_POINTS) for n in range(CHART_RUNS)]
    with _side(place, python, "zaffre") as ours:
        query = urllib.parse.urlencode(
            [*(("run_ids", id_) for id_ in ids), ("metric_key", "long"), ("max_results", CHART_LIMIT)]
        )
        path = f"{ours.api}/metrics/get-history-bulk-interval?{query}"
        series: dict[str, list[float]] = {}
        for point in ours.ask("GET", path, None)["metrics"]:
            series.setdefault(point["run_id"], []).append(point["value"])
        for values in series.values():
            if len(values) > CHART_LIMIT or (min(values), max(values)) != (-1.0, 2.0):
                raise ServerError("a series lacks its extremes, or has too many points")
        ours.measure(
            CHART, load.message("GET", path, headers=ours.headers), clients=1, count=COUNTS["zaffre"][CHART], warm=1
        )
        cost = ours.cost(CHART)
        most = max(map(len, series.values()))
        text = f"{cost.text('ms', scale=1e3)}, {most:,} points a series, the extremes among them"
        return [Figure(f"{CHART}: CPU a request", text, cost.median * 1e3, 100.0, "< 100 ms")]


def _beside(what: str, times: int, ours: Side, peer: Side) -> list[Figure]:
    speed, less = ratios(ours.rate(what), peer.rate(what)), ratios(peer.cost(what), ours.cost(what))
    rates = f"{ours.rate(what).text('/s', digits=1)} against {peer.rate(what).text('/s', digits=2)}"
    costs = f"{ours.cost(what).text('ms', scale=1e3, digits=1)} against {peer.cost(what).text('ms', scale=1e3)}"
    return [
        Figure(
            f"{what}: times MLflow's throughput",
            f"{speed.text('×', digits=1)}: {rates}",
            -speed.median,
            -times,
            f"≥ {times} ×",
        ),
        Figure("… times less CPU", f"{less.text('×', digits=1)}: {costs}", -less.median, -times, f"≥ {times} ×"),
    ]


def _fill(file: Path, experiment: str, count: int, *, points: int, history: int) -> str:
    """Runs with two metrics, and one run with a long history, whose id is answered."""
    database = Database(f"sqlite:///{file}")
    chance = random.Random(7)
    try:
        with sqlite3.connect(file) as direct:
            scope = direct.execute("SELECT scope FROM resources WHERE type = 'workspaces/datastores'").fetchone()[0]
        database.write_now(lambda unit: experiments.insert(unit, scope, str(uuid.uuid4()), experiment, None, {}))
        found = database.read_now(lambda conn: experiments.by_name(conn, scope, experiment))
        assert found is not None, "it was made just now"
        for first in range(0, count, PIECE):
            new = [_new(scope, found.pk, NOW + first + n) for n in range(min(PIECE, count - first))]

            def make(unit, new=new):  # type: ignore[no-untyped-def]
                pks = runs.insert(unit, new)
                steps = range(max(points // 2, 1))
                metrics.log(unit, [(pk, found.pk, _points(chance, steps)) for pk in pks])

            database.write_now(make)
        long = _new(scope, found.pk, NOW)
        (pk,) = database.write_now(lambda unit: runs.insert(unit, [long]))
        for first in range(0, history, 20_000):
            values = [_value(n, history) for n in range(first, min(first + 20_000, history))]
            own = [Point(key="long", value=v, timestamp=NOW + first + n, step=first + n) for n, v in enumerate(values)]
            database.write_now(lambda unit, own=own: metrics.log(unit, [(pk, found.pk, own)]))  # type: ignore[misc]
        return long.id
    finally:
        database.close()


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


def _fill_mlflow(file: Path, experiment: str, count: int, history: int) -> str:
    chance = random.Random(7)
    with sqlite3.connect(file) as conn:
        columns = "name, artifact_location, lifecycle_stage, creation_time, last_update_time"
        sql = f"INSERT INTO experiments ({columns}) VALUES (?, ?, 'active', ?, ?)"
        id_ = conn.execute(sql, (experiment, "mlflow-artifacts:/1", NOW, NOW)).lastrowid
        ids = [uuid.uuid4().hex for _ in range(count + 1)]
        conn.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, "
            "source_version, lifecycle_stage, artifact_uri, experiment_id) "
            "VALUES (?, 'run', 'UNKNOWN', '', '', 'bench', 'FINISHED', ?, '', 'active', ?, ?)",
            [(run, NOW + n, f"mlflow-artifacts:/1/{run}/artifacts", id_) for n, run in enumerate(ids)],
        )
        for key in ("loss", "acc"):
            rows = [(key, chance.random(), NOW, run, 9, 0) for run in ids[:-1]]
            for table in ("metrics", "latest_metrics"):
                conn.executemany(
                    f"INSERT INTO {table} (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)",
                    rows,
                )
        points = [("long", _value(n, history), NOW + n, ids[-1], n, 0) for n in range(history)]
        sql = "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
        conn.executemany(sql, points)
        conn.execute(sql.replace("metrics", "latest_metrics"), points[-1])
    return ids[-1]
