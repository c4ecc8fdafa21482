"""Reading beside MLflow's server, and what a database that grows does to ours.

Both databases are filled while their servers are down.
"""

from __future__ import annotations

import statistics
import time
import urllib.parse
from pathlib import Path

from benchmarks import load, mlflow_server
from benchmarks import tracking_fill as fill
from benchmarks.figures import Figure
from benchmarks.samples import ratios
from benchmarks.server import ServerError
from benchmarks.tracking_sides import DATABASES, NOW, Place, Side, mlflows_side, our_side, places
from benchmarks.tracking_writes import METRIC, RUNS, metrics_of

MANY, HISTORY, PAGE = 100_000, 100_000, 100
CHART_RUNS, CHART_POINTS, CHART_LIMIT = 10, 1_000_000, 2_000
PEERS = {"SQLite": 10_000, "PostgreSQL": MANY}
"""MLflow's runs: on SQLite one search of 100,000 took it more than ten minutes, so it is given a tenth of ours there."""
OURS, MLFLOWS = "zaffre.db", "mlflow.db"
GROWTH = (10_000, 100_000, 1_000_000)
GROWTH_POINTS = 10  # a run
SEARCH = "runs/search of 100,000 runs (MLflow on SQLite: of 10,000), filter and order by a metric, 100 a page"
LONG = "metric history of 100,000 points"
CHART = "sampled history, 10 runs of 1,000,000 points each"
COUNTS = {"zaffre": {SEARCH: 60, LONG: 8, CHART: 10}, "mlflow": {SEARCH: 2, LONG: 2}}


def measure(folder: Path, *, rounds: int) -> list[Figure]:
    python = mlflow_server.install(folder)
    found: list[Figure] = []
    for database in DATABASES:
        with places(folder / f"reads-{database.lower()}", database) as (own, peers):
            found += _reads(own, peers, python, database, rounds)
    with places(folder / "chart", "SQLite") as (own, _):
        return [*found, *_chart(own)]


def _reads(own: Place, peers: Place, python: Path, database: str, rounds: int) -> list[Figure]:
    with our_side(own), mlflows_side(python, peers):
        """Each has made its tables."""
    run = fill.ours(own.url(OURS), "reads", MANY, points=1, history=HISTORY)
    peers_run = fill.mlflows(peers.url(MLFLOWS), "reads", PEERS[database], history=HISTORY)
    with our_side(own) as ours, mlflows_side(python, peers) as peer:
        asked = [
            (side, _search(side, "reads"), _history(side, its_run))
            for side, its_run in ((ours, run), (peer, peers_run))
        ]
        for _ in range(rounds):
            for side, search, history in asked:
                side.measure(SEARCH, search, clients=1, count=COUNTS[side.name][SEARCH], warm=0)
                side.measure(LONG, history, clients=1, count=COUNTS[side.name][LONG], warm=0)
        found = [
            figure
            for what, times in ((SEARCH, 20), (LONG, 15))
            for figure in _beside(what, database, times, ours, peer)
        ]
        return [*found, _slowest(ours)]


def growth(folder: Path) -> list[Figure]:
    """The same requests on databases of more and more runs, ten metric points each."""
    found: list[Figure] = []
    for database in DATABASES:
        with places(folder / f"growth-{database.lower()}", database) as (own, _):
            found += _grown(own, database)
    return found


def _grown(own: Place, database: str) -> list[Figure]:
    found, filled = [], 0
    with our_side(own):
        """It has made its tables."""
    for size in GROWTH:
        run = fill.ours(own.url(OURS), f"g{size}", size - filled, points=GROWTH_POINTS, history=HISTORY)
        filled = size
        with our_side(own) as ours:
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
            what = f"{size:,} runs, {size * GROWTH_POINTS:,} points ({fill.megabytes(own.url(OURS)):,.0f} MB)"
            found.append(Figure(f"{database}: CPU a request with {what}", text))
    return found


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


def _chart(own: Place) -> list[Figure]:
    with our_side(own):
        """It has made its tables."""
    ids = [fill.ours(own.url(OURS), f"c{n}", 0, points=0, history=CHART_POINTS) for n in range(CHART_RUNS)]
    with our_side(own) as ours:
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


def _beside(what: str, database: str, times: int, ours: Side, peer: Side) -> list[Figure]:
    speed, less = ratios(ours.rate(what), peer.rate(what)), ratios(peer.cost(what), ours.cost(what))
    rates = f"{ours.rate(what).text('/s', digits=1)} against {peer.rate(what).text('/s', digits=2)}"
    costs = f"{ours.cost(what).text('ms', scale=1e3, digits=1)} against {peer.cost(what).text('ms', scale=1e3)}"
    return [
        Figure(
            f"{what}, {database}: times MLflow's throughput",
            f"{speed.text('×', digits=1)}: {rates}",
            -speed.median,
            -times,
            f"≥ {times} ×",
        ),
        Figure("… times less CPU", f"{less.text('×', digits=1)}: {costs}", -less.median, -times, f"≥ {times} ×"),
    ]
