"""What traces are found by, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from tests.support.databases import database, postgres_url
from zaffre.errors import InvalidInput
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.traces import Arrived, NewTrace
from zaffre.store.database import Database
from zaffre.store.tracking.traces import Assessment, Span
from zaffre.store.unit import Actor

__all__ = ["database", "postgres_url"]
ME = Actor(name="me")
SESSION = "mlflow.trace.session"
T = TypeVar("T")


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def span(id_: str, name: str, **more: Any) -> Span:
    given = {
        "parent": None,
        "type": "LLM",
        "status": "OK",
        "started_ns": 10**9,
        "ended_ns": 2 * 10**9,
        "message": b"",
        "text": "{}",
    }
    return Span(id=id_, name=name, **{**given, **more})


def assessment(id_: str, name: str, value: str | None, kind: str = "feedback", **body: Any) -> Assessment:
    return Assessment(id=id_, name=name, kind=kind, value=value, valid=True, body=body, created_at=1, modified_at=1)


class Searched:
    """One experiment and what is found in it, by the traces' ids."""

    def __init__(self, tracking: Tracking) -> None:
        self.tracking = tracking
        self.experiment = do(tracking.experiments.by_name("s", "Default")).id

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


@pytest.fixture
def searched(database: Database) -> Searched:
    tracking = Tracking(database)
    database.write_now(lambda unit: tracking.ensure_experiment(unit, "s", "Default"))
    return Searched(tracking)


def test_what_is_asked_of_a_span_is_asked_of_one_span(searched: Searched) -> None:
    searched.add("t1", span("a", "foo"), span("b", "search", status="ERROR"))
    searched.add("t2", span("a", "search"))
    assert searched.found("span.name = 'search' AND span.status = 'OK'") == ["t2"]
    assert searched.found("span.name = 'search' AND span.status != 'OK'") == ["t1"]
    assert searched.found("span.name IN ('foo', 'search')") == ["t2", "t1"]


def test_an_issue_finds_the_traces_it_is_about(searched: Searched) -> None:
    searched.add("t1", assessments=[assessment("a1", "issue-7", None, "issue")])
    searched.add("t2", assessments=[assessment("a1", "issue-7", "x")])
    assert searched.found("issue.id = 'issue-7'") == ["t1"]
    assert searched.found("issue.id = 'issue-8'") == []
    for wrong in ("issue.name = 'x'", "issue.id != 'x'", "issue.id LIKE 'x'", "issue.id IS NULL"):
        with pytest.raises(InvalidInput):
            searched.found(wrong)


def test_what_is_said_of_a_session_is_said_of_its_traces(searched: Searched) -> None:
    for id_, session, given in (
        ("t1", "a", [assessment("a1", "good", "yes", metadata={SESSION: "a"})]),
        ("t2", "a", []),
        ("t3", "b", [assessment("a1", "good", "yes")]),
        ("t4", "b", []),
    ):
        searched.add(id_, metadata={SESSION: session}, assessments=given)
    assert searched.found("feedback.good = 'yes'", "trace_id ASC") == ["t1", "t2", "t3"]
    assert searched.found("feedback.good = 'no'") == []
    assert searched.found("feedback.good IS NULL") == ["t4"]
    assert searched.found("feedback.good IS NOT NULL", "trace_id ASC") == ["t1", "t2", "t3"]


@pytest.mark.parametrize("limit", [1, 100])
def test_the_absent_come_last_whichever_way(searched: Searched, limit: int) -> None:
    searched.add("t1", tags={"mlflow.traceName": "b"}, duration=5)
    searched.add("t2", duration=7)
    searched.add("t3", tags={"mlflow.traceName": "a"})
    assert searched.found(None, "name ASC", limit=limit) == ["t3", "t1", "t2"]
    assert searched.found(None, "name DESC", limit=limit) == ["t1", "t3", "t2"]
    assert searched.found(None, "execution_time ASC", limit=limit) == ["t1", "t2", "t3"]
    assert searched.found(None, "execution_time DESC", limit=limit) == ["t2", "t1", "t3"]
    assert searched.found(None, "experiment_id", "trace_id", limit=limit) == ["t1", "t2", "t3"]
    assert searched.found(None, "end_time DESC", limit=limit) == ["t2", "t1", "t3"]


def test_what_nothing_is_ordered_by(searched: Searched) -> None:
    for wrong in ("tags.x", "prompt", "span.name", "nothing"):
        with pytest.raises(InvalidInput):
            searched.found(None, wrong)
