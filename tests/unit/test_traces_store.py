"""What traces need of both databases: two filters counted side by side, prompts, and an end that comes after the beginning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from tests.support.databases import database, postgres_url
from zaffre.errors import InvalidInput, NotFound
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.correlation import Counts
from zaffre.services.tracking.traces import Arrived, NewTrace
from zaffre.store.database import Database
from zaffre.store.tracking import traces as store
from zaffre.store.tracking.traces import Span
from zaffre.store.unit import Actor, Unit

__all__ = ["database", "postgres_url"]
ME = Actor(name="me")
T = TypeVar("T")


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@pytest.fixture
def tracking(database: Database) -> Tracking:
    """Four traces in experiment "0": two of topic a, one of which failed; one of topic b; one of none."""
    made = Tracking(database)
    database.write_now(lambda unit: made.ensure_experiment(unit, "s", "Default"))
    for id_, state, tags in (
        ("t1", "OK", {"topic": "a"}),
        ("t2", "ERROR", {"topic": "a"}),
        ("t3", "OK", {"topic": "b"}),
        ("t4", "OK", {}),
    ):
        do(
            made.traces.start(
                ME, "s", NewTrace(id=id_, experiment_id=_only(made), state=state, requested_at=1000, tags=tags)
            )
        )
    return made


def _only(tracking: Tracking) -> str:
    return do(tracking.experiments.by_name("s", "Default")).id


def test_two_filters_are_counted(tracking: Tracking) -> None:
    def counted(base: str | None, first: str, second: str, scope: str = "s") -> Counts:
        return do(tracking.traces.correlation(scope, [_only(tracking)], base, first, second))

    assert counted(None, "tags.topic = 'a'", "trace.status = 'ERROR'") == Counts(2, 1, 1, 4)
    assert counted("trace.status = 'OK'", "tags.topic = 'a'", "tags.topic IS NULL") == Counts(1, 1, 0, 3)
    # A trace without a client's id is neither like that one nor unlike it; it is counted all the same.
    assert counted(None, "trace.client_request_id = 'x'", "trace.client_request_id != 'x'") == Counts(0, 0, 0, 4)
    assert counted(None, "tags.topic = 'a'", "tags.topic = 'a'", scope="another") == Counts(0, 0, 0, 0)
    with pytest.raises(InvalidInput) as refused:
        counted("trace.nothing = 'x'", "tags.topic = 'a'", "tags.topic = 'a'")
    assert refused.value.target == "base_filter"


def test_prompts_are_no_tags_and_are_found(tracking: Tracking) -> None:
    for _ in range(2):
        do(tracking.traces.link_prompts("s", "t2", [("greet", "1")]))
    found, _ = do(tracking.traces.search("s", [_only(tracking)], "prompt = 'greet/1'", [], None, 10))
    assert [one.id for one in found] == ["t2"]
    assert "greet/1" not in found[0].tags | found[0].metadata
    with pytest.raises(NotFound):
        do(tracking.traces.link_prompts("s", "none", [("greet", "1")]))


def test_a_trace_ends_after_it_began(tracking: Tracking) -> None:
    def end(id_: str) -> Any:
        words: Any = {"state": "ERROR", "ended_at": 1250, "tags": {"topic": "z"}, "metadata": {"k": "v"}}
        return do(tracking.traces.end(ME, "s", id_, **words))

    one = end("t1")
    assert (one.state, one.requested_at, one.duration, one.metadata) == ("ERROR", 1000, 250, {"k": "v"})
    assert one.tags["topic"] == "z"
    with pytest.raises(NotFound):
        end("none")


def test_what_spans_said_stays_where_the_maker_says_nothing(tracking: Tracking) -> None:
    def root(id_: str, status: str) -> Span:
        words: Any = {"parent": None, "name": "n", "type": "LLM", "started_ns": 10**9, "ended_ns": 2 * 10**9}
        return Span(id=id_, status=status, message=b"", text="{}", **words)

    def arrive(span: Span, request: str | None, cost: float) -> None:
        used = {"mlflow.trace.cost": {"total_cost": cost}, "mlflow.trace.tokenUsage": {"input_tokens": 3}}
        arrived = Arrived(trace="t9", spans=[span], request=request, used=used)
        do(tracking.traces.log_spans(ME, "s", _only(tracking), [arrived]))

    arrive(root("a", "OK"), '"hi"', 0.5)
    arrive(root("b", "ERROR"), '"hi"', 0.25)
    one = do(tracking.traces.get("s", "t9"))
    assert (one.state, one.request_preview) == ("OK", '"hi"'), "what has ended does not end otherwise"
    assert json.loads(one.metadata["mlflow.trace.cost"]) == {"total_cost": 0.75}
    assert json.loads(one.metadata["mlflow.trace.tokenUsage"]) == {"input_tokens": 6}
    told = NewTrace(id="t9", experiment_id=_only(tracking), state="OK", requested_at=1, response_preview="bye")
    made = do(tracking.traces.start(ME, "s", told))
    assert (made.request_preview, made.response_preview) == ('"hi"', "bye")


@pytest.mark.parametrize("label", ["no JSON", "[1]", '{"input_tokens": "x"}', "[" * 100_000])
def test_a_label_that_says_no_figures(tracking: Tracking, label: str) -> None:
    made = NewTrace(id="t9", experiment_id=_only(tracking), state="OK", requested_at=1)
    words: Any = {"parent": "a", "name": "n", "type": "LLM", "status": "OK", "started_ns": 1, "ended_ns": 2}
    span = Span(id="b", message=b"", text="{}", **words)
    used = {"mlflow.trace.tokenUsage": {"input_tokens": 3}}
    do(tracking.traces.log_spans(ME, "s", _only(tracking), [Arrived(trace="t9", spans=[span])]))

    def spoil(unit: Unit) -> None:
        found = store.find(unit.conn, "s", "t9")
        assert found is not None
        store.set_labels(unit, found.pk, store.METADATA, {"mlflow.trace.tokenUsage": label})

    tracking.traces._database.write_now(spoil)
    do(tracking.traces.log_spans(ME, "s", _only(tracking), [Arrived(trace="t9", spans=[span], used=used)]))
    assert json.loads(do(tracking.traces.get("s", made.id)).metadata["mlflow.trace.tokenUsage"]) == {"input_tokens": 3}
