"""Figures over traces, on both databases: what is counted, ranked, grouped and paged, and what is refused."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from tests.support.databases import database, postgres_url
from tests.support.traced import Traced, assessment, do, span
from zaffre.errors import InvalidInput
from zaffre.services.tracking.counted import judged, tokens
from zaffre.services.tracking.trace_metrics import Aggregation, Asked, parse_filters
from zaffre.store.database import Database

__all__ = ["database", "postgres_url"]
NAME = "mlflow.traceName"
COUNT = [Aggregation("COUNT")]


@pytest.fixture
def traced(database: Database) -> Traced:
    return Traced(database)


def ask(traced: Traced, view: str, metric: str, kinds: list[Aggregation], **more: Any) -> list[tuple[Any, ...]]:
    """(dimensions …, values …) of every group, read in pages of two."""
    filters = parse_filters(more.pop("filters", []))
    asked = Asked(
        experiments=[traced.experiment], view=view, metric=metric, aggregations=kinds, filters=filters, **more
    )
    found: list[tuple[Any, ...]] = []
    token: str | None = None
    while True:
        groups, token = do(traced.tracking.trace_metrics.query("s", asked, token, 2))
        found += [(*one.place, *one.values.values()) for one in groups]
        if token is None:
            return found


def test_traces_are_counted_by_what_they_are(traced: Traced) -> None:
    for index, (name, state) in enumerate([("a", "OK"), ("a", "ERROR"), ("b", "OK"), ("a", "OK"), ("c", "OK")]):
        traced.add(f"t{index}", state=state, tags={NAME: name}, metadata={"build": f"{index % 2}"})
    traced.add("t9")  # without a name it is in no group of names
    assert ask(traced, "TRACES", "trace_count", COUNT) == [(6,)]
    both = ask(traced, "TRACES", "trace_count", COUNT, dimensions=["trace_name", "trace_status"])
    assert both == [("a", "ERROR", 1), ("a", "OK", 2), ("b", "OK", 1), ("c", "OK", 1)]
    turned = ask(traced, "TRACES", "trace_count", COUNT, dimensions=["trace_status", "trace_name"])
    assert turned == [("ERROR", "a", 1), ("OK", "a", 2), ("OK", "b", 1), ("OK", "c", 1)]
    for filters, count in (
        (["trace.status = 'OK'"], 5),
        (["trace.metadata.build = '0'", "trace.tag.`mlflow.traceName` = 'a'"], 1),
        (["trace.tag.nothing = 'a'"], 0),
    ):
        assert ask(traced, "TRACES", "trace_count", COUNT, filters=filters) == [(count,)]


@pytest.mark.parametrize(
    ("given", "ranks"),
    [
        ([30, 10, 20, 40, None], {0: 10, 25: 17.5, 50: 25, 99: 39.7, 100: 40}),
        ([7], {0: 7, 50: 7, 100: 7}),
        ([5, 5, 5], {33.3: 5, 50: 5}),
    ],
)
def test_latencies_are_ranked(traced: Traced, given: list[int | None], ranks: dict[float, float]) -> None:
    for index, duration in enumerate(given):
        traced.add(f"t{index}", duration=duration)
    kinds = [*(Aggregation("PERCENTILE", float(at)) for at in ranks), Aggregation("MIN"), Aggregation("MAX")]
    ((*found,),) = ask(traced, "TRACES", "latency", [*kinds, Aggregation("AVG")])
    there = [one for one in given if one is not None]
    expected = [*ranks.values(), min(there), max(there), sum(there) / len(there)]
    assert found == pytest.approx(expected, rel=1e-12)
    assert [one.name for one in kinds[:2]] == [f"P{float(at)}" for at in list(ranks)[:2]]


def test_ranks_are_those_of_numpy(traced: Traced) -> None:
    chance = random.Random(7)
    given = {name: [chance.randrange(50) for _ in range(size)] for name, size in (("a", 40), ("b", 7), ("c", 1))}
    for name, durations in given.items():
        for index, duration in enumerate(durations):
            traced.add(f"{name}{index}", duration=duration, tags={NAME: name})
    shares = [0.0, 1.0, 12.5, 50.0, 66.6, 90.0, 99.9, 100.0]
    kinds = [Aggregation("PERCENTILE", share) for share in shares]
    found = ask(traced, "TRACES", "latency", kinds, dimensions=["trace_name"])
    assert [name for name, *_ in found] == ["a", "b", "c"]
    for name, *values in found:
        assert values == pytest.approx(np.percentile(given[name], shares).tolist(), rel=1e-12)


def test_each_group_is_ranked_by_itself(traced: Traced) -> None:
    for index in range(30):
        traced.add(f"t{index}", duration=index, tags={NAME: "abc"[index % 3]})
    kinds = [Aggregation("PERCENTILE", 50.0)]
    found = ask(traced, "TRACES", "latency", kinds, dimensions=["trace_name"])
    assert found == [("a", 13.5), ("b", 14.5), ("c", 15.5)]


def test_intervals_begin_at_their_multiples(traced: Traced) -> None:
    for index, at in enumerate((0, 59_999, 60_000, 119_999, 600_000)):
        traced.add(f"t{index}", requested_at=at)
    bounds = {"interval": 60_000, "since": 0, "until": 500_000}
    assert ask(traced, "TRACES", "trace_count", COUNT, **bounds) == [(0, 2), (60_000, 2)]
    by_state = ask(traced, "TRACES", "trace_count", COUNT, dimensions=["trace_status"], **bounds)
    assert by_state == [(0, "OK", 2), (60_000, "OK", 2)]


def test_spans_are_counted_and_their_costs_added_up(traced: Traced) -> None:
    spans = [
        span("a", "ask", model="m1", provider="p", total_cost=0.5, started_ns=0, ended_ns=3_000_000),
        span("b", "ask", model="m2", provider="p", total_cost=1.5, started_ns=0, ended_ns=5_999_999),
        span("c", "look", type="TOOL", status="ERROR", started_ns=61 * 10**9, ended_ns=None),
    ]
    traced.add("t1", *spans)
    assert ask(traced, "SPANS", "span_count", COUNT, dimensions=["span_type"]) == [("LLM", 2), ("TOOL", 1)]
    assert ask(traced, "SPANS", "span_count", COUNT, dimensions=["span_model_name"]) == [("m1", 1), ("m2", 1)]
    assert ask(traced, "SPANS", "total_cost", [Aggregation("SUM")], dimensions=["span_model_provider"]) == [("p", 2.0)]
    assert ask(traced, "SPANS", "latency", [Aggregation("AVG")], dimensions=["span_name"]) == [("ask", 4.0)]
    assert ask(traced, "SPANS", "span_count", COUNT, filters=["span.status = 'ERROR'"]) == [(1,)]
    found = ask(traced, "SPANS", "span_count", COUNT, interval=60_000, since=0, until=10_000)
    assert found == [(0, 2), (60_000, 1)], "by the time of the span"


def test_assessments_are_counted_and_averaged(traced: Traced) -> None:
    given = [
        assessment("a", "good", "yes", json='"yes"', number=1.0, created_at=-1),
        assessment("b", "good", "no", json='"no"', number=0.0),
        assessment("c", "expected", "x", "expectation", json='"x"'),
    ]
    traced.add("t1", assessments=given)
    count = ask(traced, "ASSESSMENTS", "assessment_count", COUNT, dimensions=["assessment_name", "assessment_value"])
    assert count == [("expected", '"x"', 1), ("good", '"no"', 1), ("good", '"yes"', 1)]
    average = [Aggregation("AVG")]
    assert ask(traced, "ASSESSMENTS", "assessment_value", average, dimensions=["assessment_name"]) == [("good", 0.5)]
    assert ask(traced, "ASSESSMENTS", "assessment_count", COUNT, filters=["assessment.type = 'expectation'"]) == [(1,)]
    found = ask(traced, "ASSESSMENTS", "assessment_count", COUNT, interval=1000, since=0, until=2000)
    assert found == [(-1000, 1), (1000, 2)]


def test_what_was_overridden_counts_no_more(traced: Traced) -> None:
    before = assessment("a", "good", "no", json='"no"', number=0.0, valid=False)
    traced.add("t1", assessments=[before, assessment("b", "good", "yes", json='"yes"', number=1.0)])
    assert ask(traced, "ASSESSMENTS", "assessment_value", [Aggregation("AVG")]) == [(1,)]


def test_what_is_too_large_to_be_added_up_is_no_figure(traced: Traced) -> None:
    for index, tokens_ in enumerate(("1e199", "1e199", "1e300")):
        traced.add(f"t{index}", metadata={"mlflow.trace.tokenUsage": f'{{"input_tokens": {tokens_}}}'})
    kinds = [Aggregation("SUM"), Aggregation("AVG"), Aggregation("PERCENTILE", 75.0)]
    assert ask(traced, "TRACES", "input_tokens", kinds) == [pytest.approx((2e199, 1e199, 1e199))]


def test_sessions_are_counted_once(traced: Traced) -> None:
    for index, session in enumerate(("a", "a", "b", None)):
        metadata = {"mlflow.trace.session": session} if session else {}
        traced.add(f"t{index}", requested_at=index * 1000, metadata=metadata)
    assert ask(traced, "TRACES", "session_count", COUNT) == [(2,)]
    by_time = ask(traced, "TRACES", "session_count", COUNT, interval=2000, since=0, until=9000)
    assert by_time == [(0, 1), (2000, 1)]


def test_traces_of_a_run_are_those_linked_to_it_as_well(traced: Traced) -> None:
    traced.add("t1", metadata={"mlflow.sourceRun": "r"})
    traced.add("t2")
    traced.add("t3")
    do(traced.tracking.traces.link("s", ["t2"], "r"))
    assert ask(traced, "TRACES", "trace_count", COUNT, filters=["trace.metadata.`mlflow.sourceRun` = 'r'"]) == [(2,)]


def test_tokens_are_what_was_said_last(traced: Traced) -> None:
    traced.add("t1", metadata={"mlflow.trace.tokenUsage": '{"input_tokens": 5, "total_tokens": 7}'})
    traced.add("t2", metadata={"mlflow.trace.tokenUsage": '{"input_tokens": 6, "output_tokens": true}'})
    traced.add("t2", metadata={"other": "x"})
    traced.add("t3", metadata={"mlflow.trace.tokenUsage": "[" * 100_000})
    total = [Aggregation("SUM"), Aggregation("AVG")]
    assert ask(traced, "TRACES", "input_tokens", total) == [(11, 5.5)]
    assert ask(traced, "TRACES", "total_tokens", total) == [(7, 7)]
    assert ask(traced, "TRACES", "output_tokens", total) == [()]


@pytest.mark.parametrize(
    ("view", "metric", "kinds", "more", "target"),
    [
        ("TRACES", "span_count", COUNT, {}, "metric_name"),
        ("TRACES", "trace_count", [Aggregation("SUM")], {}, "aggregations"),
        ("TRACES", "latency", COUNT, {}, "aggregations"),
        ("TRACES", "latency", [Aggregation("AVG")], {"dimensions": ["trace_status"]}, "dimensions"),
        ("TRACES", "trace_count", COUNT, {"dimensions": ["trace_name", "trace_name"]}, "dimensions"),
        ("TRACES", "trace_count", COUNT, {"interval": 1000, "since": 0}, "time_interval_seconds"),
        ("TRACES", "trace_count", COUNT, {"filters": ["span.name = 'x'"]}, "filters"),
        ("SPANS", "span_count", COUNT, {"filters": ["assessment.name = 'x'"]}, "filters"),
    ],
)
def test_questions_without_an_answer(
    traced: Traced, view: str, metric: str, kinds: list[Aggregation], more: dict[str, Any], target: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        ask(traced, view, metric, kinds, **more)
    assert refused.value.target == target


@pytest.mark.parametrize(
    "text",
    ["", "status = 'OK'", "trace.status != 'OK'", "trace.status LIKE 'O%'", "trace.nothing = 'x'", "nobody.name = 'x'",
     "trace.tag = 'x'", "trace.tag. = 'x'", "trace.status.more = 'x'", "trace.status = OK", "trace.status =", "'x' = 'x'",
     "trace.status = 'OK' AND trace.status = 'OK'"],
)  # fmt: skip
def test_filters_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_filters([text])
    assert refused.value.target == "filters"


def test_a_token_of_another_question(traced: Traced) -> None:
    for index in range(3):
        traced.add(f"t{index}", tags={NAME: f"n{index}"})
    asked = Asked(
        experiments=[traced.experiment],
        view="TRACES",
        metric="trace_count",
        aggregations=COUNT,
        dimensions=["trace_name"],
    )
    _, token = do(traced.tracking.trace_metrics.query("s", asked, None, 1))
    other = Asked(experiments=[traced.experiment], view="TRACES", metric="trace_count", aggregations=COUNT)
    for wrong in (token, "nonsense"):
        with pytest.raises(InvalidInput) as refused:
            do(traced.tracking.trace_metrics.query("s", other, wrong, 1))
        assert refused.value.target == "page_token"
    elsewhere, _ = do(traced.tracking.trace_metrics.query("another", other, None, 1))
    assert [one.values for one in elsewhere] == [{"COUNT": 0.0}]


def test_what_is_a_figure() -> None:
    assert [judged(one) for one in (True, "yes", False, "no", "maybe", "1", 2, 0.5, None, [1], float("nan"))] == [
        1.0, 1.0, 0.0, 0.0, None, None, 2.0, 0.5, None, None, None,
    ]  # fmt: skip
    assert tokens('{"input_tokens": 1e999, "output_tokens": "5", "total_tokens": 3}') == {
        "input_tokens": None,
        "output_tokens": None,
        "total_tokens": 3.0,
        "cache_read_input_tokens": None,
        "cache_creation_input_tokens": None,
    }
    assert (tokens(None), tokens("no JSON"), tokens("[1]")) == ({}, {}, {})
