"""What clients send, with MLflow's own limits. Fields that are not named here are passed over, as protobuf does."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

# Parts between slashes, none of them empty, "." or "..": such a name may be a path of files, too, and names one only.
NAME_PATTERN = r"^(?!\.\.?/|\.\.?\Z)[\w.\- :]++(?:/(?!\.\.?/|\.\.?\Z)[\w.\- :]++)*+\Z"
MOST_IN_BATCH = 1000
MOST_IN_PARAM, MOST_IN_TAG = 6000, 8000
MOST_IN_BATCH_OF = {"metrics": 1000, "params": 100, "tags": 100}

Text = Annotated[str, Meta(max_length=8000)]
Key = Annotated[str, Meta(min_length=1, max_length=250, pattern=NAME_PATTERN)]
RunId = Annotated[str, Meta(max_length=256)]
ParamValue = Annotated[str, Meta(max_length=6000)]
TagValue = Annotated[str, Meta(max_length=8000)]
MOST_IN_REGISTRY_TAG = 100_000
RegistryValue = Annotated[str, Meta(max_length=MOST_IN_REGISTRY_TAG)]
ExperimentValue = Annotated[str, Meta(max_length=5000)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Time = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Limit = Annotated[int, Meta(ge=1, le=50_000)]
Alias = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[\w\-]+$")]


class Pair(Struct, frozen=True):
    key: Key
    value: TagValue = ""


class Param(Struct, frozen=True):
    key: Key
    value: ParamValue = ""


class RunTag(Struct, frozen=True):
    """Of a run; its value is cut at MOST_IN_TAG letters, as MLflow does it."""

    key: Key
    value: str = ""


class RunParam(Struct, frozen=True):
    """Of a run; its value is cut at MOST_IN_PARAM letters, as MLflow does it."""

    key: Key
    value: str = ""


class RegistryTag(Struct, frozen=True):
    key: Key
    value: RegistryValue = ""


class VersionTag(Struct, frozen=True):
    """Of a new version. Its length is looked at by the handler: a prompt's text has words of its own."""

    key: Key
    value: str = ""


class ExperimentTag(Struct, frozen=True):
    key: Key
    value: ExperimentValue = ""


# ---- experiments
class CreateExperiment(Struct, frozen=True):
    name: Annotated[str, Meta(max_length=500)] = ""
    artifact_location: Annotated[str, Meta(max_length=2048)] | None = None
    tags: list[ExperimentTag] = []


class ExperimentName(Struct, frozen=True):
    experiment_name: str = ""


class ExperimentId(Struct, frozen=True):
    experiment_id: str = ""


class UpdateExperiment(Struct, frozen=True):
    experiment_id: str = ""
    new_name: Annotated[str, Meta(max_length=500)] | None = None


class SetExperimentTag(Struct, frozen=True):
    key: Key
    experiment_id: str = ""
    value: ExperimentValue = ""


class DeleteExperimentTag(Struct, frozen=True):
    key: Key
    experiment_id: str = ""


class SearchExperiments(Struct, frozen=True):
    max_results: Limit = 1000
    page_token: str | None = None
    filter: str | None = None
    order_by: list[str] = []
    view_type: str | int = "ACTIVE_ONLY"


# ---- runs
class CreateRun(Struct, frozen=True):
    experiment_id: str = "0"
    user_id: Text | None = None
    run_name: Annotated[str, Meta(max_length=250)] | None = None
    start_time: Int64 | None = None
    tags: list[RunTag] = []


class OfRun(Struct, frozen=True):
    """Whatever names a run; `run_uuid` is the older name of `run_id`."""

    run_id: RunId | None = None
    run_uuid: RunId | None = None

    @property
    def run(self) -> str:
        return self.run_id or self.run_uuid or ""


class UpdateRun(OfRun, frozen=True):
    status: str | int | None = None
    end_time: Int64 | None = None
    run_name: Annotated[str, Meta(max_length=250)] | None = None


class LogMetric(OfRun, frozen=True, kw_only=True):
    key: Key
    value: float
    timestamp: Time
    step: Int64 = 0
    model_id: Annotated[str, Meta(max_length=250)] | None = None
    dataset_name: Annotated[str, Meta(max_length=500)] | None = None
    dataset_digest: Annotated[str, Meta(max_length=36)] | None = None


class LogParam(OfRun, frozen=True, kw_only=True):
    key: Key
    value: str = ""


class SetTag(OfRun, frozen=True, kw_only=True):
    key: Key
    value: str = ""


class DeleteTag(OfRun, frozen=True, kw_only=True):
    key: Key


class LogBatch(OfRun, frozen=True, kw_only=True):
    metrics: list[LogMetric] = []
    params: list[RunParam] = []
    tags: list[RunTag] = []


class RunDataStatus(OfRun, frozen=True, kw_only=True):
    batch_tracking_id: str = ""


class LogModel(OfRun, frozen=True, kw_only=True):
    model_json: str = ""


class Dataset(Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=500)]
    digest: Annotated[str, Meta(min_length=1, max_length=36)]
    source_type: str = ""
    source: Annotated[str, Meta(max_length=65535)] = ""
    schema: Annotated[str, Meta(max_length=1048575)] | None = None
    profile: Annotated[str, Meta(max_length=16777215)] | None = None


class InputTag(Struct, frozen=True):
    key: Annotated[str, Meta(min_length=1, max_length=255)]
    value: Annotated[str, Meta(max_length=500)] = ""


class DatasetInput(Struct, frozen=True):
    dataset: Dataset
    tags: list[InputTag] = []


class ModelLink(Struct, frozen=True):
    model_id: Annotated[str, Meta(min_length=1, max_length=250)]
    step: Int64 = 0


class LogInputs(OfRun, frozen=True, kw_only=True):
    datasets: list[DatasetInput] = []
    models: list[ModelLink] = []


class LogOutputs(OfRun, frozen=True, kw_only=True):
    models: Annotated[list[ModelLink], Meta(max_length=MOST_IN_BATCH)] = []


class SearchRuns(Struct, frozen=True):
    experiment_ids: Annotated[list[str], Meta(max_length=1000)] = []
    filter: str | None = None
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: Limit = 1000
    order_by: Annotated[list[str], Meta(max_length=20)] = []
    page_token: str | None = None


class SearchDatasets(Struct, frozen=True):
    experiment_ids: list[str] = []


class MetricHistory(OfRun, frozen=True, kw_only=True):
    metric_key: str = ""
    page_token: str | None = None
    max_results: Annotated[int, Meta(ge=0, le=50_000)] | None = None


class BulkHistory(Struct, frozen=True):
    """Of several runs, sampled; `run_id` and no steps where a whole history is asked for."""

    run_ids: list[RunId] = []
    run_id: list[RunId] = []
    metric_key: str = ""
    start_step: Int64 | None = None
    end_step: Int64 | None = None
    max_results: Int64 | None = None


class ListArtifacts(OfRun, frozen=True, kw_only=True):
    path: str = ""
    page_token: str | None = None


class RunArtifact(OfRun, frozen=True, kw_only=True):
    path: str = ""


class ModelVersionArtifact(Struct, frozen=True):
    name: str = ""
    version: str | int = ""
    path: str = ""


# ---- logged models
class CreateLoggedModel(Struct, frozen=True):
    experiment_id: str = ""
    name: Annotated[str, Meta(max_length=500)] | None = None
    model_type: Annotated[str, Meta(max_length=500)] | None = None
    source_run_id: RunId | None = None
    params: list[Param] = []
    tags: list[Pair] = []


class FinalizeLoggedModel(Struct, frozen=True):
    status: str = ""


class LoggedModelTags(Struct, frozen=True):
    tags: list[Pair] = []


class LoggedModelParams(Struct, frozen=True):
    params: list[Param] = []


class LoggedModelOrder(Struct, frozen=True):
    field_name: str
    ascending: bool = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


class ModelDataset(Struct, frozen=True):
    dataset_name: Annotated[str, Meta(min_length=1)]
    dataset_digest: str | None = None


class SearchLoggedModels(Struct, frozen=True):
    experiment_ids: Annotated[list[str], Meta(max_length=1000)] = []
    filter: str | None = None
    datasets: list[ModelDataset] = []
    max_results: Limit = 100
    order_by: list[LoggedModelOrder] = []
    page_token: str | None = None


class LoggedModelArtifact(Struct, frozen=True):
    artifact_file_path: str = ""


class ListLoggedModelArtifacts(Struct, frozen=True):
    artifact_directory_path: str = ""
    page_token: str | None = None


# ---- registry
class CreateRegisteredModel(Struct, frozen=True):
    name: str = ""
    tags: list[RegistryTag] = []
    description: RegistryValue | None = None


class ModelName(Struct, frozen=True):
    name: str = ""


class RenameRegisteredModel(Struct, frozen=True):
    name: str = ""
    new_name: str = ""


class UpdateRegisteredModel(Struct, frozen=True):
    name: str = ""
    description: RegistryValue | None = None


class SearchRegistry(Struct, frozen=True):
    filter: str | None = None
    max_results: Annotated[int, Meta(ge=1, le=200_000)] = 100
    order_by: list[str] = []
    page_token: str | None = None


class LatestVersions(Struct, frozen=True):
    name: str = ""
    stages: list[str] = []


class CreateModelVersion(Struct, frozen=True):
    name: str = ""
    source: Annotated[str, Meta(max_length=2048)] = ""
    run_id: RunId | None = None
    tags: list[VersionTag] = []
    run_link: Annotated[str, Meta(max_length=500)] | None = None
    description: RegistryValue | None = None
    model_id: Annotated[str, Meta(max_length=250)] | None = None


class ModelVersion(Struct, frozen=True):
    name: str = ""
    version: str | int = ""


class UpdateModelVersion(ModelVersion, frozen=True):
    description: RegistryValue | None = None


class TransitionStage(ModelVersion, frozen=True):
    stage: str = ""
    archive_existing_versions: bool = False


class SetModelTag(Struct, frozen=True, kw_only=True):
    name: str = ""
    version: str | int | None = None
    key: Key
    value: RegistryValue = ""


class DeleteModelTag(Struct, frozen=True, kw_only=True):
    name: str = ""
    version: str | int | None = None
    key: Key


class ModelAlias(Struct, frozen=True):
    alias: Alias
    name: str = ""
    version: str | int = ""


# ---- proxied artifacts
class ArtifactPath(Struct, frozen=True):
    path: str = ""


class CreateMultipartUpload(ArtifactPath, frozen=True):
    num_parts: int = 1


class AbortMultipartUpload(ArtifactPath, frozen=True):
    upload_id: str = ""


class UploadedPart(Struct, frozen=True):
    part_number: Annotated[int, Meta(ge=1, le=10_000)]


class CompleteMultipartUpload(AbortMultipartUpload, frozen=True):
    parts: Annotated[list[UploadedPart], Meta(max_length=10_000)] = []


class PresignedDownload(ArtifactPath, frozen=True):
    run_id: str = ""
    expiration: Annotated[int, Meta(ge=1, le=7 * 24 * 3600)] = 900


class PresignedUpload(PresignedDownload, frozen=True):
    model_id: str = ""


# ---- asked by MLflow's pages
class GraphQLQuery(Struct, frozen=True):
    query: str = ""
    variables: dict[str, Any] | None = None
    operationName: str | None = None


# ---- webhooks
class WebhookEvent(Struct, frozen=True):
    entity: str = ""
    action: str = ""


class CreateWebhook(Struct, frozen=True):
    name: str = ""
    url: Annotated[str, Meta(max_length=500)] = ""
    events: Annotated[list[WebhookEvent], Meta(max_length=100)] = []
    description: Annotated[str, Meta(max_length=1000)] | None = None
    secret: Annotated[str, Meta(max_length=1000)] | None = None
    status: str | None = None


class ListWebhooks(Struct, frozen=True):
    max_results: Annotated[int, Meta(ge=1, le=1000)] = 100
    page_token: str | None = None


class TestWebhook(Struct, frozen=True):
    event: WebhookEvent | None = None
