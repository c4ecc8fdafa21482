"""A span as what is searched: its name, attributes and events, as one line of JSON that both databases can look into."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

_JSON_BEGINS = ("{", "[", '"')
_OF_THE_TRACE = ("mlflow.traceRequestId", "mlflow.experimentId")  # ids, in which any search for digits finds something
if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message


def text(message: Message, attributes: Mapping[str, Any]) -> str:
    """Without NUL and lone surrogates, which PostgreSQL keeps in no text."""
    document = {
        "name": clean(message.name),
        "status": clean(message.status.message),
        "attributes": {clean(key): searched(value) for key, value in attributes.items() if key not in _OF_THE_TRACE},
        "events": [
            {
                "name": clean(one.name),
                "attributes": {clean(held.key): searched(python(held.value)) for held in one.attributes},
            }
            for one in message.events
        ],
    }
    try:
        return msgspec.json.encode(document).decode()
    except RecursionError:  # what could just be read is too deep to be written
        return msgspec.json.encode({**document, "attributes": {}, "events": []}).decode()


def python(value: Any) -> Any:
    """OpenTelemetry's AnyValue."""
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return {one.key: python(one.value) for one in value.kvlist_value.values}
    if kind == "array_value":
        return [python(one) for one in value.array_value.values]
    return None if kind is None else getattr(value, kind)


def plain(value: Any) -> Any:
    """The same, with bytes as texts, which is all that JSON has."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {key: plain(one) for key, one in value.items()}
        case list():
            return [plain(one) for one in value]
    return value


def searched(value: Any) -> Any:
    """The same as any database keeps it. What was sent as a text of JSON is what it says, where that can be kept."""
    if isinstance(value, (bool, int)) or value is None:
        return value
    if isinstance(value, str):
        if value[:1] not in _JSON_BEGINS:
            return clean(value)
        if "\\u" not in value:  # so that it can say nothing that is not kept
            try:
                return msgspec.json.decode(value)
            except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                return clean(value)
    try:
        return _kept(decoded(value))
    except RecursionError:
        return clean(str(value))


def decoded(value: Any) -> Any:
    """MLflow's older clients send its attributes as texts of JSON."""
    if not isinstance(value, str) or value[:1] not in _JSON_BEGINS:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def clean(given: str) -> str:
    if given.isascii():
        return given.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return given.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _kept(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {clean(str(key)): _kept(one) for key, one in value.items()}
        case list():
            return [_kept(one) for one in value]
        case float() if not math.isfinite(value):
            return str(value)
    return value
