"""What the two servers of tracking cost before and between requests: CPU of a start, and memory when they idle."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import load, mlflow_server, processes
from benchmarks.figures import Figure
from benchmarks.samples import Sample, ratios
from benchmarks.tracking_sides import NOW, Place, Side, mlflows_side, our_side

CLIENTS, REQUESTS = 8, 1000
REST_S = 3.0
"""For what a burst leaves to settle; for MLflow's the workers' imports as well."""


def measure(folder: Path, *, rounds: int) -> list[Figure]:
    """Alternating starts on SQLite, each on the files of the one before; the first, which makes them, is not counted."""
    python = mlflow_server.install(folder)
    starts: dict[str, list[float]] = {"zaffre": [], "mlflow": []}
    sizes: dict[str, list[float]] = {"zaffre": [], "mlflow": []}
    for number in range(rounds + 1):
        for name in starts:
            with _started(folder, python, name) as side:
                side.json("GET", "experiments/get", {"experiment_id": "0"})
                cpu = processes.cpu_s(side.pids())
                if number == 0:
                    continue
                starts[name].append(cpu)
                _log(side)
                time.sleep(REST_S)
                sizes[name].append(sum(processes.pss_mb(pid) for pid in side.pids()))
    return [
        _figure("idle after 1,000 requests: PSS of the whole tree", sizes, "MB", 0),
        _figure("start to the first answered request: CPU of the whole tree", starts, "s", 2),
    ]


@contextlib.contextmanager
def _started(folder: Path, python: Path, name: str) -> Iterator[Side]:
    place = Place(folder / "size" / name)
    with our_side(place) if name == "zaffre" else mlflows_side(python, place) as side:
        yield side


def _log(side: Side) -> None:
    message = side.message(
        "runs/log-metric", {"run_id": side.new_run(), "key": "loss", "value": 0.5, "timestamp": NOW, "step": 1}
    )
    load.between(side.target, message, clients=CLIENTS, requests=REQUESTS, look=lambda: None, tolerant=side.tolerant)


def _figure(what: str, found: dict[str, list[float]], unit: str, digits: int) -> Figure:
    ours, peers = Sample.of(found["zaffre"]), Sample.of(found["mlflow"])
    part = ratios(ours, peers)
    return Figure(
        f"{what}, of MLflow's",
        f"{part.text('×', digits=3)}: {ours.text(unit, digits=digits)} against {peers.text(unit, digits=digits)}",
        part.median,
        0.1,
        "< 0.1 ×",
    )
