"""Jobs. Command jobs for now; the others answer 501 by name."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotServed
from zaffre.services.durations import seconds
from zaffre.services.kinds.base import Document, Kind, Show, Texts, check, spelled, texts
from zaffre.services.kinds.job_data import Input, Output, complete_input, complete_output, is_absent
from zaffre.store.resources import Row

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
JOB_TYPES = ("Command", "Pipeline", "Sweep", "AutoML", "Spark", "Labeling", "FineTuning", "Base", "Distillation")
TIERS = ("Null", "Spot", "Basic", "Standard", "Premium")
IDENTITIES = ("AMLToken", "Managed", "UserIdentity")
SERVICES = ("JupyterLab", "SSH", "TensorBoard", "VSCode", "Custom", "Tracking", "Studio", "RayDashboard")
# Those every job has; we fill them.
OWN_SERVICES = ("Tracking", "Studio")
NOT_AVAILABLE = "NotAvailable"
LONGEST_COMMAND = 100_000
"""Bytes. Linux takes an argument of 128 KiB, and the values of inputs are still to be put in."""


class Resources(msgspec.Struct, rename="camel", kw_only=True):
    instance_count: int | None = None
    instance_type: str | None = None
    max_instance_count: int | None = None
    locations: list[str] | None = None
    shm_size: str | None = None
    docker_args: str | None = None
    docker_args_list: list[str] | None = None
    properties: dict[str, Any] | None = None


class Limits(msgspec.Struct, rename="camel", kw_only=True):
    timeout: str | None = None
    job_limits_type: str | None = None


class Identity(msgspec.Struct, rename="camel", kw_only=True):
    identity_type: str
    client_id: str | None = None
    object_id: str | None = None
    resource_id: str | None = None


class Nodes(msgspec.Struct, rename="camel", kw_only=True):
    nodes_value_type: str


class Service(msgspec.Struct, rename="camel", kw_only=True):
    job_service_type: str | None = None
    endpoint: str | None = None
    port: int | None = None
    nodes: Nodes | None = None
    properties: Texts | None = None


class Queue(msgspec.Struct, rename="camel", kw_only=True):
    job_tier: str | None = None
    priority: int | None = None


class Notification(msgspec.Struct, rename="camel", kw_only=True):
    email_on: list[str] | None = None
    emails: list[str] | None = None
    webhooks: dict[str, Any] | None = None


class Autologger(msgspec.Struct, rename="camel", kw_only=True):
    mlflow_autologger: str | None = None


class Command(msgspec.Struct, rename="camel", kw_only=True):
    job_type: str
    command: str
    environment_id: str
    code_id: str | None = None
    compute_id: str | None = None
    component_id: str | None = None
    parent_job_name: str | None = None
    display_name: str | None = None
    experiment_name: str | None = None
    description: str | None = None
    tags: Texts | None = None
    properties: Texts | None = None
    environment_variables: Texts | None = None
    inputs: dict[str, Input | None] | None = None
    outputs: dict[str, Output | None] | None = None
    resources: Resources | None = None
    limits: Limits | None = None
    identity: Identity | None = None
    services: dict[str, Service | None] | None = None
    queue_settings: Queue | None = None
    notification_setting: Notification | None = None
    autologger_settings: Autologger | None = None
    secrets_configuration: dict[str, Any] | None = None
    distribution: dict[str, Any] | None = None
    is_archived: bool | None = None


class AnyJob(msgspec.Struct, rename="camel", kw_only=True):
    job_type: str


def _complete(properties: Document) -> Document:
    kind = spelled(properties["jobType"], JOB_TYPES, "properties.jobType")
    if kind != "Command":
        raise NotServed(f"Jobs of type {kind} are not served yet; Command jobs are.", target="properties.jobType")
    check(properties, Command, "properties")
    if not properties["command"].strip():
        raise _wrong("command", "expected a command, got an empty text.")
    if len(properties["command"].encode()) > LONGEST_COMMAND:
        raise _wrong(
            "command", f"expected at most {LONGEST_COMMAND:,} bytes; a longer one belongs into a script of the code."
        )
    _refuse_unserved(properties)
    for name in properties.get("environmentVariables") or {}:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise _wrong("environmentVariables", f"'{name[:100]}' is not a name a process can have.")
    filled = {
        **properties,
        "jobType": kind,
        "displayName": properties.get("displayName") or None,
        "experimentName": properties.get("experimentName") or "Default",
        "tags": texts(properties.get("tags")),
        "properties": texts(properties.get("properties")),
        "environmentVariables": texts(properties.get("environmentVariables")),
        "resources": _resources(properties.get("resources") or {}),
        "inputs": _each(complete_input, _given(properties.get("inputs"))),
        "outputs": _each(complete_output, properties.get("outputs")),
        "services": _each(_service, properties.get("services")),
        "isArchived": bool(properties.get("isArchived")),
    }
    for name, complete in (("limits", _limits), ("identity", _identity), ("queueSettings", _queue)):
        if properties.get(name):
            filled[name] = complete(properties[name])
    for name in OWN_SERVICES:
        filled["services"].pop(name, None)
    return filled


def _refuse_unserved(properties: Document) -> None:
    """What a command job may ask for and this server does not do, by name: none of it is dropped in silence."""
    if properties.get("distribution"):
        raise NotServed("Distributed jobs are not served yet.", target="properties.distribution")
    if any((properties.get("notificationSetting") or {}).values()):
        raise NotServed("Notifications of jobs are not served yet.", target="properties.notificationSetting")
    if properties.get("secretsConfiguration"):
        raise NotServed(
            "Secrets in a job's environment are not served yet; read them in the job with azure-identity.",
            target="properties.secretsConfiguration",
        )
    autologger = (properties.get("autologgerSettings") or {}).get("mlflowAutologger")
    if autologger and spelled(autologger, ("Enabled", "Disabled"), "properties.autologgerSettings") == "Enabled":
        raise NotServed(
            "A job without its own mlflow.autolog() call is not logged; call it in the job.",
            target="properties.autologgerSettings",
        )


def _resources(given: Document) -> Document:
    kept = {"instanceCount": 1, **{name: value for name, value in given.items() if value is not None}}
    if kept["instanceCount"] < 1:
        raise _wrong("resources.instanceCount", f"{kept['instanceCount']}; expected a number from 1 on.")
    if kept["instanceCount"] > 1:
        raise NotServed("Jobs on more than one node are not served yet.", target="properties.resources.instanceCount")
    if "shmSize" in kept and not re.fullmatch(r"[1-9]\d{0,14}[bkmgBKMG]?", kept["shmSize"]):
        raise _wrong(
            "resources.shmSize", f"'{kept['shmSize'][:50]}'; expected a number and b, k, m or g, such as '2g'."
        )
    return kept


def _limits(given: Document) -> Document:
    field = "properties.limits"
    if given.get("timeout") and seconds(given["timeout"], f"{field}.timeout") <= 0:
        raise _wrong("limits.timeout", f"'{given['timeout']}' is no time; leave it out for none.")
    return {
        **given,
        "jobLimitsType": spelled(given.get("jobLimitsType") or "Command", ("Command",), f"{field}.jobLimitsType"),
    }


def _identity(given: Document) -> Document:
    return {**given, "identityType": spelled(given["identityType"], IDENTITIES, "properties.identity.identityType")}


def _queue(given: Document) -> Document:
    kept = {name: value for name, value in given.items() if value is not None}
    if "jobTier" in kept:
        kept["jobTier"] = spelled(kept["jobTier"], TIERS, "properties.queueSettings.jobTier")
    if not 1 <= kept.get("priority", 1) <= 3:
        raise _wrong("queueSettings.priority", f"{kept['priority']}; expected 1 (low), 2 (medium) or 3 (high).")
    return kept


def _service(name: str, given: Document) -> Document:
    field = f"services.{name}"
    kept = {key: value for key, value in given.items() if value is not None}
    if "jobServiceType" in kept:
        kept["jobServiceType"] = spelled(kept["jobServiceType"], SERVICES, f"properties.{field}.jobServiceType")
    if "nodes" in kept:
        kept["nodes"] = {
            "nodesValueType": spelled(kept["nodes"]["nodesValueType"], ("All",), f"properties.{field}.nodes")
        }
    if not 0 < kept.get("port", 1) < 65536:
        raise _wrong(f"{field}.port", f"{kept['port']}; expected a number from 1 to 65535.")
    if "properties" in kept:
        kept["properties"] = texts(kept["properties"])
    for filled in ("status", "errorMessage", "endpoint"):
        kept.pop(filled, None)
    return kept


def _given(inputs: Document | None) -> Document:
    return {name: value for name, value in (inputs or {}).items() if value and not is_absent(name, value)}


def _each(complete: Any, given: Document | None) -> Document:
    return {name: complete(name, value) for name, value in (given or {}).items() if value}


def _wrong(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"Field 'properties.{field}': {message}", code="InvalidField", target=f"properties.{field}")


def _extra(row: Row, show: Show) -> Document:
    host = show.address.removeprefix("https://")
    path = show.workspace.path
    properties = row.body["properties"]
    # `outputs.default` stays out: with it the SDK streams by listing the datastore itself (wire.md §8.2).
    return {
        "status": row.state,
        "parameters": {name: value["value"] for name, value in properties["inputs"].items() if "value" in value},
        "outputs": {
            name: {**value, **({"assetId": registered(row.server, name)} if registered(row.server, name) else {})}
            for name, value in properties["outputs"].items()
        },
        "services": {
            **{name: {**value, **unavailable(value)} for name, value in (properties.get("services") or {}).items()},
            "Tracking": {"jobServiceType": "Tracking", "endpoint": f"azureml://{host}/mlflow/v1.0{path}"},
            "Studio": {"jobServiceType": "Studio", "endpoint": f"{show.address}/studio/runs/{row.name}?wsid={path}"},
        },
    }


def registered(server: Document, output: str) -> str | None:
    """The id of the asset version an output became."""
    found: str | None = server.get("registered", {}).get(output)
    return found


def unavailable(service: Document) -> Document:
    """What is told of a service inside a job: it is kept as a wish, and nothing is started for it."""
    kind = service.get("jobServiceType") or "Custom"
    message = f"This version of Zaffre starts no {kind} beside a job. Run the job's code on the machine itself, or log to MLflow."
    return {"status": NOT_AVAILABLE, "errorMessage": message}


KINDS = (
    Kind(
        type="workspaces/jobs",
        properties=AnyJob,
        name=NAME,
        complete=_complete,
        extra=_extra,
    ),
)
