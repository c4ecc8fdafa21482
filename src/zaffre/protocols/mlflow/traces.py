"""MLflow's traces: their makers' word, OpenTelemetry's exports, labels, assessments, search."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

from starlette.responses import Response

from zaffre.errors import InvalidInput, NotFound, TooLarge, Unprocessable
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import BODY_LIMIT, Call
from zaffre.protocols.mlflow import trace_requests as requests
from zaffre.protocols.mlflow import trace_shapes
from zaffre.protocols.mlflow.refusals import missing
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.tracking import Tracking, otlp
from zaffre.store.tracking.traces import Trace

_READ, _WRITE, _DELETE = (f"workspaces/experiments/traces/{verb}" for verb in ("read", "write", "delete"))
EXPERIMENT_HEADER = "x-mlflow-experiment-id"
MOST_AT_ONCE = 100
PATIENCE_S = (1.0, 2.0)  # between looks at a trace whose spans have not all arrived


class Traces:
    def __init__(self, tracking: Tracking) -> None:
        self._traces = tracking.traces
        self._metrics = tracking.trace_metrics
        self._runtime = tracking.runtime

    def operations(self) -> Served:
        return {
            "startTraceV3": (self.start, _WRITE),
            "getTraceInfoV3": (self.get_info, _READ),
            "getTrace": (self.get, _READ),
            "batchGetTraces": (self.get_several, _READ),
            "batchGetTraceInfos": (self.get_infos, _READ),
            "searchTracesV3": (self.search, _READ),
            "deleteTraces": (self.delete, _DELETE),
            "deleteTracesV3": (self.delete, _DELETE),
            "setTraceTag": (self.set_tag, _WRITE),
            "setTraceTagV3": (self.set_tag, _WRITE),
            "deleteTraceTag": (self.delete_tag, _WRITE),
            "deleteTraceTagV3": (self.delete_tag, _WRITE),
            "calculateTraceFilterCorrelation": (self.correlate, _READ),
            "queryTraceMetrics": (self.metrics, _READ),
            "linkPromptsToTrace": (self.link_prompts, _WRITE),
            "linkTracesToRun": (self.link, _WRITE),
            "createAssessment": (self.assess, _WRITE),
            "GetAssessment": (self.get_assessment, _READ),
            "updateAssessment": (self.reassess, _WRITE),
            "deleteAssessment": (self.delete_assessment, _WRITE),
            "exportSpans": (self.export, _WRITE),
        }

    async def start(self, call: Call) -> Response:
        asked = await parse(call, requests.StartTrace)
        new = trace_shapes.new_trace(asked.trace.trace_info, self._runtime)
        made = await self._traces.start(call.actor, call.workspace.id, new)
        return json_answer({"trace": {"trace_info": trace_shapes.info(made)}})

    async def get_info(self, call: Call) -> Response:
        found = await self._traces.get(call.workspace.id, _id(call))
        return json_answer({"trace": {"trace_info": trace_shapes.info(found)}})

    async def get(self, call: Call) -> Response:
        asked = await parse(call, requests.GetTrace)
        id_ = required(asked.trace_id, "trace_id")
        for pause in (*PATIENCE_S, None):
            found = await self._traces.get(call.workspace.id, id_)
            spans = await self._traces.spans([found])
            if asked.allow_partial or found.is_complete(len(spans[found.pk])):
                return json_answer({"trace": (await _whole([found], spans))[0]})
            if pause is not None:
                await asyncio.sleep(pause)  # spans are sent beside what their maker says of the whole
        raise NotFound(f"Trace with ID {id_} is not fully exported yet, please try again later.", target="trace_id")

    async def get_several(self, call: Call) -> Response:
        asked = await parse(call, requests.TraceIds)
        found = await self._several(call, asked)
        spans = await self._traces.spans(found)
        complete = [one for one in found if one.is_complete(len(spans[one.pk]))]
        return json_answer({"traces": await _whole(complete, spans)})

    async def get_infos(self, call: Call) -> Response:
        asked = await parse(call, requests.TraceIds)
        return json_answer({"trace_infos": [trace_shapes.info(one) for one in await self._several(call, asked)]})

    async def search(self, call: Call) -> Response:
        asked = await parse(call, requests.SearchTraces)
        experiments = [one.mlflow_experiment.experiment_id for one in asked.locations if one.mlflow_experiment]
        if not experiments:
            raise InvalidInput("At least one experiment must be named in 'locations'.", target="locations")
        found, token = await self._traces.search(
            call.workspace.id, experiments, asked.filter, asked.order_by, asked.page_token, asked.max_results
        )
        answer: dict[str, Any] = {"traces": [trace_shapes.info(one) for one in found]}
        return json_answer(answer | ({"next_page_token": token} if token else {}))

    async def delete(self, call: Call) -> Response:
        asked = await parse(call, requests.DeleteTraces)
        if bool(asked.request_ids) == (asked.max_timestamp_millis is not None):
            raise InvalidInput(
                "Either `max_timestamp_millis` or `trace_ids` must be specified, but not both.", target="request_ids"
            )
        if asked.max_traces is not None and (asked.request_ids or asked.max_traces < 1):
            raise InvalidInput(
                "`max_traces` must be a positive integer, and goes with `max_timestamp_millis`.", target="max_traces"
            )
        deleted = await self._traces.delete(
            call.actor,
            call.workspace.id,
            required(asked.experiment_id, "experiment_id"),
            ids=asked.request_ids,
            until=asked.max_timestamp_millis,
            most=asked.max_traces,
        )
        return json_answer({"traces_deleted": deleted})

    async def set_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.TraceTag)
        await self._traces.set_tag(call.workspace.id, _id(call), required(asked.key, "key"), asked.value)
        return json_answer({})

    async def delete_tag(self, call: Call) -> Response:
        key = call.query.get("key") or (await parse(call, requests.TraceTagKey)).key
        await self._traces.delete_tag(call.workspace.id, _id(call), required(key, "key"))
        return json_answer({})

    async def link(self, call: Call) -> Response:
        asked = await parse(call, requests.LinkTraces)
        if len(asked.trace_ids) > MOST_AT_ONCE:
            raise InvalidInput(
                f"Cannot link more than {MOST_AT_ONCE} traces to a run in one request.", target="trace_ids"
            )
        await self._traces.link(call.workspace.id, asked.trace_ids, required(asked.run_id, "run_id"))
        return json_answer({})

    async def correlate(self, call: Call) -> Response:
        asked = await parse(call, requests.CorrelateTraces)
        if not asked.experiment_ids:
            raise missing("experiment_ids")
        found = await self._traces.correlation(
            call.workspace.id,
            asked.experiment_ids,
            asked.base_filter,
            required(asked.filter_string1, "filter_string1"),
            required(asked.filter_string2, "filter_string2"),
        )
        return json_answer(trace_shapes.correlation(found))

    async def metrics(self, call: Call) -> Response:
        asked = await parse(call, requests.QueryMetrics)
        wanted = trace_shapes.metrics_asked(asked)
        found, token = await self._metrics.query(call.workspace.id, wanted, asked.page_token, asked.max_results)
        answer: dict[str, Any] = {"data_points": trace_shapes.points(wanted, found)}
        return json_answer(answer | ({"next_page_token": token} if token else {}))

    async def link_prompts(self, call: Call) -> Response:
        asked = await parse(call, requests.LinkPrompts)
        if not asked.prompt_versions:
            raise missing("prompt_versions")
        if len(asked.prompt_versions) > MOST_AT_ONCE:
            raise InvalidInput(f"At most {MOST_AT_ONCE} prompts are linked at once.", target="prompt_versions")
        prompts = [(one.name, one.version) for one in asked.prompt_versions]
        await self._traces.link_prompts(call.workspace.id, required(asked.trace_id, "trace_id"), prompts)
        return json_answer({})

    # ---- assessments
    async def assess(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateAssessment)
        made = trace_shapes.assessment(asked.assessment, _id(call), self._runtime)
        overrides = asked.assessment.overrides or None
        return _assessed(await self._traces.assess(call.workspace.id, _id(call), made, overrides))

    async def get_assessment(self, call: Call) -> Response:
        return _assessed(await self._traces.assessment(call.workspace.id, _id(call), call.params["assessment_id"]))

    async def reassess(self, call: Call) -> Response:
        asked = await parse(call, requests.UpdateAssessment)
        change = trace_shapes.changed(asked)
        return _assessed(
            await self._traces.reassess(call.workspace.id, _id(call), call.params["assessment_id"], change)
        )

    async def delete_assessment(self, call: Call) -> Response:
        await self._traces.delete_assessment(call.workspace.id, _id(call), call.params["assessment_id"])
        return json_answer({})

    # ---- spans
    async def export(self, call: Call) -> Response:
        """OTLP over HTTP, as any OpenTelemetry exporter sends it; the experiment stands in a header."""
        experiment = call.headers.get(EXPERIMENT_HEADER, "")
        if not experiment:
            raise Unprocessable(f"The header {EXPERIMENT_HEADER} names no experiment.", target=EXPERIMENT_HEADER)
        media_type = call.headers.get("content-type", "").split(";")[0].strip().lower()
        if media_type not in (otlp.PROTOBUF, otlp.JSON):
            raise InvalidInput(
                f"Invalid Content-Type: {media_type[:100]}. Expected: {otlp.PROTOBUF} or {otlp.JSON}",
                target="content-type",
            )
        body = _inflated(await call.body_bytes(), call.headers.get("content-encoding", "").strip().lower())
        arrived = await asyncio.to_thread(otlp.decode, body, media_type)
        await self._traces.log_spans(call.actor, call.workspace.id, experiment, arrived)
        # Everything was kept: a response message without a word of what was not is empty.
        return json_answer({}) if media_type == otlp.JSON else Response(b"", media_type=otlp.PROTOBUF)

    async def _several(self, call: Call, asked: requests.TraceIds) -> list[Trace]:
        if len(asked.trace_ids) > MOST_AT_ONCE:
            raise InvalidInput(f"At most {MOST_AT_ONCE} traces are answered at once.", target="trace_ids")
        return await self._traces.several(call.workspace.id, asked.trace_ids)


async def _whole(traces: list[Trace], spans: dict[int, list[bytes]]) -> list[dict[str, Any]]:
    def shape() -> list[dict[str, Any]]:
        return [
            {"trace_info": trace_shapes.info(one), "spans": [otlp.as_json(span) for span in spans[one.pk]]}
            for one in traces
        ]

    return await asyncio.to_thread(shape)


def _id(call: Call) -> str:
    """The trace of the address, by the name this operation has for it."""
    params = call.params
    return params.get("trace_id") or params.get("request_id") or params["assessment_trace_id"]


def _assessed(one: Any) -> Response:
    return json_answer({"assessment": one.body})


def _inflated(body: bytes, encoding: str) -> bytes:
    """What was compressed, at most as much as may be sent plain. Raises TooLarge, and InvalidInput for another encoding."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise InvalidInput(
            f"Content-Encoding '{encoding[:50]}' is not supported; expected gzip.", target="content-encoding"
        )
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        found = inflate.decompress(body, BODY_LIMIT)
    except (zlib.error, gzip.BadGzipFile):
        raise InvalidInput(f"Failed to decompress {encoding} payload", target="content-encoding") from None
    if inflate.unconsumed_tail:
        raise TooLarge(f"The body is longer than the {BODY_LIMIT} bytes that are taken here.")
    return found
