"""Traces and assessments between MLflow's messages and our records."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from zaffre.errors import InvalidInput
from zaffre.protocols.mlflow import trace_requests as requests
from zaffre.protocols.mlflow.refusals import missing
from zaffre.protocols.mlflow.shape import number
from zaffre.protocols.mlflow.words import word
from zaffre.runtime import Runtime, from_iso, iso
from zaffre.services.tracking.correlation import JEFFREYS, Counts, npmi
from zaffre.services.tracking.counted import judged
from zaffre.services.tracking.trace_metrics import AGGREGATIONS, VIEWS, Aggregation, Asked, Group, parse_filters
from zaffre.services.tracking.traces import STATES, NewTrace
from zaffre.store.tracking.trace_metrics import PERCENTILE, TIME_BUCKET
from zaffre.store.tracking.traces import Assessment, Trace

Document = dict[str, Any]
KINDS = ("feedback", "expectation", "issue")
_DURATION = re.compile(r"-?\d{1,12}(\.\d{1,9})?s")
_SUBSECOND = re.compile(r"(\.\d{6})\d+")  # protobuf writes nanoseconds where there are any
_MASKS = {
    "assessmentName": "assessment_name",
    **{name: name for name in ("assessment_name", *KINDS, "rationale", "metadata", "valid")},
}


def new_trace(given: requests.TraceInfo, runtime: Runtime) -> NewTrace:
    """Raises InvalidInput that names the field."""
    if not given.trace_id:
        raise missing("trace_id")
    location = given.trace_location.mlflow_experiment if given.trace_location else None
    if location is None or not location.experiment_id:
        raise missing("trace_location.mlflow_experiment.experiment_id")
    status = state(given.state, "state")
    return NewTrace(
        id=given.trace_id,
        experiment_id=location.experiment_id,
        state=status,
        requested_at=_milliseconds(given.request_time, "request_time") if given.request_time else runtime.now(),
        duration=_duration(given.execution_duration) if given.execution_duration else None,
        client_request_id=given.client_request_id,
        request_preview=given.request_preview,
        response_preview=given.response_preview,
        tags=given.tags,
        metadata=given.trace_metadata,
        assessments=[assessment(one, given.trace_id, runtime) for one in given.assessments],
    )


def info(one: Trace) -> Document:
    found: Document = {
        "trace_id": one.id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": one.experiment_id}},
        "request_time": _time(one.requested_at),
        "state": one.state,
        "trace_metadata": one.metadata,
        "tags": one.tags,
        "assessments": [held.body for held in one.assessments],
    }
    optional = {
        "client_request_id": one.client_request_id,
        "request_preview": one.request_preview,
        "response_preview": one.response_preview,
        "execution_duration": None if one.duration is None else f"{Decimal(one.duration) / 1000:f}s",
    }
    return found | {name: value for name, value in optional.items() if value is not None}


def metrics_asked(given: requests.QueryMetrics) -> Asked:
    """Raises InvalidInput that names the field."""
    for name in ("experiment_ids", "metric_name", "aggregations"):
        if not getattr(given, name):
            raise missing(name)
    return Asked(
        experiments=given.experiment_ids,
        view=word(given.view_type, "view_type", VIEWS),
        metric=given.metric_name,
        aggregations=[_aggregation(one) for one in given.aggregations],
        dimensions=given.dimensions,
        filters=parse_filters(given.filters),
        interval=given.time_interval_seconds * 1000 or None,
        since=given.start_time_ms,
        until=given.end_time_ms,
    )


def points(asked: Asked, found: list[Group]) -> list[Document]:
    names = [*([TIME_BUCKET] if asked.interval else []), *asked.dimensions]
    return [
        {
            "metric_name": asked.metric,
            "dimensions": {
                name: _moment(value) if name == TIME_BUCKET else value
                for name, value in zip(names, one.place, strict=True)
            },
            "values": {name: number(value) for name, value in one.values.items()},
        }
        for one in found
        if one.values
    ]


def _aggregation(given: requests.Aggregation) -> Aggregation:
    kind = word(given.aggregation_type, "aggregation_type", AGGREGATIONS)
    if kind == PERCENTILE and given.percentile_value is None:
        raise InvalidInput("Percentile value is required for PERCENTILE aggregation", target="percentile_value")
    if kind != PERCENTILE and given.percentile_value is not None:
        raise InvalidInput(
            f"Percentile value is only allowed for PERCENTILE aggregation type, got {kind}", target="percentile_value"
        )
    return Aggregation(kind, given.percentile_value)


def _moment(ms: int) -> str:
    """As MLflow tells where an interval begins; what begins before the year 1 is told as that."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat()
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC).isoformat()


def correlation(found: Counts) -> Document:
    return {
        "npmi": number(npmi(found)),
        "npmi_smoothed": number(npmi(found, JEFFREYS)),
        "filter1_count": found.first,
        "filter2_count": found.second,
        "joint_count": found.both,
        "total_count": found.total,
    }


def assessment(given: requests.Assessment, trace: str, runtime: Runtime) -> Assessment:
    """A new one, with an id of its own unless it brings one. Raises InvalidInput that names the field."""
    if not given.assessment_name:
        raise missing("assessment.assessment_name")
    kind, value = _value(given)
    if kind == "expectation" and isinstance(value, (dict, list)) and "value" in (given.expectation or {}):
        text = json.dumps(value, ensure_ascii=False)  # with the blanks that MLflow has, since filters name the text
        told = {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": text}}
        given = msgspec.structs.replace(given, expectation=told)  # MLflow's word for what is no plain value
    now = runtime.now()
    made = _milliseconds(given.create_time, "create_time") if given.create_time else now
    changed_at = _milliseconds(given.last_update_time, "last_update_time") if given.last_update_time else now
    body = {
        **{name: held for name, held in msgspec.to_builtins(given).items() if held is not None},
        "assessment_id": given.assessment_id or f"a-{runtime.hex_id()}",
        "trace_id": trace,
        "create_time": _time(made),
        "last_update_time": _time(changed_at),
        "valid": given.valid,
    }
    return Assessment(
        id=body["assessment_id"],
        name=given.assessment_name,
        kind=kind,
        valid=given.valid,
        **_compared(value),
        body=body,
        created_at=made,
        modified_at=changed_at,
    )


def changed(asked: requests.UpdateAssessment) -> Callable[[Assessment, int], Assessment]:
    """What makes the new assessment of the old one, at a time. Raises InvalidInput for fields that cannot change."""
    names = [name.strip() for name in asked.update_mask.split(",") if name.strip()]
    unknown = [name for name in names if name not in _MASKS]
    if unknown or not names:
        raise InvalidInput(
            f"Field 'update_mask': expected some of {', '.join(sorted(set(_MASKS.values())))}.", target="update_mask"
        )
    given = {_MASKS[name]: getattr(asked.assessment, _MASKS[name]) for name in names}
    given = {name: msgspec.to_builtins(value) for name, value in given.items()}

    def change(held: Assessment, now: int) -> Assessment:
        kinds = [name for name in given if name in KINDS]
        if any(kind != held.kind for kind in kinds):
            article = "an" if held.kind[0] in "ei" else "a"
            raise InvalidInput(
                f"Cannot update {kinds[0]} value on {article} {held.kind.capitalize()} assessment.", target=kinds[0]
            )
        body = {**held.body, **given, "last_update_time": _time(now)}
        if given.get("metadata") is not None:
            body["metadata"] = {**(held.body.get("metadata") or {}), **given["metadata"]}
        compared = _compared(_told(held.kind, given[held.kind] or {})) if held.kind in given else {}
        return msgspec.structs.replace(
            held, name=body["assessment_name"], valid=body["valid"], body=body, modified_at=now, **compared
        )

    return change


def _value(given: requests.Assessment) -> tuple[str, Any]:
    held = [(kind, getattr(given, kind)) for kind in KINDS if getattr(given, kind) is not None]
    if len(held) != 1:
        raise InvalidInput(f"Field 'assessment': expected one of {', '.join(KINDS)}.", target="assessment")
    kind, message = held[0]
    return kind, _told(kind, message)


def _told(kind: str, message: Document) -> Any:
    if kind != "expectation" or "serialized_value" not in message:
        return message.get("value")
    text = (message["serialized_value"] or {}).get("value")
    try:
        return msgspec.json.decode(text) if isinstance(text, str) else None
    except (msgspec.DecodeError, RecursionError):
        raise InvalidInput(
            "Field 'assessment.expectation.serialized_value.value': expected JSON.", target="serialized_value"
        ) from None


def _compared(value: Any) -> Document:
    """What filters compare, texts as they are and anything else as JSON; the same as JSON; and as a number."""
    if value is None:
        return {"value": None, "json": None, "number": None}
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)  # protobuf's JSON writes every number with a point
    text = json.dumps(value, ensure_ascii=False)  # with the blanks that MLflow has, since filters name the text
    return {"value": value if isinstance(value, str) else text, "json": text, "number": judged(value)}


def state(given: str | int, field: str) -> str:
    """How a trace ended, by its name, MLflow 2's too, or its number. Raises InvalidInput that names the field."""
    text = STATES[given] if isinstance(given, int) and 0 <= given < len(STATES) else str(given)
    text = STATES[0] if text == "TRACE_STATUS_UNSPECIFIED" else text
    if text not in STATES:
        raise InvalidInput(f"Field '{field}': '{text[:50]}' is not one of {', '.join(STATES)}.", target=field)
    return text


def _milliseconds(text: str, field: str) -> int:
    try:
        return from_iso(_SUBSECOND.sub(r"\1", text))
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"Field '{field}': '{text[:50]}' is not a time, as 2026-01-31T12:34:56.789Z.", target=field
        ) from None


def _duration(text: str) -> int:
    if not _DURATION.fullmatch(text):
        raise InvalidInput(
            f"Field 'execution_duration': '{text[:50]}' is not a duration, as 1.25s.", target="execution_duration"
        )
    return round(Decimal(text[:-1]) * 1000)


def _time(ms: int) -> str:
    return iso(ms)
