"""What is searched of a span: whatever clients put into one, both databases can keep it and look into it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.databases import database, postgres_url
from tests.support.traced import ME, Traced, do
from zaffre.services.tracking import otlp
from zaffre.store.database import Database
from zaffre.store.tracking.traces import Span

__all__ = ["database", "postgres_url"]
REPLACED = "\N{REPLACEMENT CHARACTER}"


def exported(**attributes: Any) -> bytes:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = b"t" * 16, b"s" * 8, "n"
    for key, value in attributes.items():
        held = span.attributes.add(key=key).value
        match value:
            case bool():
                held.bool_value = value
            case int():
                held.int_value = value
            case float():
                held.double_value = value
            case bytes():
                held.bytes_value = value
            case list():
                for one in value:
                    held.array_value.values.add().string_value = one
            case dict():
                for name, one in value.items():
                    held.kvlist_value.values.add(key=name).value.string_value = one
            case _:
                held.string_value = value
    event = span.events.add(name="exception")
    event.attributes.add(key="message").value.string_value = "it broke"
    return request.SerializeToString()


def read(**attributes: Any) -> Span:
    (arrived,) = otlp.decode(exported(**attributes), otlp.PROTOBUF)
    return arrived.spans[0]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("plain", "plain"),
        ("nul \0 in it", f"nul {REPLACED} in it"),
        ("café", "café"),
        ('{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        ('"quoted"', "quoted"),
        ('{"broken', '{"broken'),
        ('{"nul": "\\u0000"}', {"nul": REPLACED}),
        ('{"half": "\\ud83d"}', {"half": "?"}),
        ('{"\\ud83d": "\\ud83d\\ude00"}', {"?": "😀"}),
        ("{" + '"a":{' * 3000, "{" + '"a":{' * 3000),
        ("[" * 3000 + "]" * 3000, "[" * 3000 + "]" * 3000),
        ('{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
        ('{"n": 1e999}', '{"n": 1e999}'),
        ('[NaN, "\\u0041"]', ["nan", "A"]),
        (True, True),
        (7, 7),
        (0.5, 0.5),
        (float("inf"), "inf"),
        (b"\x00\xff", "AP8="),
        (["a", "b\0"], ["a", f"b{REPLACED}"]),
        ({"k\0": "v"}, {f"k{REPLACED}": "v"}),
    ],
)
def test_whatever_is_sent_is_kept_as_json(database: Database, given: Any, kept: Any) -> None:
    span = read(said=given)
    assert json.loads(span.text)["attributes"] == {"said": kept}
    traced = Traced(database)
    do(traced.tracking.traces.log_spans(ME, "s", traced.experiment, otlp.decode(exported(said=given), otlp.PROTOBUF)))
    assert len(traced.found("trace.text LIKE '%it broke%' AND span.attributes.said LIKE '%'")) == 1
    assert traced.found("span.attributes.other LIKE '%'") == []


def test_no_depth_is_too_much() -> None:
    for depth in range(880, 1020):
        text = "[" * depth + "]" * depth
        (arrived,) = otlp.decode(exported(said=text, **{"mlflow.spanInputs": text}), otlp.PROTOBUF)
        assert json.loads(arrived.spans[0].text)["name"] == "n"
        assert arrived.request is not None


def test_ids_are_no_text() -> None:
    span = read(**{"mlflow.traceRequestId": "tr-1", "mlflow.experimentId": "7", "x": "y"})
    assert json.loads(span.text)["attributes"] == {"x": "y"}


def test_models_and_costs_are_columns() -> None:
    cost = '{"input_cost": 0.25, "total_cost": "much"}'
    span = read(**{"mlflow.llm.model": '"gpt"', "gen_ai.system": "acme", "mlflow.llm.cost": cost})
    assert (span.model, span.provider) == ("gpt", "acme")
    assert (span.input_cost, span.output_cost, span.total_cost) == (0.25, None, None)
    other = read(**{"llm.model_name": "m", "llm.provider": "p"})
    assert (other.model, other.provider) == ("m", "p")
    assert (read(x="y").model, read(**{"mlflow.llm.model": ""}).model) == (None, None)
