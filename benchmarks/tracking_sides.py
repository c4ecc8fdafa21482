"""Zaffre and MLflow's server as two sides of one comparison: asked the same, counted the same."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import load, mlflow_server, postgres, processes
from benchmarks.samples import Sample
from benchmarks.server import Server

NOW = 1_760_000_000_000
DATABASES = ("SQLite", "PostgreSQL")


@dataclass
class Side:
    """`api` is the path of MLflow's REST interface; `pids` are all processes that serve it, the database's among them."""

    name: str
    api: str
    target: load.Target
    headers: dict[str, str]
    pids: Callable[[], list[int]]
    ask: Callable[[str, str, Any], Any]
    tolerant: bool = False
    refused: dict[str, int] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    costs: dict[str, list[float]] = field(default_factory=dict)

    def json(self, method: str, operation: str, body: dict[str, Any] | None = None) -> Any:
        if method == "GET":
            return self.ask("GET", f"{self.api}/{operation}?{urllib.parse.urlencode(body or {})}", None)
        return self.ask(method, f"{self.api}/{operation}", body)

    def message(self, operation: str, body: Any) -> bytes:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return load.message(
            "POST", f"{self.api}/{operation}", data, {**self.headers, "Content-Type": "application/json"}
        )

    def measure(self, what: str, requests: load.Requests, *, clients: int, count: int, warm: int = 2) -> None:
        """Ask `count` times; note requests a second, and CPU seconds a request of everything that serves them."""
        pids = self.pids()

        def look() -> float:
            return processes.cpu_s({*pids, *self.pids()})

        before, after, outcome = load.between(
            self.target, requests, clients=clients, requests=count, look=look, warm=warm, tolerant=self.tolerant
        )
        self.refused[what] = self.refused.get(what, 0) + outcome.refused
        self.rates.setdefault(what, []).append(outcome.rate)
        self.costs.setdefault(what, []).append((after - before) / (count - outcome.refused))

    def rate(self, what: str) -> Sample:
        return Sample.of(self.rates[what])

    def cost(self, what: str) -> Sample:
        return Sample.of(self.costs[what])

    def new_run(self) -> str:
        name = f"bench-{time.time_ns()}"
        experiment = self.json("POST", "experiments/create", {"name": name})["experiment_id"]
        run = self.json("POST", "runs/create", {"experiment_id": experiment, "start_time": NOW})
        return str(run["run"]["info"]["run_id"])


@dataclass(frozen=True)
class Place:
    """Where a side keeps its things: a folder, and a PostgreSQL of its own unless it is on SQLite."""

    folder: Path
    database: postgres.Postgres | None = None

    def url(self, file: str) -> str:
        """Of its database; `file` is the name of an SQLite database in its folder."""
        return self.database.url if self.database else f"sqlite:///{self.folder / file}"


@contextlib.contextmanager
def places(folder: Path, database: str) -> Iterator[tuple[Place, Place]]:
    """Ours and MLflow's. A PostgreSQL is up; the servers are not."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        found = []
        for name in ("zaffre", "mlflow"):
            own = stack.enter_context(postgres.running(folder / f"{name}-pg")) if database == "PostgreSQL" else None
            found.append(Place(folder / name, own))
        yield found[0], found[1]


@contextlib.contextmanager
def both(folder: Path, python: Path, database: str) -> Iterator[tuple[Side, Side]]:
    """Ours and MLflow's, each with a database of its own of that kind, both up."""
    with places(folder, database) as (ours, peers), our_side(ours) as our, mlflows_side(python, peers) as peer:
        yield our, peer


@contextlib.contextmanager
def our_side(place: Place) -> Iterator[Side]:
    """Ours, up until the context ends."""
    own = place.database
    with Server(place.folder, {"ZAFFRE_DATABASE_URL": own.url} if own else None) as server, server.client() as client:
        yield Side(
            name="zaffre",
            api=f"/tracking{server.scope}/api/2.0/mlflow",
            target=load.Target(port=server.port, context=server.context()),
            headers=server.authorization,
            pids=lambda: [*processes.tree(server.pid), *server.nginx, *(own.pids if own else ())],
            ask=client.json,
        )


@contextlib.contextmanager
def mlflows_side(python: Path, place: Place) -> Iterator[Side]:
    """MLflow's, up until the context ends."""
    own = place.database
    with mlflow_server.MlflowServer(python, place.folder, own.url if own else None).running() as server:
        yield Side(
            name="mlflow",
            api=mlflow_server.API,
            target=load.Target(port=server.port),
            headers={},
            pids=lambda: [*server.pids, *(own.pids if own else ())],
            ask=server.json,
            tolerant=True,  # under load it refuses some; ours may refuse none
        )


def numbers() -> Callable[[], int]:
    """0, 1, 2 … for requests that must each be another."""
    return itertools.count().__next__
