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


@contextlib.contextmanager
def both(folder: Path, python: Path, database: str) -> Iterator[tuple[Side, Side]]:
    """Ours and MLflow's, each with a database of its own of that kind, both up."""
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        urls: list[str | None] = [None, None]
        databases: list[postgres.Postgres] = []
        if database == "PostgreSQL":
            databases = [stack.enter_context(postgres.running(folder / name)) for name in ("ours-pg", "peers-pg")]
            urls = [one.url for one in databases]
        yield (
            _ours(stack, folder / "ours", urls[0], databases[0] if databases else None),
            _mlflows(stack, python, folder / "peer", urls[1], databases[1] if databases else None),
        )


def one(stack: contextlib.ExitStack, name: str, folder: Path, python: Path) -> Side:
    """The side of that name alone, on SQLite, up until the stack ends."""
    if name == "zaffre":
        return _ours(stack, folder, None, None)
    return _mlflows(stack, python, folder, None, None)


def _ours(stack: contextlib.ExitStack, home: Path, url: str | None, database: postgres.Postgres | None) -> Side:
    server = stack.enter_context(Server(home, {"ZAFFRE_DATABASE_URL": url} if url else None))
    client = stack.enter_context(server.client())
    return Side(
        name="zaffre",
        api=f"/tracking{server.scope}/api/2.0/mlflow",
        target=load.Target(port=server.port, context=server.context()),
        headers=server.authorization,
        pids=lambda: [*processes.tree(server.pid), *server.nginx, *(database.pids if database else ())],
        ask=client.json,
    )


def _mlflows(
    stack: contextlib.ExitStack, python: Path, folder: Path, url: str | None, database: postgres.Postgres | None
) -> Side:
    server = stack.enter_context(mlflow_server.MlflowServer(python, folder, url).running())
    return Side(
        name="mlflow",
        api=mlflow_server.API,
        target=load.Target(port=server.port),
        headers={},
        pids=lambda: [*server.pids, *(database.pids if database else ())],
        ask=server.json,
        tolerant=True,  # under load it refuses some; ours may refuse none
    )


def numbers() -> Callable[[], int]:
    """0, 1, 2 … for requests that must each be another."""
    return itertools.count().__next__
