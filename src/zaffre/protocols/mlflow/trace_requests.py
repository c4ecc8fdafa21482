"""What MLflow's clients ask about traces, as structs; lengths are those MLflow takes."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zaffre.protocols.mlflow.requests import RunId


class ExperimentLocation(Struct, frozen=True):
    experiment_id: str = ""


class TraceLocation(Struct, frozen=True):
    type: str | int | None = None
    mlflow_experiment: ExperimentLocation | None = None


Labels = dict[Annotated[str, Meta(min_length=1, max_length=250)], Annotated[str, Meta(max_length=8000)]]


class Assessment(Struct, frozen=True):
    assessment_name: Annotated[str, Meta(max_length=250, pattern=r"^[^.]*$")] = ""
    assessment_id: Annotated[str, Meta(max_length=250)] | None = None
    trace_id: str | None = None
    span_id: Annotated[str, Meta(max_length=250)] | None = None
    source: dict[str, Any] | None = None
    create_time: str | None = None
    last_update_time: str | None = None
    feedback: dict[str, Any] | None = None
    expectation: dict[str, Any] | None = None
    issue: dict[str, Any] | None = None
    rationale: str | None = None
    error: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    overrides: str | None = None
    valid: bool = True


class TraceInfo(Struct, frozen=True):
    trace_id: Annotated[str, Meta(max_length=250)] = ""
    client_request_id: Annotated[str, Meta(max_length=250)] | None = None
    trace_location: TraceLocation | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    request_time: str | None = None
    execution_duration: str | None = None
    state: str | int = "STATE_UNSPECIFIED"
    trace_metadata: Labels = {}
    tags: Labels = {}
    assessments: list[Assessment] = []


class TraceMessage(Struct, frozen=True):
    trace_info: TraceInfo


class StartTrace(Struct, frozen=True):
    trace: TraceMessage


class GetTrace(Struct, frozen=True):
    trace_id: str = ""
    allow_partial: bool = False


class TraceArtifact(Struct, frozen=True):
    request_id: str = ""
    path: str = ""


class TraceIds(Struct, frozen=True):
    trace_ids: list[str] = []


class SearchTraces(Struct, frozen=True):
    locations: list[TraceLocation] = []
    filter: str | None = None
    max_results: Annotated[int, Meta(ge=1, le=500)] = 100
    order_by: list[str] = []
    page_token: str | None = None


class Aggregation(Struct, frozen=True):
    aggregation_type: str | int = ""
    percentile_value: Annotated[float, Meta(ge=0, le=100)] | None = None


Moment = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]  # milliseconds, up to the year 9999


class QueryMetrics(Struct, frozen=True):
    experiment_ids: Annotated[list[str], Meta(max_length=1000)] = []
    view_type: str | int = ""
    metric_name: str = ""
    aggregations: Annotated[list[Aggregation], Meta(max_length=20)] = []
    dimensions: Annotated[list[str], Meta(max_length=20)] = []
    filters: Annotated[list[str], Meta(max_length=100)] = []
    time_interval_seconds: Annotated[int, Meta(ge=0, le=10_000_000_000)] = 0
    start_time_ms: Moment | None = None
    end_time_ms: Moment | None = None
    max_results: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    page_token: str | None = None


class OldLabel(Struct, frozen=True):
    key: Annotated[str, Meta(min_length=1, max_length=250)]
    value: Annotated[str, Meta(max_length=8000)] = ""


class BeginTrace(Struct, frozen=True):
    experiment_id: str = ""
    timestamp_ms: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    request_metadata: list[OldLabel] = []
    tags: list[OldLabel] = []


class EndTrace(Struct, frozen=True):
    timestamp_ms: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    status: str | int = "TRACE_STATUS_UNSPECIFIED"
    request_metadata: list[OldLabel] = []
    tags: list[OldLabel] = []


class SearchOldTraces(Struct, frozen=True):
    experiment_ids: list[str] = []
    filter: str | None = None
    max_results: Annotated[int, Meta(ge=1, le=500)] = 100
    order_by: list[str] = []
    page_token: str | None = None


class CorrelateTraces(Struct, frozen=True):
    experiment_ids: list[str] = []
    filter_string1: str = ""
    filter_string2: str = ""
    base_filter: str | None = None


class PromptVersion(Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=250, pattern=r"^[^/]*$")]
    version: Annotated[str, Meta(pattern=r"^[0-9]{1,18}$")]


class LinkPrompts(Struct, frozen=True):
    trace_id: str = ""
    prompt_versions: list[PromptVersion] = []


class DeleteTraces(Struct, frozen=True):
    experiment_id: str = ""
    max_timestamp_millis: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    max_traces: int | None = None
    request_ids: list[str] = []


class TraceTag(Struct, frozen=True):
    key: Annotated[str, Meta(max_length=250)] = ""
    value: Annotated[str, Meta(max_length=8000)] = ""


class TraceTagKey(Struct, frozen=True):
    key: str = ""


class LinkTraces(Struct, frozen=True):
    trace_ids: list[str] = []
    run_id: RunId = ""


class CreateAssessment(Struct, frozen=True):
    assessment: Assessment


class UpdateAssessment(Struct, frozen=True):
    assessment: Assessment
    update_mask: str
