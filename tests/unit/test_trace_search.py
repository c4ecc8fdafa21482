"""What traces are found by, on both databases."""

from __future__ import annotations

import json
import time

import pytest
import sqlalchemy as sa

from tests.support.databases import database, postgres_url
from tests.support.traced import Traced, assessment, span
from zaffre.errors import InvalidInput
from zaffre.services.tracking import filters
from zaffre.store.database import Database
from zaffre.store.tracking.sql import bounded

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


def test_judgements_are_compared_as_numbers(searched: Traced) -> None:
    for index, (value, number) in enumerate([("0.5", 0.5), ("0.9", 0.9), ("true", 1.0), ('"yes"', 1.0), ('"9"', None)]):
        searched.add(f"t{index}", assessments=[assessment("a", "score", value.strip('"'), json=value, number=number)])
    for filter_, ids in (
        ("feedback.score > 0.5", ["t1"]),
        ("feedback.score >= 0.5 AND feedback.score < 1", ["t1", "t0"]),
        ("feedback.score <= 100", ["t1", "t0"]),
        ("feedback.score = '0.9'", ["t1"]),
        ("expectation.score > 0", []),
    ):
        assert searched.found(filter_) == ids, filter_
    for wrong in ("feedback.score > '0.5'", "feedback.score = 0.5", "tags.score > 5"):
        with pytest.raises(InvalidInput):
            searched.found(wrong)


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
    assert searched.found(None, "tags.`mlflow.traceName` DESC", limit=limit) == ["t1", "t3", "t2"]
    assert searched.found(None, "metadata.k", "tags.mlflow.traceName", limit=limit) == ["t3", "t1", "t2"]


def test_what_nothing_is_ordered_by(searched: Traced) -> None:
    for wrong in ("prompt", "span.name", "nothing", "text", "feedback.x"):
        with pytest.raises(InvalidInput):
            searched.found(None, wrong)


def told(**attributes: object) -> str:
    return json.dumps({"name": "n", "attributes": attributes, "events": []}, ensure_ascii=False, separators=(",", ":"))


def test_what_spans_say_is_searched(searched: Traced) -> None:
    searched.add("t1", span("a", "n", text=told(said='who said "hi"?\nnobody', count=3)), span("b", "n"))
    searched.add("t2", span("a", "n", text=told(said="CAFÉ au lait, 50% off", model="gpt-4")))
    searched.add("t3", span("a", "n", text=told(**{"llm.model": {"name": "gpt-4", "warm": True}}, ratio=0.7, on=False)))
    searched.add("t4")
    for filter_, ids in (
        ("trace.text LIKE '%said%'", ["t2", "t1"]),
        ("trace.text LIKE '%\"hi\"?\nnob%'", ["t1"]),
        ("span.content LIKE '%\"count\":3%'", ["t1"]),
        ("text LIKE '%SAID%'", []),
        ("trace.text ILIKE '%AU LAIT%'", ["t2"]),
        ("trace.text LIKE '%0_ off%' AND span.attributes.model = 'gpt-4'", ["t2"]),
        ("span.attributes.said LIKE 'who said \"%'", ["t1"]),
        ("span.attributes.count = '3'", ["t1"]),
        ("span.attributes.`llm.model` LIKE '%gpt-4%'", ["t3"]),
        ("span.attributes.llm.model = 'gpt-4'", []),
        ("span.attributes.ratio IN ('0.7', '0.8')", ["t3"]),
        ("span.attributes.on = 'false'", ["t3"]),
        ("span.attributes.on != 'false'", []),
        ("span.attributes.nothing != 'x'", []),
        ("span.attributes.said RLIKE '^(who|CAFÉ)'", ["t2", "t1"]),
        ("span.attributes.said RLIKE 'hi.*nobody$'", ["t1"]),
        ("span.name = 'n' AND span.attributes.count = '3'", ["t1"]),
        ("span.name = 'm' AND span.attributes.count = '3'", []),
    ):
        assert searched.found(filter_) == ids, filter_


def test_what_a_span_says_is_of_the_span_that_is_asked(searched: Traced) -> None:
    searched.add("t1", span("a", "foo", text=told(x="1")), span("b", "bar", text=told(x="2")))
    assert searched.found("span.name = 'foo' AND span.attributes.x = '1'") == ["t1"]
    assert searched.found("span.name = 'foo' AND span.attributes.x = '2'") == []
    assert searched.found("span.attributes.x = '1' AND trace.text LIKE '%2%'") == []


def test_regular_expressions(searched: Traced) -> None:
    searched.add(
        "t1", span("a", "llm.ask_v2"), tags={"env": "production-us-east-1", "mlflow.traceName": "GenerateReport"}
    )
    searched.add("t2", span("a", "db.ask"), tags={"env": "dev\nbox"}, metadata={"version": "v2.10.0-beta"})
    searched.add("t3", client_request_id="req-42", assessments=[assessment("a", "note", "Great, very helpful")])
    for filter_, ids in (
        ("tags.env RLIKE '^production'", ["t1"]),
        ("tags.env RLIKE 'us-(east|west)-[0-9]$'", ["t1"]),
        ("tags.env RLIKE 'dev.box'", ["t2"]),
        ("tags.env RLIKE 'DEV'", []),
        ("tags.env RLIKE '(?i)DEV'", ["t2"]),
        ("trace.name RLIKE '^Generate[RE]'", ["t1"]),
        ("span.name RLIKE '\\.ask(_v\\d)?$'", ["t2", "t1"]),
        ("span.name RLIKE '\\bask\\b'", ["t2"]),
        ("span.name RLIKE '[\\w]+\\Bsk'", ["t2", "t1"]),
        ("metadata.version RLIKE 'v[0-9]+\\.[0-9]+'", ["t2"]),
        ("trace.client_request_id RLIKE '[0-9]{2}$'", ["t3"]),
        ("feedback.note RLIKE 'Great.*helpful'", ["t3"]),
        ("trace.status RLIKE 'K'", ["t3", "t2", "t1"]),
    ):
        assert searched.found(filter_) == ids, filter_


@pytest.mark.parametrize("pattern", ["(", "(a)\\1", "(?=a)", "a{1001}", "((a{100}){100}){100}", "x" * 1001])
def test_expressions_that_could_keep_a_server_busy(searched: Traced, pattern: str) -> None:
    with pytest.raises(InvalidInput, match="regular expression"):
        searched.found(f"tags.env RLIKE '{pattern}'")


def test_an_expression_that_only_one_database_knows(searched: Traced) -> None:
    searched.add("t1", tags={"env": "a"})
    try:
        assert searched.found("tags.env RLIKE '(?P<one>a)'") == ["t1"]
    except InvalidInput as error:
        assert error.target == "filter" and "regular expression" in str(error)


def test_a_pattern_that_grows_when_it_is_written_as_json(searched: Traced) -> None:
    searched.add("t1", span("a", "n", text=told(x="\x01" * 9000)))
    try:
        assert searched.found("trace.text LIKE '%{}%'".format("\x01" * 9000)) == ["t1"]
    except InvalidInput as error:
        assert error.target == "filter"
    assert searched.found("trace.text LIKE '%{}%'".format("\x01" * 900)) == ["t1"]


def test_an_expression_takes_no_longer_than_its_text(database: Database) -> None:
    made = Traced(database)
    made.add("t1", tags={"env": "a" * 5000})
    began = time.monotonic()
    assert made.found("tags.env RLIKE '^(a+)+b$'") == []
    assert time.monotonic() - began < 5


def test_a_search_that_takes_too_long_is_given_up(database: Database) -> None:
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT max(i) FROM n"
    )

    def work(conn: sa.Connection) -> None:
        with bounded(conn, seconds=0.05):
            conn.execute(sa.text(numbers))

    with pytest.raises(InvalidInput, match=r"took longer than 0.05 s"):
        database.read_now(work)
    assert database.read_now(lambda conn: conn.execute(sa.text("SELECT 1")).scalar()) == 1


@pytest.mark.parametrize(
    "filter_",
    ["trace.text = 'x'", "trace.text RLIKE 'x'", "span.content IN ('x')", "span.duration = '1'", "span.attributes. = 'x'",
     "span.attributes.`a\"b` = 'x'", "tags.env RLIKE 5", "trace.timestamp RLIKE '1'", "span.attributes.x IS NULL"],
)  # fmt: skip
def test_what_cannot_be_asked(searched: Traced, filter_: str) -> None:
    with pytest.raises(InvalidInput):
        searched.found(filter_)


@pytest.mark.parametrize("grammar", [filters.RUNS, filters.EXPERIMENTS, filters.LOGGED_MODELS])
def test_only_traces_know_regular_expressions(grammar: filters.Grammar) -> None:
    with pytest.raises(InvalidInput, match="Invalid comparator 'RLIKE'"):
        filters.parse("tags.x RLIKE 'y'", grammar)
