"""A baseline for tracking: metrics logged one by one by many clients at once, through the edge."""

from __future__ import annotations

import json
import time

from benchmarks import load, processes
from benchmarks.figures import Figure
from benchmarks.samples import Sample
from benchmarks.server import Server

CLIENTS = 32


def measure(server: Server, *, rounds: int, requests: int) -> list[Figure]:
    """The server is up."""
    api = f"/tracking{server.scope}/api/2.0/mlflow"
    with server.client() as client:
        experiment = client.json("POST", f"{api}/experiments/create", {"name": f"bench-{time.time_ns()}"})
        created = {"experiment_id": experiment["experiment_id"], "start_time": time.time_ns() // 1_000_000}
        run = client.json("POST", f"{api}/runs/create", created)["run"]["info"]["run_id"]
    metric = {"run_id": run, "key": "loss", "value": 0.5, "timestamp": time.time_ns() // 1_000_000, "step": 1}
    headers = {**server.authorization, "Content-Type": "application/json"}
    request = load.message("POST", f"{api}/runs/log-metric", json.dumps(metric).encode(), headers)
    target = load.Target(port=server.port, context=server.context())
    rates, application, edge = [], [], []

    def look() -> tuple[float, float]:
        return processes.cpu_s([server.application]), processes.cpu_s(server.nginx)

    for _ in range(rounds):
        before, after, outcome = load.between(target, request, clients=CLIENTS, requests=requests, look=look)
        rates.append(outcome.rate)
        application.append((after[0] - before[0]) / requests * 1e6)
        edge.append((after[1] - before[1]) / requests * 1e6)
    cost = f"{Sample.of(application).text('µs')} / {Sample.of(edge).text('µs')}"
    return [
        Figure(f"log-metric, {CLIENTS} clients through the edge: requests a second", Sample.of(rates).text("/s")),
        Figure("… CPU a request, application / nginx", cost),
    ]
