"""OpenTelemetry's trace export, read into spans and the traces they are of. The library is loaded with the first export."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from zaffre.errors import InvalidInput, Unprocessable
from zaffre.services.tracking import conventions, span_text
from zaffre.services.tracking.counted import figure, figures
from zaffre.services.tracking.span_text import clean, decoded, plain, python, searched
from zaffre.services.tracking.traces import COST, TOKENS, Arrived
from zaffre.store.tracking.traces import COSTS, Span

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MOST_SPANS = 10_000
_STATUSES = {0: "UNSET", 1: "OK", 2: "ERROR"}
_IDS = ("traceId", "spanId", "parentSpanId")
_SERVICE = "service.name"
_TRACE_ID = "mlflow.traceRequestId"
_USED = {TOKENS: conventions.USAGE, COST: conventions.COST}
# What OpenTelemetry's conventions say of a whole trace, by MLflow's name for it.
_METADATA = {
    "session.id": "mlflow.trace.session",
    "gen_ai.conversation.id": "mlflow.trace.session",
    "user.id": "mlflow.trace.user",
}


class _Read(NamedTuple):
    message: Message
    attributes: dict[str, Any]


def decode(body: bytes, media_type: str) -> list[Arrived]:
    """The spans of an export request, by trace. Raises InvalidInput for what is none."""
    from google.protobuf.json_format import ParseDict, ParseError
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    try:
        if media_type == JSON:
            ParseDict(_with_base64(json.loads(body)), request, ignore_unknown_fields=True)
        else:
            request.ParseFromString(body)
    except (DecodeError, ParseError, ValueError, TypeError, AttributeError, RecursionError):
        raise InvalidInput("Invalid OpenTelemetry format.", target="body") from None
    spans = [span for resource in request.resource_spans for span in _of_resource(resource)]
    if not spans:
        raise InvalidInput("Invalid OpenTelemetry format - no spans found", target="resource_spans")
    if len(spans) > MOST_SPANS:
        raise InvalidInput(
            f"{len(spans)} spans in one request; at most {MOST_SPANS} are taken.", target="resource_spans"
        )
    found: dict[str, list[_Read]] = {}
    for span in spans:
        if not span.trace_id or not span.span_id:
            raise Unprocessable("A span has no trace_id or no span_id.", target="trace_id")
        if len(span.trace_id) != 16 or len(span.span_id) != 8 or len(span.parent_span_id) not in (0, 8):
            raise InvalidInput("A span has a trace id of 16 bytes and ids of 8.", target="trace_id")
        found.setdefault(f"tr-{span.trace_id.hex()}", []).append(_Read(span, _told(span)))
    return [_arrived(trace, own) for trace, own in found.items()]


def as_json(content: bytes) -> dict[str, Any]:
    """A kept span as protobuf's JSON, in the names MLflow's messages have."""
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

    message = Message()
    message.ParseFromString(content)
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def as_document(content: bytes) -> dict[str, Any]:
    """A kept span as MLflow's files of traces have it: values as texts of JSON, ids as base64."""
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

    message = Message()
    message.ParseFromString(content)
    attributes = {one.key: python(one.value) for one in message.attributes}
    attributes.setdefault(_TRACE_ID, f"tr-{message.trace_id.hex()}")
    return {
        "trace_id": base64.b64encode(message.trace_id).decode(),
        "span_id": base64.b64encode(message.span_id).decode(),
        "parent_span_id": base64.b64encode(message.parent_span_id).decode() or None,
        "name": message.name,
        "start_time_unix_nano": message.start_time_unix_nano,
        "end_time_unix_nano": message.end_time_unix_nano or None,
        "events": [
            {
                "name": one.name,
                "time_unix_nano": one.time_unix_nano,
                "attributes": {held.key: plain(python(held.value)) for held in one.attributes},
            }
            for one in message.events
        ],
        "status": {
            "code": f"STATUS_CODE_{_STATUSES.get(message.status.code, 'UNSET')}",
            "message": message.status.message,
        },
        "attributes": {key: json.dumps(plain(value), ensure_ascii=False) for key, value in attributes.items()},
    }


def _of_resource(resource: Any) -> list[Message]:
    """Its spans; a root tells the service it is of, where that is not in the span itself."""
    found = [span for scoped in resource.scope_spans for span in scoped.spans]
    service = next((one.value for one in resource.resource.attributes if one.key == _SERVICE), None)
    for span in found:
        if service is not None and not span.parent_span_id and not any(one.key == _SERVICE for one in span.attributes):
            span.attributes.add(key=_SERVICE).value.CopyFrom(service)
    return found


def _told(span: Message) -> dict[str, Any]:
    """Its attributes, after what other libraries' say was added in MLflow's own."""
    attributes = {one.key: python(one.value) for one in span.attributes}
    for name, value in list(conventions.told(attributes)):
        _fill(span.attributes.add(key=name).value, value)
        attributes[name] = value
    return attributes


def _total(spans: list[_Read], key: str) -> dict[str, float]:
    """What the spans say that they used, by its name, all together."""
    total: dict[str, float] = {}
    for span in spans:
        used = decoded(span.attributes.get(key))
        for name, count in used.items() if isinstance(used, dict) else ():
            if figure(count) is not None:
                total[clean(name)] = total.get(clean(name), 0) + count
    return total


def _arrived(trace: str, spans: list[_Read]) -> Arrived:
    root = next((one.attributes for one in spans if not one.message.parent_span_id), {})
    metadata: dict[str, str] = {}
    for span in spans:
        for key, label in _METADATA.items():
            if value := span.attributes.get(key):
                metadata.setdefault(label, clean(str(value)))
    return Arrived(
        trace=trace,
        spans=[_span(one.message, one.attributes) for one in spans],
        request=_preview(root, conventions.INPUTS),
        response=_preview(root, conventions.OUTPUTS),
        metadata=metadata,
        used={label: total for label, key in _USED.items() if (total := _total(spans, key))},
    )


def _span(message: Message, attributes: Mapping[str, Any]) -> Span:
    return Span(
        id=message.span_id.hex(),
        parent=message.parent_span_id.hex() or None,
        name=clean(message.name),
        type=_named(attributes, conventions.TYPE) or "UNKNOWN",
        status=_STATUSES.get(message.status.code, "UNSET"),
        started_ns=_bounded(message.start_time_unix_nano),
        ended_ns=_bounded(message.end_time_unix_nano) or None,
        model=_named(attributes, conventions.MODEL),
        provider=_named(attributes, conventions.PROVIDER),
        message=message.SerializeToString(),
        text=span_text.text(message, attributes),
        **figures(COSTS, decoded(attributes.get(conventions.COST))),
    )


def _named(attributes: Mapping[str, Any], key: str) -> str | None:
    value = searched(attributes.get(key))
    return str(value) if value else None


def _preview(attributes: Mapping[str, Any], key: str) -> str | None:
    """What went in or came out, as JSON."""
    value = decoded(attributes.get(key))
    try:
        return None if value is None else clean(json.dumps(value, ensure_ascii=False, default=str))
    except RecursionError:
        return clean(str(attributes[key]))


def _fill(message: Any, value: Any) -> None:
    """The other way round."""
    match value:
        case bool():
            message.bool_value = value
        case int():
            message.int_value = value
        case float():
            message.double_value = value
        case dict():
            for key, one in value.items():
                _fill(message.kvlist_value.values.add(key=str(key)).value, one)
        case list():
            for one in value:
                _fill(message.array_value.values.add(), one)
        case _:
            message.string_value = str(value)


def _bounded(nanoseconds: int) -> int:
    return min(nanoseconds, 2**63 - 1)


def _with_base64(document: Any) -> Any:
    """OpenTelemetry's JSON writes ids as hexadecimal, where protobuf's has base64."""
    for resource in document.get("resourceSpans", []):
        for scoped in resource.get("scopeSpans", []):
            for span in scoped.get("spans", []):
                for name in _IDS:
                    if span.get(name):
                        try:
                            span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
                        except (ValueError, binascii.Error):
                            raise InvalidInput(f"Field '{name}': expected hexadecimal digits.", target=name) from None
    return document
