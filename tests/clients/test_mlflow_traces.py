"""Traces by MLflow 3's own client, and spans by a plain OpenTelemetry exporter."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest
from mlflow.entities import AssessmentSource, Feedback, SpanType
from mlflow.entities.assessment import ExpectationValue
from mlflow.exceptions import MlflowException

from tests.support.mlflow_server import MlflowServer
from zaffre.protocols.mlflow import traces
from zaffre.services.tracking.otlp import JSON, PROTOBUF


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


@pytest.fixture
def experiment(server: MlflowServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """The client's tracking address and its experiment, a new one each test."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", server.token)
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server.uri)
    mlflow.tracing.reset()
    yield mlflow.set_experiment(request.node.name).experiment_id
    mlflow.tracing.reset()
    mlflow.set_tracking_uri(before)


@mlflow.trace(span_type=SpanType.RETRIEVER)
def look_up(question: str) -> list[str]:
    return [f"about {question}"]


@mlflow.trace(name="answer")
def answer(question: str) -> str:
    if question == "?":
        raise ValueError("no question")
    found = look_up(question)
    with mlflow.start_span("model", span_type=SpanType.LLM) as span:
        span.set_inputs({"prompt": found})
        span.set_outputs("42")
    mlflow.update_current_trace(tags={"topic": question}, metadata={"build": "7"})
    return "42"


def last() -> str:
    trace_id = mlflow.get_last_active_trace_id()
    assert trace_id is not None
    return trace_id


def names(experiment: str, filter_: str | None = None, **more: Any) -> list[str]:
    found = mlflow.search_traces(locations=[experiment], filter_string=filter_, return_type="list", **more)
    return [trace.info.tags.get("topic", "?") for trace in found]


def test_a_traced_call_is_told_whole(experiment: str) -> None:
    assert answer("life") == "42"
    trace = mlflow.get_trace(last())
    assert trace is not None
    assert (trace.info.state, trace.info.experiment_id) == ("OK", experiment)
    assert (trace.info.tags["topic"], trace.info.trace_metadata["build"]) == ("life", "7")
    assert (json.loads(trace.info.request_preview), trace.info.response_preview) == ({"question": "life"}, '"42"')
    spans = {span.name: span for span in trace.data.spans}
    assert set(spans) == {"answer", "look_up", "model"}
    root = spans["answer"]
    assert (root.parent_id, spans["model"].parent_id) == (None, root.span_id)
    assert (spans["model"].span_type, spans["model"].inputs) == ("LLM", {"prompt": ["about life"]})
    assert root.outputs == "42"


def test_what_failed_is_an_error_with_its_exception(experiment: str) -> None:
    with pytest.raises(ValueError, match="no question"):
        answer("?")
    trace = mlflow.get_trace(last())
    assert trace is not None and trace.info.state == "ERROR"
    (root,) = trace.data.spans
    assert root.events[0].attributes["exception.message"] == "no question"


def test_traces_are_searched_in_pages(experiment: str) -> None:
    for topic in ("a", "b", "c"):
        answer(topic)
    with pytest.raises(ValueError, match="no question"):
        answer("?")
    assert names(experiment) == ["?", "c", "b", "a"]
    assert names(experiment, order_by=["timestamp_ms ASC"]) == ["a", "b", "c", "?"]
    assert names(experiment, "trace.status = 'ERROR'") == ["?"]
    assert names(experiment, "tags.topic != 'b'") == ["c", "a"]
    assert names(experiment, "tags.topic IS NULL") == ["?"]
    assert names(experiment, "metadata.build = '7' AND tags.topic LIKE 'a%'") == ["a"]
    assert names(experiment, "span.type = 'LLM' AND tags.topic = 'b'") == ["b"]
    assert names(experiment, "span.name ILIKE 'LOOK%'") == ["c", "b", "a"]
    assert names(experiment, "trace.name = 'nobody'") == []
    assert names(experiment, "trace.execution_time_ms >= 0", max_results=2) == ["?", "c"]
    client = mlflow.MlflowClient()
    page = client.search_traces(locations=[experiment], max_results=3)
    rest = client.search_traces(locations=[experiment], max_results=3, page_token=page.token)
    assert (len(page), len(rest), rest.token) == (3, 1, None)
    with pytest.raises(MlflowException, match="Invalid attribute key 'nothing'"):
        names(experiment, "trace.nothing = 'x'")


def test_how_much_two_filters_find_the_same(experiment: str) -> None:
    from mlflow.tracing.client import TracingClient

    for topic in ("a", "b", "c"):
        answer(topic)
    with pytest.raises(ValueError, match="no question"):
        answer("?")
    correlate = TracingClient().calculate_trace_filter_correlation
    same = correlate([experiment], "trace.status = 'ERROR'", "tags.topic IS NULL")
    assert (same.filter1_count, same.filter2_count, same.joint_count, same.total_count) == (1, 1, 1, 4)
    assert (same.npmi, 0 < (same.npmi_smoothed or 0) < 1) == (1.0, True)
    never = correlate([experiment], "trace.status = 'ERROR'", "tags.topic LIKE '%'")
    assert (never.npmi, never.joint_count, never.filter2_count) == (-1.0, 0, 3)
    within = correlate([experiment], "tags.topic = 'a'", "span.type = 'LLM'", base_filter="trace.status = 'OK'")
    assert (within.npmi, within.filter1_count, within.filter2_count, within.total_count) == (0.0, 1, 3, 3)
    nobody = correlate([experiment], "tags.topic = 'nobody'", "span.type = 'LLM'")
    assert nobody.npmi != nobody.npmi and nobody.npmi_smoothed != nobody.npmi_smoothed
    with pytest.raises(MlflowException, match=r"filter_string2.*Invalid attribute key 'nothing'"):
        correlate([experiment], "tags.topic = 'a'", "trace.nothing = 'x'")


def test_prompts_of_a_trace(server: MlflowServer, experiment: str) -> None:
    for topic in ("a", "b"):
        answer(topic)

    def link(trace: str, *prompts: dict[str, str]) -> int:
        body = {"trace_id": trace, "prompt_versions": list(prompts)}
        status: int = server.ask("POST", "mlflow/traces/link-prompts", body)[0]
        return status

    assert link(last(), {"name": "greet", "version": "1"}, {"name": "part", "version": "2"}) == 200
    assert link(last(), {"name": "greet", "version": "1"}) == 200  # again is once
    assert names(experiment, 'prompt = "greet/1"') == ["b"]
    assert names(experiment, "prompt = 'greet/2'") == []
    trace = mlflow.get_trace(last())
    assert trace is not None and "greet/1" not in trace.info.tags | trace.info.trace_metadata
    for wrong in ("prompt = 'greet'", "prompt LIKE 'greet/%'", "prompt != 'greet/1'"):
        with pytest.raises(MlflowException, match=r"Invalid (comparator .* for )?prompts filter"):
            mlflow.MlflowClient().search_traces(locations=[experiment], filter_string=wrong)
    assert link("tr-none", {"name": "greet", "version": "1"}) == 404
    assert (link(last()), link(last(), {"name": "greet"}), link(last(), {"name": "greet", "version": "x"})) == (
        400,
    ) * 3


def test_a_trace_as_a_file(server: MlflowServer, experiment: str) -> None:
    """As MLflow's pages fetch it, and what a client attached to it."""
    from mlflow.entities import TraceData
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    answer("x")
    trace = mlflow.get_trace(last())
    assert trace is not None
    for version in ("2.0", "3.0"):
        address = f"/ajax-api/{version}/mlflow/get-trace-artifact?request_id={last()}"
        status, body = server.send("GET", address, b"", {})
        assert status == 200
        told = TraceData.from_dict(json.loads(body))
        assert [one.to_dict() for one in told.spans] == [one.to_dict() for one in trace.data.spans]
    name = "0b1d3f6c-9a53-4f3e-8d8f-0d6f5a3c1e11"
    get_artifact_repository(trace.info.tags["mlflow.artifactLocation"]).upload_attachment(name, b"picture")
    assert server.send("GET", f"{address}&path={name}", b"", {}) == (200, b"picture")
    statuses = [server.send("GET", f"{address}&path={path}", b"", {})[0] for path in ("../x", f"{name[:-1]}2")]
    assert statuses == [400, 404]
    nobody = "/ajax-api/2.0/mlflow/get-trace-artifact"
    assert [server.send("GET", f"{nobody}{query}", b"", {})[0] for query in ("", "?request_id=tr-none")] == [400, 404]


def test_a_trace_whose_spans_are_a_file(server: MlflowServer, experiment: str) -> None:
    """As MLflow's clients before 3.5 kept them: the trace without spans, and these beside it as an artifact."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    answer("x")
    address = "/ajax-api/2.0/mlflow/get-trace-artifact?request_id="
    spans = server.send("GET", f"{address}{last()}", b"", {})[1]
    where = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    told = {"trace": {"trace_info": {"trace_id": "tr-old", "trace_location": where, "state": "OK"}}}
    status, made = server.ask("POST", "mlflow/traces", told, version="3.0")
    assert status == 200
    assert server.send("GET", f"{address}tr-old", b"", {})[0] == 404, "nothing is there yet"
    location = made["trace"]["trace_info"]["tags"]["mlflow.artifactLocation"]
    get_artifact_repository(location).upload_trace_data(spans.decode())
    assert server.send("GET", f"{address}tr-old", b"", {}) == (200, spans)
    found = mlflow.get_trace("tr-old")
    assert found is not None and len(found.data.spans) == 3


def test_tags_change_and_traces_are_deleted(experiment: str) -> None:
    answer("x")
    trace_id = last()
    mlflow.set_trace_tag(trace_id, "mood", "good")
    assert names(experiment, "tags.mood = 'good'") == ["x"]
    mlflow.delete_trace_tag(trace_id, "mood")
    assert names(experiment, "tags.mood = 'good'") == []
    with pytest.raises(MlflowException, match="No trace tag with key 'mood'"):
        mlflow.delete_trace_tag(trace_id, "mood")
    client = mlflow.MlflowClient()
    assert client.delete_traces(experiment, trace_ids=[trace_id]) == 1
    with pytest.raises(MlflowException, match="not found"):
        client.get_trace(trace_id)
    answer("y")
    answer("z")
    assert client.delete_traces(experiment, max_timestamp_millis=2**52, max_traces=1) == 1
    assert names(experiment) == ["z"], "the oldest went"


def test_what_people_think_of_a_trace(experiment: str) -> None:
    answer("x")
    trace_id = last()
    source = AssessmentSource(source_type="HUMAN", source_id="ada@example.org")
    mlflow.log_feedback(trace_id=trace_id, name="right", value=True, rationale="it is", source=source)
    mlflow.log_expectation(trace_id=trace_id, name="expected", value={"n": 42}, source=source)
    trace = mlflow.get_trace(trace_id)
    assert trace is not None
    held = {one.name: one for one in trace.info.assessments}
    assert (held["right"].value, held["right"].rationale, held["right"].source.source_id) == (
        True,
        "it is",
        "ada@example.org",
    )
    assert held["expected"].value == {"n": 42}
    assert names(experiment, "feedback.right = 'true'") == ["x"]
    assert names(experiment, "feedback.right = 'false'") == []
    changed = mlflow.override_feedback(trace_id=trace_id, assessment_id=held["right"].assessment_id, value=False)
    assert names(experiment, "feedback.right = 'true'") == [], "the first holds no more"
    before = mlflow.get_assessment(trace_id, held["right"].assessment_id)
    assert before.valid is False
    mlflow.delete_assessment(trace_id, changed.assessment_id)
    assert mlflow.get_assessment(trace_id, held["right"].assessment_id).valid is True
    with pytest.raises(MlflowException, match="not found"):
        mlflow.get_assessment(trace_id, changed.assessment_id)
    mlflow.delete_assessment(trace_id, changed.assessment_id)  # again is once


def test_an_assessment_is_changed_in_part(experiment: str) -> None:
    answer("x")
    given = Feedback(name="right", value=5, metadata={"keep": "this", "change": "old"})
    made = mlflow.log_assessment(last(), given)
    assert names(experiment, "feedback.right = '5'") == ["x"], "whole, though protobuf writes 5.0"
    store = mlflow.MlflowClient()._tracing_client.store
    words = {"trace_id": last(), "assessment_id": made.assessment_id}
    changed = store.update_assessment(**words, metadata={"change": "new", "more": "x"})
    assert changed.metadata == {"keep": "this", "change": "new", "more": "x"}
    assert (changed.name, changed.value) == ("right", 5)
    with pytest.raises(MlflowException, match="Cannot update expectation value on a Feedback assessment"):
        store.update_assessment(**words, expectation=ExpectationValue(value="x"))


def test_a_trace_whose_spans_are_still_to_come(
    server: MlflowServer, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(id_: str) -> dict[str, Any]:
        where = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
        sizes = {"mlflow.trace.sizeStats": '{"num_spans": 2}'}
        return {"trace": {"trace_info": {"trace_id": id_, "trace_location": where, "trace_metadata": sizes}}}

    monkeypatch.setattr(traces, "PATIENCE_S", (0.01,))
    whole, part = "ab" * 16, "cd" * 16
    for trace, spans in ((whole, ("0a" * 8, "0b" * 8)), (part, ("0a" * 8,))):
        for span in spans:
            body = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": trace, "spanId": span, "name": "n"}]}]}]}
            headers = {"x-mlflow-experiment-id": experiment, "content-type": JSON}
            assert server.send("POST", "/v1/traces", json.dumps(body).encode(), headers)[0] == 200
        assert server.ask("POST", "mlflow/traces", told(f"tr-{trace}"), version="3.0")[0] == 200
    client = mlflow.MlflowClient()
    assert len(client.get_trace(f"tr-{whole}").data.spans) == 2
    with pytest.raises(MlflowException, match="not fully exported yet"):
        client.get_trace(f"tr-{part}")
    asked = f"mlflow/traces/get?trace_id=tr-{part}&allow_partial=true"
    assert len(server.ask("GET", asked, version="3.0")[1]["trace"]["spans"]) == 1
    both = f"mlflow/traces/batchGet?trace_ids=tr-{part}&trace_ids=tr-{whole}"
    found = server.ask("GET", both, version="3.0")[1]["traces"]
    assert [one["trace_info"]["trace_id"] for one in found] == [f"tr-{whole}"]


def test_traces_of_a_run(experiment: str) -> None:
    with mlflow.start_run() as run:
        answer("inside")
    answer("outside")
    other = last()
    assert names(experiment, f"trace.run_id = '{run.info.run_id}'") == ["inside"]
    mlflow.MlflowClient().link_traces_to_run([other], run.info.run_id)
    assert names(experiment, f"trace.run_id = '{run.info.run_id}'") == ["outside", "inside"]


@pytest.mark.parametrize("form", ["protobuf", "gzip", "json"])
def test_any_exporter_may_send_spans(server: MlflowServer, experiment: str, form: str) -> None:
    """As OpenTelemetry's exporters do, with the experiment in a header; the root comes last, when it has ended."""
    trace, root, child = f"{hash(form) % 2**64:032x}", "0a" * 8, "0b" * 8
    spans = [
        {"traceId": trace, "spanId": child, "parentSpanId": root, "name": "work", "startTimeUnixNano": "1700000000100000000",
         "endTimeUnixNano": "1700000000200000000"},
        {"traceId": trace, "spanId": root, "name": "request", "startTimeUnixNano": "1700000000000000000",
         "endTimeUnixNano": "1700000000500000000", "status": {"code": 2, "message": "no"},
         "attributes": [{"key": "session.id", "value": {"stringValue": "s-1"}}]},
    ]  # fmt: skip
    for span in spans:
        body: Any = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
        data, kind = (json.dumps(body).encode(), JSON) if form == "json" else (_message(body), PROTOBUF)
        headers = {"x-mlflow-experiment-id": experiment, "content-type": kind}
        if form == "gzip":
            data, headers["content-encoding"] = gzip.compress(data), "gzip"
        assert server.send("POST", "/v1/traces", data, headers)[0] == 200
    found = mlflow.get_trace(f"tr-{trace}")
    assert found is not None
    assert (found.info.state, found.info.execution_duration, found.info.request_time) == (
        "ERROR",
        500,
        1_700_000_000_000,
    )
    assert [span.name for span in found.data.spans] == ["request", "work"]
    assert found.info.trace_metadata["mlflow.trace.session"] == "s-1"
    assert found.info.tags["mlflow.traceName"] == "request"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": PROTOBUF}, b"", 422),
        ({"x-mlflow-experiment-id": "0", "content-type": "text/plain"}, b"x", 400),
        ({"x-mlflow-experiment-id": "0", "content-type": PROTOBUF}, b"\xff\xff\xff", 400),
        ({"x-mlflow-experiment-id": "0", "content-type": PROTOBUF}, b"", 400),
        ({"x-mlflow-experiment-id": "0", "content-type": JSON}, b"[]", 400),
        ({"x-mlflow-experiment-id": "0", "content-type": JSON}, b'{"resourceSpans": 5}', 400),
        ({"x-mlflow-experiment-id": "0", "content-type": JSON, "content-encoding": "gzip"}, b"{}", 400),
        ({"x-mlflow-experiment-id": "0", "content-type": JSON, "content-encoding": "br"}, b"{}", 400),
        ({"x-mlflow-experiment-id": "none", "content-type": JSON},
         json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "ab" * 16, "spanId": "cd" * 8}]}]}]}).encode(), 404),
        ({"x-mlflow-experiment-id": "0", "content-type": JSON},
         json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xx", "spanId": "cd" * 8}]}]}]}).encode(), 400),
    ],
)  # fmt: skip
def test_exports_that_are_none(server: MlflowServer, headers: dict[str, str], body: bytes, status: int) -> None:
    assert server.send("POST", "/v1/traces", body, headers)[0] == status


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"trace_id": "t"},
        {"trace_id": "t", "trace_location": {"mlflow_experiment": {"experiment_id": "0"}}, "state": "GREAT"},
        {"trace_id": "t", "trace_location": {"mlflow_experiment": {"experiment_id": "0"}}, "request_time": "noon"},
        {
            "trace_id": "t",
            "trace_location": {"mlflow_experiment": {"experiment_id": "0"}},
            "execution_duration": "long",
        },
        {"trace_id": "t", "trace_location": {"mlflow_experiment": {"experiment_id": "0"}}, "tags": {"": "x"}},
        {
            "trace_id": "t",
            "trace_location": {"mlflow_experiment": {"experiment_id": "0"}},
            "assessments": [{"assessment_name": "a"}],
        },
    ],
)
def test_traces_that_are_none(server: MlflowServer, info: dict[str, Any]) -> None:
    status, answer = server.ask("POST", "mlflow/traces", {"trace": {"trace_info": info}}, version="3.0")
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert server.ask("GET", "mlflow/traces/t", version="3.0")[0] == 404


def test_a_trace_as_mlflow_two_tells_it(server: MlflowServer, experiment: str) -> None:
    """By the store that MLflow 2's client uses, which the newest one still has."""
    from mlflow.entities.trace_status import TraceStatus
    from mlflow.store.tracking.rest_store import RestStore
    from mlflow.utils.credentials import get_default_host_creds

    store = RestStore(lambda: get_default_host_creds(server.uri))
    begun = store.deprecated_start_trace_v2(experiment, 1000, {"build": "7"}, {"topic": "old", "kept": "yes"})
    assert begun.status == TraceStatus.IN_PROGRESS
    id_ = begun.request_id
    ended = store.deprecated_end_trace_v2(id_, 1250, TraceStatus.ERROR, {"more": "8"}, {"topic": "ended"})
    assert (ended.request_id, ended.timestamp_ms, ended.execution_time_ms) == (id_, 1000, 250)
    assert (ended.status, ended.request_metadata) == (TraceStatus.ERROR, {"build": "7", "more": "8"})
    assert (ended.tags["topic"], ended.tags["kept"]) == ("ended", "yes")
    assert ended.tags["mlflow.artifactLocation"].endswith(f"/traces/{id_}/artifacts")
    assert server.ask("GET", f"mlflow/traces/{id_}/info")[1]["trace_info"]["status"] == "ERROR"
    assert mlflow.MlflowClient().search_traces(locations=[experiment], include_spans=False)[0].info.trace_id == id_
    answer("new")
    first = server.ask("GET", f"mlflow/traces?experiment_ids={experiment}&max_results=1")[1]
    rest = f"mlflow/traces?experiment_ids={experiment}&max_results=1&page_token={first['next_page_token']}"
    assert [one["request_id"] for one in server.ask("GET", rest)[1]["traces"]] == [id_]


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("POST", "mlflow/traces", {"timestamp_ms": 1}, 400),
        ("POST", "mlflow/traces", {"experiment_id": "none", "timestamp_ms": 1}, 404),
        ("POST", "mlflow/traces", {"experiment_id": "0", "timestamp_ms": -1}, 400),
        ("POST", "mlflow/traces", {"experiment_id": "0", "tags": [{"value": "x"}]}, 400),
        ("PATCH", "mlflow/traces/none", {"timestamp_ms": 1, "status": "OK"}, 404),
        ("PATCH", "mlflow/traces/none", {"timestamp_ms": 1, "status": "GREAT"}, 400),
        ("PATCH", "mlflow/traces/none", {"status": "OK"}, 400),
        ("GET", "mlflow/traces/none/info", None, 404),
        ("GET", "mlflow/traces", None, 400),
        ("GET", "mlflow/traces?experiment_ids=0&max_results=501", None, 400),
    ],
)
def test_what_mlflow_two_cannot_say(server: MlflowServer, verb: str, path: str, body: Any, status: int) -> None:
    assert server.ask(verb, path, body)[0] == status


def _message(document: Any) -> bytes:
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from zaffre.services.tracking.otlp import _with_base64

    data: bytes = ParseDict(_with_base64(document), ExportTraceServiceRequest()).SerializeToString()
    return data
