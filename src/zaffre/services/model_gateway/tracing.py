"""What was asked of an endpoint and what came of it, as a trace of one span in the endpoint's experiment."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from zaffre.services.model_gateway.modes import Mode
from zaffre.services.model_gateway.openai import Target
from zaffre.services.tracking import Tracking, conventions, otlp
from zaffre.store.model_gateway.records import Endpoint
from zaffre.store.unit import Actor

Document = dict[str, Any]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """`begun` in milliseconds."""

    endpoint: Endpoint
    mode: Mode
    inputs: Document
    begun: int


async def record(
    tracking: Tracking,
    actor: Actor,
    scope: str,
    asked: Asked,
    target: Target,
    answer: Document,
    used: Document | None,
    failed: str | None,
) -> None:
    """Keep it. `failed` says why nothing, or not all, was answered. Raises what keeping a trace raises."""
    endpoint = asked.endpoint
    told: Document = {
        conventions.TYPE: asked.mode.span,
        conventions.INPUTS: asked.inputs,
        conventions.OUTPUTS: answer,
        conventions.MODEL: target.model,
        conventions.PROVIDER: target.provider_name,
        "endpoint_id": endpoint.id,
        "endpoint_name": endpoint.name,
        **({conventions.USAGE: used} if used else {}),
    }
    span = {
        "traceId": tracking.runtime.hex_id(),
        "spanId": tracking.runtime.hex_id()[:16],
        "name": f"gateway/{endpoint.name}",
        "startTimeUnixNano": str(asked.begun * 1_000_000),
        "endTimeUnixNano": str(max(tracking.runtime.now(), asked.begun) * 1_000_000),
        "status": {"code": 2, "message": failed} if failed is not None else {"code": 1},
        "attributes": [{"key": key, "value": _any(value)} for key, value in told.items()],
    }
    export = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    metadata = {
        "mlflow.gateway.endpointId": endpoint.id,
        "mlflow.gateway.requestType": asked.mode.kind,
        "mlflow.auth.username": actor.name,
    }
    arrived = [
        msgspec.structs.replace(one, metadata={**one.metadata, **metadata})
        for one in otlp.decode(json.dumps(export).encode(), otlp.JSON)
    ]
    assert endpoint.experiment_id is not None, "nothing is kept of an endpoint that has none"
    await tracking.traces.log_spans(actor, scope, endpoint.experiment_id, arrived)


def _any(value: Any) -> Document:
    """A value as OpenTelemetry's JSON has it."""
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int() if -(2**63) <= value < 2**63:
            return {"intValue": str(value)}
        case int() | float():
            return {"doubleValue": float(value)}
        case list():
            return {"arrayValue": {"values": [_any(one) for one in value]}}
        case dict():
            return {"kvlistValue": {"values": [{"key": key, "value": _any(one)} for key, one in value.items()]}}
        case _:
            return {"stringValue": value}
