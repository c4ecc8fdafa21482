"""Online endpoints and their deployments (wire.md §5.6)."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotServed
from zaffre.services.durations import seconds
from zaffre.services.kinds.base import Document, Kind, Show, Texts, spelled, texts
from zaffre.store.resources import Row

AUTH_MODES = ("Key", "AMLToken", "AADToken")
KEY = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")


class Endpoint(msgspec.Struct, rename="camel", kw_only=True):
    auth_mode: str
    description: str | None = None
    compute: str | None = None
    properties: Texts | None = None
    traffic: dict[str, int] | None = None
    mirror_traffic: dict[str, int] | None = None
    public_network_access: str | None = None
    keys: dict[str, Any] | None = None


def _complete_endpoint(properties: Document) -> Document:
    mode = spelled(properties["authMode"], AUTH_MODES, "properties.authMode")
    if mode != "Key":
        raise NotServed(f"Online endpoints with {mode} are not served yet; 'Key' is.", target="properties.authMode")
    if properties.get("mirrorTraffic"):
        raise NotServed("Mirrored traffic is not served yet.", target="properties.mirrorTraffic")
    traffic = properties.get("traffic") or {}
    if len({name.lower() for name in traffic}) != len(traffic):
        raise InvalidInput(
            f"Field 'properties.traffic': {traffic} names a deployment twice; names are compared without case.",
            code="InvalidField",
            target="properties.traffic",
        )
    if any(not 0 <= share <= 100 for share in traffic.values()) or sum(traffic.values()) not in (0, 100):
        raise InvalidInput(
            f"Field 'properties.traffic': {traffic}; expected whole percentages that add up to 100, or to 0 for none.",
            code="InvalidField",
            target="properties.traffic",
        )
    return {
        **properties,
        "authMode": mode,
        "traffic": traffic,
        "mirrorTraffic": {},
        "properties": texts(properties.get("properties")),
        "publicNetworkAccess": properties.get("publicNetworkAccess") or "Enabled",
    }


def _take_keys(body: Document) -> tuple[dict[str, str], Document]:
    properties = body.get("properties")
    keys = properties.get("keys") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(keys, dict):
        return {}, body
    found = {name: value for name in ("primaryKey", "secondaryKey") if (value := keys.get(name)) is not None}
    for name, value in found.items():
        check_key(value, f"properties.keys.{name}")
    check_pair(*found.values(), field="properties.keys")
    return found, {**body, "properties": {k: v for k, v in properties.items() if k != "keys"}}


def check_key(value: object, field: str) -> None:
    """Raise InvalidInput unless `value` may be a scoring key; it is compared by the edge, in a file of its own grammar."""
    if not isinstance(value, str) or not KEY.fullmatch(value):
        raise InvalidInput(
            f"Field '{field}': expected 16 to 256 letters, digits and '-', '_', '.', '~', '+', '/', '='.",
            code="InvalidField",
            target=field,
        )


def check_pair(*keys: str, field: str) -> None:
    """Raise InvalidInput for two keys that only case tells apart: the edge's map could hold but one of them."""
    if len({key.casefold() for key in keys}) != len(set(keys)):
        raise InvalidInput(
            f"Field '{field}': the two keys differ only in the case of their letters; expected the same or quite another.",
            code="InvalidField",
            target=field,
        )


def _extra_endpoint(row: Row, show: Show) -> Document:
    base = f"{show.address}/endpoints/{row.name}"
    return {
        "provisioningState": row.state,
        "scoringUri": f"{base}/score",
        "swaggerUri": f"{base}/swagger.json",
    }


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


class Deployment(msgspec.Struct, rename="camel", kw_only=True):
    endpoint_compute_type: str = "Managed"
    model: str | None = None
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


_REQUEST = {"maxConcurrentRequestsPerInstance": 1, "maxQueueWait": "PT0.5S", "requestTimeout": "PT5S"}
_PROBE = {"failureThreshold": 30, "successThreshold": 1, "initialDelay": "PT10S", "period": "PT10S", "timeout": "PT2S"}


def _complete_deployment(properties: Document) -> Document:
    if (
        spelled(
            properties.get("endpointComputeType", "Managed"),
            ("Managed", "Kubernetes"),
            "properties.endpointComputeType",
        )
        != "Managed"
    ):
        raise NotServed(
            "Kubernetes online deployments are not served yet; managed ones are.",
            target="properties.endpointComputeType",
        )
    if not properties.get("model") and not properties.get("codeConfiguration"):
        raise InvalidInput(
            "Field 'properties.model': a deployment needs a model, a scoring script, or both.",
            code="InvalidField",
            target="properties.model",
        )
    scale = properties.get("scaleSettings") or {"scaleType": "Default"}
    if scale.get("scaleType") != "Default":
        raise NotServed(
            "Scaling by a target utilisation is not served yet; scaleType 'Default' is.",
            target="properties.scaleSettings",
        )
    completed = {
        **properties,
        "endpointComputeType": "Managed",
        "environmentVariables": properties.get("environmentVariables") or {},
        "properties": texts(properties.get("properties")),
        "scaleSettings": {"scaleType": "Default"},
        "requestSettings": _defaults(properties.get("requestSettings"), _REQUEST),
        "livenessProbe": _defaults(properties.get("livenessProbe"), _PROBE),
        "readinessProbe": _defaults(properties.get("readinessProbe"), _PROBE),
    }
    for group, fields in (
        ("requestSettings", {"maxQueueWait": 0.0, "requestTimeout": 0.001}),
        ("livenessProbe", {"initialDelay": 0.0, "period": 0.001, "timeout": 0.001}),
        ("readinessProbe", {"initialDelay": 0.0, "period": 0.001, "timeout": 0.001}),
    ):
        for name, least in fields.items():
            _bounded(seconds(completed[group][name], field := f"properties.{group}.{name}"), least, 3600, field)
    for group in ("livenessProbe", "readinessProbe"):
        for name in ("failureThreshold", "successThreshold"):
            _bounded(completed[group][name], 1, 1000, f"properties.{group}.{name}")
    held = completed["requestSettings"]["maxConcurrentRequestsPerInstance"]
    _bounded(held, 1, 1000, "properties.requestSettings.maxConcurrentRequestsPerInstance")
    return completed


def _bounded(value: float, least: float, most: float, field: str) -> None:
    if not least <= value <= most:
        raise InvalidInput(
            f"Field '{field}': {value:g}; expected {least:g} to {most:g}.", code="InvalidField", target=field
        )


def _defaults(given: Document | None, defaults: Document) -> Document:
    """Defaults under what the client gave; a null counts as not given."""
    return {**defaults, **{name: value for name, value in (given or {}).items() if value is not None}}


def _extra_deployment(row: Row, _show: Show) -> Document:
    return {"provisioningState": row.state}


KINDS = (
    Kind(
        type="workspaces/onlineEndpoints",
        properties=Endpoint,
        name=NAME,
        complete=_complete_endpoint,
        extra=_extra_endpoint,
        take_secrets=_take_keys,
        tracked=True,
        active=True,
    ),
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
