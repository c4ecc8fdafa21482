"""Figures over traces, as MLflow 3's client and its pages ask for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest
from mlflow.entities import AssessmentSource, SpanType
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType
from mlflow.exceptions import MlflowException
from mlflow.tracing.constant import SpanAttributeKey

from tests.support.mlflow_server import MlflowServer

COUNT = MetricAggregation(AggregationType.COUNT)
SUM = MetricAggregation(AggregationType.SUM)
MEDIAN = MetricAggregation(AggregationType.PERCENTILE, 50)
ME = AssessmentSource(source_type="HUMAN", source_id="ada@example.org")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def experiment(server: MlflowServer) -> Iterator[str]:
    """An experiment with three answered questions and one that failed; nobody changes it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_TRACKING_TOKEN", server.token)
    patch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server.uri)
    mlflow.tracing.reset()
    made = mlflow.set_experiment("figures").experiment_id
    for index, model in enumerate(("small", "small", "large")):
        answer(index, model)
        trace_id = mlflow.get_last_active_trace_id()
        assert trace_id is not None
        mlflow.log_feedback(trace_id=trace_id, name="right", value=index > 0, source=ME)
    with pytest.raises(ValueError, match="no"):
        answer(-1, "small")
    yield made
    mlflow.tracing.reset()
    mlflow.set_tracking_uri(before)
    patch.undo()


@mlflow.trace(name="answer")
def answer(index: int, model: str) -> None:
    if index < 0:
        raise ValueError("no")
    with mlflow.start_span("call", span_type=SpanType.LLM) as span:
        used = {"input_tokens": 10 * (index + 1), "output_tokens": 1, "total_tokens": 10 * (index + 1) + 1}
        span.set_attribute(SpanAttributeKey.CHAT_USAGE, used)
        span.set_attribute(SpanAttributeKey.MODEL, model)
        span.set_attribute("mlflow.llm.provider", "acme")
        span.set_attribute("mlflow.llm.cost", {"input_cost": 0.25, "output_cost": 0.5, "total_cost": 0.75})


def query(experiment: str, view: MetricViewType, metric: str, *kinds: MetricAggregation, **more: Any) -> Any:
    store = mlflow.MlflowClient()._tracing_client.store
    return store.query_trace_metrics([experiment], view, metric, list(kinds), **more)


def told(*asked: Any, **more: Any) -> list[tuple[dict[str, str], dict[str, float]]]:
    return [(one.dimensions, one.values) for one in query(*asked, **more)]


def test_traces_by_state_and_name(experiment: str) -> None:
    found = told(experiment, MetricViewType.TRACES, "trace_count", COUNT, dimensions=["trace_name", "trace_status"])
    assert found == [
        ({"trace_name": "answer", "trace_status": "ERROR"}, {"COUNT": 1}),
        ({"trace_name": "answer", "trace_status": "OK"}, {"COUNT": 3}),
    ]
    ok = told(experiment, MetricViewType.TRACES, "trace_count", COUNT, filters=["trace.status = 'OK'"])
    assert ok == [({}, {"COUNT": 3})]


def test_tokens_and_costs(experiment: str) -> None:
    assert told(experiment, MetricViewType.TRACES, "input_tokens", SUM, MEDIAN) == [({}, {"SUM": 60, "P50.0": 20})]
    costs = told(experiment, MetricViewType.SPANS, "total_cost", SUM, dimensions=["span_model_name"])
    assert costs == [({"span_model_name": "large"}, {"SUM": 0.75}), ({"span_model_name": "small"}, {"SUM": 1.5})]
    of = ["span_model_provider"]
    assert told(experiment, MetricViewType.SPANS, "input_cost", SUM, dimensions=of)[0][0] == {of[0]: "acme"}
    kinds = told(experiment, MetricViewType.SPANS, "span_count", COUNT, dimensions=["span_type"])
    assert [(one["span_type"], values["COUNT"]) for one, values in kinds] == [("LLM", 3), ("UNKNOWN", 4)]


def test_what_people_said(experiment: str) -> None:
    by_value = ["assessment_name", "assessment_value"]
    found = told(experiment, MetricViewType.ASSESSMENTS, "assessment_count", COUNT, dimensions=by_value)
    assert [(one["assessment_value"], values["COUNT"]) for one, values in found] == [("false", 1), ("true", 2)]
    average = MetricAggregation(AggregationType.AVG)
    only = ["assessment.name = 'right'", "assessment.type = 'feedback'"]
    ((_, values),) = told(experiment, MetricViewType.ASSESSMENTS, "assessment_value", average, filters=only)
    assert values["AVG"] == pytest.approx(2 / 3)


def test_figures_over_time_in_pages(experiment: str) -> None:
    hour, now = 3_600_000, int(time.time() * 1000)
    span = {"start_time_ms": now - 48 * hour, "end_time_ms": now + hour, "time_interval_seconds": 24 * 3600}
    found = query(
        experiment, MetricViewType.TRACES, "trace_count", COUNT, dimensions=["trace_status"], max_results=1, **span
    )
    assert found[0].dimensions["time_bucket"].endswith("T00:00:00+00:00")
    assert found[0].dimensions["trace_status"] == "ERROR" and found.token
    rest = query(
        experiment,
        MetricViewType.TRACES,
        "trace_count",
        COUNT,
        dimensions=["trace_status"],
        page_token=found.token,
        **span,
    )
    assert rest.token is None and sum(one.values["COUNT"] for one in rest) == 3


@pytest.mark.parametrize(
    ("metric", "kind", "more", "said"),
    [
        ("nothing", COUNT, {}, "metric_name must be one of"),
        ("latency", SUM, {}, r"Found invalid aggregation_type\(s\): \['SUM'\]"),
        ("latency", MEDIAN, {"dimensions": ["trace_status"]}, r"Found invalid dimension\(s\): \['trace_status'\]"),
        ("trace_count", COUNT, {"time_interval_seconds": 60}, "start_time_ms and end_time_ms are required"),
        ("trace_count", COUNT, {"filters": ["trace.status != 'OK'"]}, "only '=' operator is supported"),
        ("trace_count", COUNT, {"filters": ["span.name = 'x'"]}, "Filtering by span is only supported for SPANS"),
        ("trace_count", COUNT, {"page_token": "x"}, "Invalid page token"),
    ],
)
def test_questions_that_have_no_answer(
    experiment: str, metric: str, kind: MetricAggregation, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(MlflowException, match=said):
        query(experiment, MetricViewType.TRACES, metric, kind, **more)


@pytest.mark.parametrize(
    "change",
    [
        {"experiment_ids": []},
        {"view_type": "NOTHING"},
        {"view_type": 0},
        {"metric_name": ""},
        {"aggregations": []},
        {"aggregations": [{}]},
        {"aggregations": [{"aggregation_type": "PERCENTILE"}]},
        {"aggregations": [{"aggregation_type": "PERCENTILE", "percentile_value": 101}]},
        {"aggregations": [{"aggregation_type": "COUNT", "percentile_value": 1}]},
        {"time_interval_seconds": -1, "start_time_ms": 0, "end_time_ms": 1},
        {"start_time_ms": 2**62},
        {"max_results": 0},
        {"dimensions": "trace_name"},
    ],
)
def test_bodies_that_ask_nothing(server: MlflowServer, change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "experiment_ids": ["0"],
        "view_type": "TRACES",
        "metric_name": "trace_count",
        "aggregations": [{"aggregation_type": 1}],
    }
    assert server.ask("POST", "mlflow/traces/metrics", good, version="3.0")[0] == 200
    status, answer = server.ask("POST", "mlflow/traces/metrics", good | change, version="3.0")
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
