"""Traces made by the service itself, for tests that ask what is found in many of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from zaffre.services.tracking import Tracking
from zaffre.services.tracking.traces import Arrived, NewTrace
from zaffre.store.database import Database
from zaffre.store.tracking.traces import Assessment, Span
from zaffre.store.unit import Actor

ME = Actor(name="me")
T = TypeVar("T")


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def span(id_: str, name: str, **more: Any) -> Span:
    given = {"parent": None, "type": "LLM", "status": "OK", "started_ns": 10**9, "ended_ns": 2 * 10**9}
    return Span(id=id_, name=name, **{**given, "message": b"", "text": "{}", **more})


def assessment(id_: str, name: str, value: str | None, kind: str = "feedback", **more: Any) -> Assessment:
    given = {"valid": True, "body": {}, "created_at": 1000, "modified_at": 1000, **more}
    return Assessment(id=id_, name=name, kind=kind, value=value, **given)


class Traced:
    """An experiment, which traces are put into, and what is found in it, by their ids."""

    def __init__(self, database: Database) -> None:
        self.tracking = Tracking(database)
        database.write_now(lambda unit: self.tracking.ensure_experiment(unit, "s", "Default"))
        self.experiment = do(self.tracking.experiments.by_name("s", "Default")).id

    def add(self, id_: str, *spans: Span, **more: Any) -> None:
        given = {"state": "OK", "requested_at": 1000, **more}
        do(self.tracking.traces.start(ME, "s", NewTrace(id=id_, experiment_id=self.experiment, **given)))
        if spans:
            do(self.tracking.traces.log_spans(ME, "s", self.experiment, [Arrived(trace=id_, spans=list(spans))]))

    def found(self, filter_: str | None = None, *order: str, limit: int = 100) -> list[str]:
        names: list[str] = []
        token: str | None = None
        while True:
            traces, token = do(self.tracking.traces.search("s", [self.experiment], filter_, list(order), token, limit))
            names += [one.id for one in traces]
            if token is None:
                return names
