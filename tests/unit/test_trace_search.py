"""What traces are found by, on both databases."""

from __future__ import annotations

import pytest

from tests.support.databases import database, postgres_url
from tests.support.traced import Traced, assessment, span
from zaffre.errors import InvalidInput
from zaffre.store.database import Database

__all__ = ["database", "postgres_url"]
SESSION = "mlflow.trace.session"


@pytest.fixture
def searched(database: Database) -> Traced:
    return Traced(database)


def test_what_is_asked_of_a_span_is_asked_of_one_span(searched: Traced) -> None:
    searched.add("t1", span("a", "foo"), span("b", "search", status="ERROR"))
    searched.add("t2", span("a", "search"))
    assert searched.found("span.name = 'search' AND span.status = 'OK'") == ["t2"]
    assert searched.found("span.name = 'search' AND span.status != 'OK'") == ["t1"]
    assert searched.found("span.name IN ('foo', 'search')") == ["t2", "t1"]


def test_an_issue_finds_the_traces_it_is_about(searched: Traced) -> None:
    searched.add("t1", assessments=[assessment("a1", "issue-7", None, "issue")])
    searched.add("t2", assessments=[assessment("a1", "issue-7", "x")])
    assert searched.found("issue.id = 'issue-7'") == ["t1"]
    assert searched.found("issue.id = 'issue-8'") == []
    for wrong in ("issue.name = 'x'", "issue.id != 'x'", "issue.id LIKE 'x'", "issue.id IS NULL"):
        with pytest.raises(InvalidInput):
            searched.found(wrong)


def test_what_is_said_of_a_session_is_said_of_its_traces(searched: Traced) -> None:
    for id_, session, given in (
        ("t1", "a", [assessment("a1", "good", "yes", body={"metadata": {SESSION: "a"}})]),
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
def test_the_absent_come_last_whichever_way(searched: Traced, limit: int) -> None:
    searched.add("t1", tags={"mlflow.traceName": "b"}, duration=5)
    searched.add("t2", duration=7)
    searched.add("t3", tags={"mlflow.traceName": "a"})
    assert searched.found(None, "name ASC", limit=limit) == ["t3", "t1", "t2"]
    assert searched.found(None, "name DESC", limit=limit) == ["t1", "t3", "t2"]
    assert searched.found(None, "execution_time ASC", limit=limit) == ["t1", "t2", "t3"]
    assert searched.found(None, "execution_time DESC", limit=limit) == ["t2", "t1", "t3"]
    assert searched.found(None, "experiment_id", "trace_id", limit=limit) == ["t1", "t2", "t3"]
    assert searched.found(None, "end_time DESC", limit=limit) == ["t2", "t1", "t3"]


def test_what_nothing_is_ordered_by(searched: Traced) -> None:
    for wrong in ("tags.x", "prompt", "span.name", "nothing"):
        with pytest.raises(InvalidInput):
            searched.found(None, wrong)
