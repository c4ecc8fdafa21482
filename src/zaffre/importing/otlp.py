"""Spans that MLflow's client has read, as OpenTelemetry's export in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

BYTES_A_REQUEST = 4 * 1024 * 1024
SPANS_A_REQUEST = 1000
_TRACE_ID = "mlflow.traceRequestId"
_LONGEST = range(-(2**63), 2**63)


def requests(spans: Sequence[Any], trace: str) -> Iterator[bytes]:
    """Bodies of requests that send the spans as those of the trace with that id, 32 hexadecimal digits."""
    page: list[bytes] = []
    size = 0
    for span in spans:
        text = msgspec.json.encode(_span(span, trace))
        if page and (size + len(text) > BYTES_A_REQUEST or len(page) == SPANS_A_REQUEST):
            yield _request(page)
            page, size = [], 0
        page.append(text)
        size += len(text)
    if page:
        yield _request(page)


def raw(span: Any) -> dict[str, Any]:
    """A span's attributes as MLflow keeps them: texts of JSON."""
    return dict(span._span.attributes or {})


def _request(spans: list[bytes]) -> bytes:
    return b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b",".join(spans) + b"]}]}]}"


def _span(span: Any, trace: str) -> dict[str, Any]:
    attributes = {key: _said(value) for key, value in raw(span).items()}
    if _TRACE_ID in attributes:
        attributes[_TRACE_ID] = f"tr-{trace}"
    code = str(getattr(span.status.status_code, "value", span.status.status_code))
    found = {
        "traceId": trace,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id or None,
        "name": span.name,
        "startTimeUnixNano": str(span.start_time_ns),
        "endTimeUnixNano": str(span.end_time_ns) if span.end_time_ns else None,
        "status": {"code": f"STATUS_CODE_{code}", "message": span.status.description or ""},
        "attributes": _pairs(attributes),
        "events": [
            {"name": one.name, "timeUnixNano": str(one.timestamp), "attributes": _pairs(one.attributes or {})}
            for one in span.events
        ],
    }
    return {key: value for key, value in found.items() if value is not None}


def _said(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _pairs(values: Any) -> list[dict[str, Any]]:
    return [{"key": str(key), "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    """OpenTelemetry's AnyValue; None is one without a value."""
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int() if value in _LONGEST:
            return {"intValue": str(value)}
        case float():
            # protobuf's JSON has texts for what is no number
            words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
            return {"doubleValue": words.get(repr(value), value)}
        case dict():
            return {"kvlistValue": {"values": _pairs(value)}}
        case list() | tuple():
            return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": str(value)}
