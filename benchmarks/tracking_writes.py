"""Writing beside MLflow's server: single metrics, batches and runs, on SQLite and on PostgreSQL.

Every request is another one: MLflow would find a repeated metric already there. What was written is counted afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks import mlflow_server
from benchmarks.figures import Figure
from benchmarks.samples import ratios
from benchmarks.server import ServerError
from benchmarks.tracking_sides import DATABASES, NOW, Side, both, numbers

CLIENTS = 32
BATCH = 1000
WARM = 2
METRIC, BATCHES, RUNS = "log-metric, 32 clients", "log-batch of 1,000 metrics, 1 client", "runs/create, 32 clients"
COUNTS = {"zaffre": {METRIC: 4000, BATCHES: 60, RUNS: 2000}, "mlflow": {METRIC: 320, BATCHES: 8, RUNS: 200}}
"""Requests a round: as many as each side does in a second or two."""

FASTER = {("SQLite", METRIC): (40, 40), ("PostgreSQL", METRIC): (20, 30)}
"""At least so many times the throughput, and so many times less CPU. Of the others, one factor for both databases."""
FACTORS = {BATCHES: 15, RUNS: 40}


def measure(folder: Path, *, rounds: int) -> list[Figure]:
    python = mlflow_server.install(folder)
    found = [Figure("MLflow's server, the peer below", f"mlflow {mlflow_server.version(python)}, default workers")]
    for database in DATABASES:
        with both(folder / f"writes-{database.lower()}", python, database) as sides:
            for _ in range(rounds):
                for side in sides:
                    _round(side)
            found += [figure for what in (METRIC, BATCHES, RUNS) for figure in _figures(database, what, *sides)]
    return found


def _round(side: Side) -> None:
    counts = COUNTS[side.name]
    run = side.new_run()
    side.measure(METRIC, metrics_of(side, run), clients=CLIENTS, count=counts[METRIC], warm=WARM)
    _expect(side, run, "loss", counts[METRIC] + WARM * CLIENTS)
    run = side.new_run()
    side.measure(BATCHES, _batches(side, run, counts[BATCHES] + WARM), clients=1, count=counts[BATCHES], warm=WARM)
    _expect(side, run, "m0", (counts[BATCHES] + WARM) * BATCH // 10)
    experiment = side.json("POST", "experiments/create", {"name": f"runs-{run}"})["experiment_id"]
    message = side.message("runs/create", {"experiment_id": experiment, "start_time": NOW, "tags": []})
    side.measure(RUNS, message, clients=CLIENTS, count=counts[RUNS], warm=WARM)
    _expect_runs(side, experiment, counts[RUNS] + WARM * CLIENTS)


def metrics_of(side: Side, run: str) -> Callable[[], bytes]:
    """Requests that log one metric of a run, each at another step."""
    number = numbers()
    sample = {"run_id": run, "key": "loss", "value": 0.5, "timestamp": NOW, "step": 0}

    def next_one() -> bytes:
        return head + (b'{"run_id":"%b","key":"loss","value":0.5,"timestamp":%d,"step":%8d}' % (id_, NOW, number()))

    id_ = run.encode()
    length = len(next_one_body := b'{"run_id":"%b","key":"loss","value":0.5,"timestamp":%d,"step":%8d}' % (id_, NOW, 0))
    whole = side.message("runs/log-metric", next_one_body)
    assert json.loads(next_one_body) == sample, "blanks before a number are JSON"
    head = whole[: len(whole) - length]
    return next_one


def _batches(side: Side, run: str, count: int) -> Callable[[], bytes]:
    """Ten metrics, a hundred steps of each; made before they are needed."""
    made = iter(
        [
            side.message(
                "runs/log-batch",
                {
                    "run_id": run,
                    "metrics": [
                        {"key": f"m{i % 10}", "value": i / 7, "timestamp": NOW + i, "step": batch * 100 + i // 10}
                        for i in range(BATCH)
                    ],
                },
            )
            for batch in range(count)
        ]
    )
    return made.__next__


def _expect(side: Side, run: str, key: str, count: int) -> None:
    """The history of a metric holds so many points, each of another step."""
    steps: list[int] = []
    asked: dict[str, str | int] = {"run_id": run, "metric_key": key, "max_results": 20_000}
    while True:
        answer = side.json("GET", "metrics/get-history", asked)
        steps += [int(point.get("step", 0)) for point in answer.get("metrics", [])]
        token = answer.get("next_page_token")
        if not token:
            break
        asked["page_token"] = token
    if len(set(steps)) != len(steps) or (len(steps) != count and not side.tolerant):
        raise ServerError(f"{side.name}: {count:,} points of '{key}' were acknowledged, {len(set(steps)):,} are there")


def _expect_runs(side: Side, experiment: str, count: int) -> None:
    found, token = 0, None
    while True:
        asked = {"experiment_ids": [experiment], "max_results": 1000, **({"page_token": token} if token else {})}
        answer = side.json("POST", "runs/search", asked)
        found += len(answer.get("runs", []))
        token = answer.get("next_page_token")
        if not token:
            break
    if found != count and not side.tolerant:
        raise ServerError(f"{side.name}: {count:,} runs were acknowledged, {found:,} are there")


def _figures(database: str, what: str, ours: Side, peer: Side) -> list[Figure]:
    faster, cheaper = FASTER.get((database, what), (FACTORS.get(what, 0),) * 2)
    speed = ratios(ours.rate(what), peer.rate(what))
    less = ratios(peer.cost(what), ours.cost(what))
    return [
        Figure(
            f"{what}, {database}: times MLflow's throughput",
            f"{speed.text('×', digits=1)}: {ours.rate(what).text('/s')} against {peer.rate(what).text('/s')}"
            + (f"; MLflow refused {peer.refused[what]}" if peer.refused[what] else ""),
            -speed.median,
            -faster,
            f"≥ {faster} ×",
        ),
        Figure(
            "… times less CPU, the database's and the edge's counted",
            f"{less.text('×', digits=1)}: {ours.cost(what).text('µs', scale=1e6)} "
            f"against {peer.cost(what).text('µs', scale=1e6)}",
            -less.median,
            -cheaper,
            f"≥ {cheaper} ×",
        ),
    ]
