"""Traces as MLflow 2 speaks of them: begun and ended by two calls, told in its own message. The records are the same."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import trace_requests as requests
from zaffre.protocols.mlflow import trace_shapes
from zaffre.protocols.mlflow.refusals import missing
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.traces import STATES, NewTrace
from zaffre.store.tracking.traces import Trace

_READ, _WRITE = (f"workspaces/experiments/traces/{verb}" for verb in ("read", "write"))


class OldTraces:
    def __init__(self, tracking: Tracking) -> None:
        self._traces = tracking.traces
        self._runtime = tracking.runtime

    def operations(self) -> Served:
        return {
            "startTrace": (self.start, _WRITE),
            "endTrace": (self.end, _WRITE),
            "getTraceInfo": (self.get, _READ),
            "searchTraces": (self.search, _READ),
        }

    async def start(self, call: Call) -> Response:
        asked = await parse(call, requests.BeginTrace)
        new = NewTrace(
            id=self._runtime.hex_id(),
            experiment_id=required(asked.experiment_id, "experiment_id"),
            state="IN_PROGRESS",
            requested_at=self._runtime.now() if asked.timestamp_ms is None else asked.timestamp_ms,
            tags={one.key: one.value for one in asked.tags},
            metadata={one.key: one.value for one in asked.request_metadata},
        )
        return _told(await self._traces.start(call.actor, call.workspace.id, new))

    async def end(self, call: Call) -> Response:
        asked = await parse(call, requests.EndTrace)
        if asked.timestamp_ms is None:
            raise missing("timestamp_ms")
        ended = await self._traces.end(
            call.actor,
            call.workspace.id,
            call.params["request_id"],
            state=trace_shapes.state(asked.status, "status"),
            ended_at=asked.timestamp_ms,
            tags={one.key: one.value for one in asked.tags},
            metadata={one.key: one.value for one in asked.request_metadata},
        )
        return _told(ended)

    async def get(self, call: Call) -> Response:
        return _told(await self._traces.get(call.workspace.id, call.params["request_id"]))

    async def search(self, call: Call) -> Response:
        asked = await parse(call, requests.SearchOldTraces)
        if not asked.experiment_ids:
            raise missing("experiment_ids")
        found, token = await self._traces.search(
            call.workspace.id,
            asked.experiment_ids,
            asked.filter,
            asked.order_by,
            asked.page_token,
            asked.max_results,
        )
        answer: dict[str, Any] = {"traces": [_shape(one) for one in found]}
        return json_answer(answer | ({"next_page_token": token} if token else {}))


def _told(one: Trace) -> Response:
    return json_answer({"trace_info": _shape(one)})


def _shape(one: Trace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "request_id": one.id,
        "experiment_id": one.experiment_id,
        "timestamp_ms": one.requested_at,
        "status": "TRACE_STATUS_UNSPECIFIED" if one.state == STATES[0] else one.state,
        "request_metadata": [{"key": key, "value": value} for key, value in one.metadata.items()],
        "tags": [{"key": key, "value": value} for key, value in one.tags.items()],
    }
    return found if one.duration is None else found | {"execution_time_ms": one.duration}
