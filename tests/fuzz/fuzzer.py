"""One random request after another, and what must be true of each answer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.fuzz import shapes, words
from tests.support.bad_input import SIGNS_OF_A_TRACE, VALID, Raw
from tests.support.zaffre_server import Answer, ZaffreServer
from zaffre.gateway.routes import Access, Route
from zaffre.protocols.arm import table

SLOW_S = 20.0
# What would take the ground from under the rest of the run.
LEFT_OUT = {"Workspaces_Delete", "Workspaces_ResyncKeys", "ManagedIdentity_Token"}
_OF_CLIENTS = "run IN (SELECT pk FROM runs WHERE origin != 'job')"
"""A job that is deleted goes when it is over, with all that was logged to it, whatever is asked just then."""

# What clients wrote, as they wrote it; what the server fills in by itself (states, logs of jobs) is left aside.
WRITTEN = {
    "resources": ("scope, type, parent, name, body", "state != 'Deleting'"),
    "jobs": ("scope, id, body", """server NOT LIKE '%"delete"%' """),
    "experiments": ("scope, id, name, lifecycle", "1"),
    "experiment_tags": ("*", "1"),
    "runs": ("scope, id, display_name, description, lifecycle", "origin != 'job'"),
    "metrics": ("*", _OF_CLIENTS),
    "run_params": ("*", _OF_CLIENTS),
    "run_tags": ("*", _OF_CLIENTS),
    "logged_models": (
        "scope, id, name, lifecycle, params, tags",
        "source_run IS NULL OR source_run NOT IN (SELECT id FROM runs WHERE origin = 'job')",
    ),
    "blobs": ("container, name, sha256, metadata", "name NOT LIKE 'ExperimentRun/%'"),
    "secrets": ("scope, name, sealed", "name NOT LIKE 'onlineEndpoints/%'"),
    "principals": ("*", "1"),
}


@dataclass
class Request:
    operation: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None

    def __str__(self) -> str:
        body = "" if self.body is None else f"\n    {self.body[:1500]!r}"
        return f"{self.operation}: {self.method} {self.target[:700]} {self.headers}{body}"


@dataclass
class Fuzzer:
    """`run` asks until the time is over; `failures` says what went wrong, `statuses` what was answered."""

    server: ZaffreServer
    routes: list[Route]
    seed: int
    failures: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._raw = Raw(self.server)
        self._types = {one.name: one for one in table.load()}
        served = [r for r in self.routes if not r.handler.__qualname__.startswith("not_served")]
        self._served = [r for r in served if r.operation not in LEFT_OUT and r.protocol != "scoring"]
        self._database = sqlite3.connect(f"file:{self.server.home / 'zaffre.db'}?mode=ro", uri=True)
        self._version = -1
        self._print: dict[str, str] = {}

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        try:
            for route in self._served:  # each once, then at random
                self.once(route)
            while time.monotonic() < until and len(self.failures) < 20:
                self.once(self._rng.choice(self._served))
        finally:
            self._raw.close()
            self._database.close()

    def once(self, route: Route) -> None:
        request = self._request(route)
        before = self.written()
        began = time.monotonic()
        answer = self._ask(request)
        took = time.monotonic() - began
        self.asked[route.operation] += 1
        self.statuses[answer.status] += 1
        problem = self.problem(answer, took)
        if problem is None and 400 <= answer.status < 500 and self.written() != before:
            changed = sorted(name for name, held in self.written().items() if held != before[name])
            problem = f"a refused request changed what is stored: {', '.join(changed)}"
        if problem:
            self.failures.append(f"{problem}\n  {request}\n  -> {answer.status} {answer.body[:600]!r}")

    def _ask(self, request: Request) -> Answer:
        try:
            return self._raw.ask(request.method, request.target, request.body, headers=request.headers)
        except (OSError, ValueError) as error:
            return Answer(599, {}, f"no answer: {error!r}".encode())

    def problem(self, answer: Answer, took: float) -> str | None:
        if answer.status >= 500 and answer.status != 501:
            return "a 5xx"
        if took > SLOW_S:
            return f"took {took:.0f} s"
        if answer.status >= 400 and any(sign in answer.body for sign in SIGNS_OF_A_TRACE if sign != b".py"):
            return "an error that shows our insides"
        if "application/json" in answer.headers.get("content-type", "") and answer.body:
            try:
                json.loads(answer.body)
            except ValueError:
                return "a body that is no JSON"
        return None

    # ---- making a request

    def _request(self, route: Route) -> Request:
        rng = self._rng
        parts = [self._part(part) for part in route.template.split("/")]
        query = self._query()
        headers = {name: rng.choice(values) for name, values in words.HEADERS.items() if rng.random() < 0.08}
        headers = {name: value for name, value in headers.items() if value.isprintable()}
        if route.access is Access.SIGNED and rng.random() < 0.5:
            query += "&sv=2025-05-05&sr=c&sp=racwdl&se=2099-01-01T00:00:00Z&sig=" + quote(words.text(rng), safe="")
        body = None if route.method in ("GET", "HEAD") or rng.random() < 0.05 else self._body(route)
        target = "/".join(parts) + (f"?{query}" if query else "")
        return Request(route.operation, route.method, target, headers, body)

    def _part(self, part: str) -> str:
        if "{" not in part:
            return part
        name = part[part.index("{") + 1 : part.index("}")].rstrip("*")
        known = self.server.credentials
        fixed = {
            "subscriptionId": known["subscription"],
            "resourceGroupName": known["resource_group"],
            "workspaceName": known["workspace"],
        }
        if name in fixed and self._rng.random() < 0.97:
            return fixed[name]
        if part.endswith("*}") and self._rng.random() < 0.5:
            return "/".join(
                quote(words.text(self._rng, ("a", "b")), safe="%") for _ in range(self._rng.randrange(1, 4))
            )
        usual = ("1",) if "ersion" in name else ("fuzz-1", "fuzz-2", "fuzz-run", "bare", "workspaceblobstore")
        return quote(words.text(self._rng, usual), safe="")

    def _query(self) -> str:
        rng = self._rng
        names = rng.sample(sorted(words.QUERIES), rng.choice((0, 1, 1, 2, 4)))
        pairs = [(name, rng.choice(words.QUERIES[name]) if rng.random() < 0.8 else words.text(rng)) for name in names]
        return "&".join(f"{quote(name, safe='$')}={quote(value, safe='%')}" for name, value in pairs)

    def _body(self, route: Route) -> bytes:
        rng = self._rng
        if rng.random() < 0.07:
            return words.garbage(rng)
        if route.protocol == "arm":
            operation = self._types.get(route.operation)
            kind = operation.type if operation else ""
            if kind in VALID and rng.random() < 0.6:
                made: Any = {"properties": VALID[kind], "location": "local"}
            else:
                made = shapes.arm_body(rng, kind)
        elif route.protocol == "mlflow":
            made = shapes.mlflow_body(rng, route.operation)
        elif route.protocol == "blob":
            return rng.randbytes(rng.choice((0, 1, 100, 5000)))
        else:
            made = {words.text(rng, ("runId", "values", "hidden", "tags", "paths", "path")): words.anything(rng)}
        body = words.mutate(rng, made, rng.choice((0, 0, 1, 2, 3)))
        return json.dumps(body).encode("utf-8", "surrogatepass")

    # ---- what is stored

    def written(self) -> dict[str, str]:
        """A hash over all that clients wrote, by table; read again only when somebody has committed since."""
        version = self._database.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version, self._print = version, {name: self._hash(name) for name in WRITTEN}
        return self._print

    def _hash(self, name: str) -> str:
        columns, where = WRITTEN[name]
        digest = hashlib.blake2b()
        for row in self._database.execute(f"SELECT {columns} FROM {name} WHERE {where} ORDER BY 1, 2"):
            digest.update(repr(row).encode())
        return digest.hexdigest()


def routes_of(home: Path) -> list[Route]:
    """All routes, as an application of that (empty) home puts them together."""
    from zaffre.application import Application
    from zaffre.control.link import SupervisorLink
    from zaffre.runtime import Runtime
    from zaffre.settings import Settings

    application = Application(Settings(home=home), Runtime(), SupervisorLink.__new__(SupervisorLink), ())
    with contextlib.closing(application.database):
        return list(application.gateway.routes)
