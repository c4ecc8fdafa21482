"""Online deployments (wire.md §5.6): one version of a model behind an endpoint."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotServed
from zaffre.services.durations import seconds
from zaffre.services.kinds.base import Document, Kind, Show, Texts, spelled, texts
from zaffre.services.kinds.endpoints import ACCESS, NAME
from zaffre.store.resources import Row

COMPUTE_TYPES = ("Managed", "Kubernetes")
ROLLING_RATES = ("Year", "Month", "Day", "Hour", "Minute")
MOST_INSTANCES = 64
OURS = "zaffre."
"""What the platform tells in a deployment's `properties`; a client that sends it back says nothing by it."""


class CodeConfiguration(msgspec.Struct, rename="camel", kw_only=True):
    scoring_script: str
    code_id: str | None = None


class RequestSettings(msgspec.Struct, rename="camel", kw_only=True):
    max_concurrent_requests_per_instance: int | None = None
    max_queue_wait: str | None = None
    request_timeout: str | None = None


class Probe(msgspec.Struct, rename="camel", kw_only=True):
    failure_threshold: int | None = None
    success_threshold: int | None = None
    initial_delay: str | None = None
    period: str | None = None
    timeout: str | None = None


class Collection(msgspec.Struct, rename="camel", kw_only=True):
    client_id: str | None = None
    data_collection_mode: str | None = None
    data_id: str | None = None
    sampling_rate: float | None = None


class RequestLogging(msgspec.Struct, rename="camel", kw_only=True):
    capture_headers: list[str] | None = None


class DataCollector(msgspec.Struct, rename="camel", kw_only=True):
    collections: dict[str, Collection]
    rolling_rate: str | None = None
    request_logging: RequestLogging | None = None


class Deployment(msgspec.Struct, rename="camel", kw_only=True):
    endpoint_compute_type: str = "Managed"
    model: str | None = None
    model_mount_path: str | None = None
    code_configuration: CodeConfiguration | None = None
    environment_id: str | None = None
    environment_variables: dict[str, str] | None = None
    instance_type: str | None = None
    description: str | None = None
    properties: Texts | None = None
    scale_settings: dict[str, Any] | None = None
    request_settings: RequestSettings | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    app_insights_enabled: bool | None = None
    egress_public_network_access: str | None = None
    private_network_connection: bool | None = None
    data_collector: DataCollector | None = None


_REQUEST = {"maxConcurrentRequestsPerInstance": 1, "maxQueueWait": "PT0.5S", "requestTimeout": "PT5S"}
_PROBE = {"failureThreshold": 30, "successThreshold": 1, "initialDelay": "PT10S", "period": "PT10S", "timeout": "PT2S"}
_VARIABLE = re.compile(r"[^=\0]+")


def with_sku(body: Document) -> Document:
    """The body with its `sku` as the SDK must find it: `capacity` is the number of instances.

    Raises InvalidInput for a number that cannot be.
    """
    given = body.get("sku")
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise InvalidInput("Field 'sku': expected an object.", code="InvalidField", target="sku")
    count = given.get("capacity")
    count = 1 if count is None else count
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_INSTANCES:
        raise InvalidInput(
            f"Field 'sku.capacity': {str(count)[:50]}; expected a number of instances from 1 to {MOST_INSTANCES}.",
            code="InvalidField",
            target="sku.capacity",
        )
    name = given.get("name")
    if name is not None and not isinstance(name, str):
        raise InvalidInput("Field 'sku.name': expected a text.", code="InvalidField", target="sku.name")
    return {**body, "sku": {**given, "name": name or "Default", "capacity": count}}


def skus() -> list[Document]:
    """What a deployment may be scaled to."""
    return [
        {
            "resourceType": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments",
            "sku": {"name": "Default"},
            "capacity": {"minimum": 1, "maximum": MOST_INSTANCES, "default": 1, "scaleType": "Manual"},
        }
    ]


def _complete_deployment(properties: Document) -> Document:
    compute = spelled(properties.get("endpointComputeType", "Managed"), COMPUTE_TYPES, "properties.endpointComputeType")
    if not properties.get("model") and not properties.get("codeConfiguration"):
        raise _refused("model", "a deployment needs a model, a scoring script, or both")
    scale = properties.get("scaleSettings") or {"scaleType": "Default"}
    if scale.get("scaleType") != "Default":
        raise NotServed(
            "Scaling by a target utilisation is not served yet; scaleType 'Default' is.",
            target="properties.scaleSettings",
        )
    if properties.get("modelMountPath"):
        raise NotServed(
            "A mount path of the model is for a container of your own, which is not served yet; a scoring script finds "
            "the model by AZUREML_MODEL_DIR.",
            target="properties.modelMountPath",
        )
    variables = properties.get("environmentVariables") or {}
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise _refused("environmentVariables", f"'{name[:100]}' cannot be the name of an environment variable")
    completed = {
        **properties,
        "endpointComputeType": compute,
        "environmentVariables": variables,
        "properties": {k: v for k, v in texts(properties.get("properties")).items() if not k.startswith(OURS)},
        "scaleSettings": {"scaleType": "Default"},
        "requestSettings": _defaults(properties.get("requestSettings"), _REQUEST),
        "livenessProbe": _defaults(properties.get("livenessProbe"), _PROBE),
        "readinessProbe": _defaults(properties.get("readinessProbe"), _PROBE),
    }
    if properties.get("egressPublicNetworkAccess") is not None:
        completed["egressPublicNetworkAccess"] = spelled(
            properties["egressPublicNetworkAccess"], ACCESS, "properties.egressPublicNetworkAccess"
        )
    if properties.get("dataCollector") is not None:
        completed["dataCollector"] = _collector(properties["dataCollector"])
    _check_numbers(completed)
    return completed


def _collector(given: Document) -> Document:
    """Checked and kept as it is said; collecting itself is not built yet (docs/compatibility.md)."""
    field, collections = "properties.dataCollector", {}
    for name, collection in given["collections"].items():
        made = dict(collection)
        if made.get("dataCollectionMode") is not None:
            where = f"{field}.collections.{name}.dataCollectionMode"
            made["dataCollectionMode"] = spelled(made["dataCollectionMode"], ACCESS, where)
        if made.get("samplingRate") is not None:
            _bounded(made["samplingRate"], 0, 1, f"{field}.collections.{name}.samplingRate")
        collections[name] = made
    rate = given.get("rollingRate")
    rolling = {} if rate is None else {"rollingRate": spelled(rate, ROLLING_RATES, f"{field}.rollingRate")}
    return {**given, "collections": collections, **rolling}


def _check_numbers(completed: Document) -> None:
    for group, fields in (
        ("requestSettings", {"maxQueueWait": 0.0, "requestTimeout": 0.001}),
        ("livenessProbe", {"initialDelay": 0.0, "period": 0.1, "timeout": 0.001}),
        ("readinessProbe", {"initialDelay": 0.0, "period": 0.1, "timeout": 0.001}),
    ):
        for name, least in fields.items():
            _bounded(seconds(completed[group][name], field := f"properties.{group}.{name}"), least, 3600, field)
    for group in ("livenessProbe", "readinessProbe"):
        for name in ("failureThreshold", "successThreshold"):
            _bounded(completed[group][name], 1, 1000, f"properties.{group}.{name}")
    held = completed["requestSettings"]["maxConcurrentRequestsPerInstance"]
    _bounded(held, 1, 1000, "properties.requestSettings.maxConcurrentRequestsPerInstance")


def _bounded(value: float, least: float, most: float, field: str) -> None:
    if not least <= value <= most:
        raise InvalidInput(
            f"Field '{field}': {value:g}; expected {least:g} to {most:g}.", code="InvalidField", target=field
        )


def _refused(field: str, why: str) -> InvalidInput:
    return InvalidInput(f"Field 'properties.{field}': {why}.", code="InvalidField", target=f"properties.{field}")


def _defaults(given: Document | None, defaults: Document) -> Document:
    """Defaults under what the client gave; a null counts as not given."""
    return {**defaults, **{name: value for name, value in (given or {}).items() if value is not None}}


def _extra_deployment(row: Row, _show: Show) -> Document:
    """The state, and where something is wrong, what: the contract has no field for it, so it stands in `properties`."""
    told: dict[str, str] = {}
    server = row.server
    away = {*(server.get("out") or ()), *(server.get("down") or ())}
    if away:
        wished = len(server["release"]["plans"])
        told["zaffre.instances"] = f"{wished - len(away)} of {wished} ready"
    if server.get("revivals"):
        told["zaffre.restarts"] = str(server["revivals"])
    if server.get("error") and row.state == "Failed":
        told["zaffre.error"] = str(server["error"].get("message", ""))
    return {"provisioningState": row.state, "properties": row.body["properties"]["properties"] | told}


KINDS = (
    Kind(
        type="workspaces/onlineEndpoints/deployments",
        properties=Deployment,
        name=NAME,
        complete=_complete_deployment,
        extra=_extra_deployment,
        tracked=True,
        active=True,
    ),
)
