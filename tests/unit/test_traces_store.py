"""What traces need of both databases: two filters counted side by side, prompts, and an end that comes after the beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from tests.support.databases import database, postgres_url
from zaffre.errors import InvalidInput, NotFound
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.correlation import Counts
from zaffre.services.tracking.traces import NewTrace
from zaffre.store.database import Database
from zaffre.store.unit import Actor

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
