"""Jobs. Command jobs for now; the others answer 501 by name."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotServed
from zaffre.services.durations import seconds
from zaffre.services.kinds.base import Document, Kind, Show, Texts, check, spelled, texts
from zaffre.store.resources import Row

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
JOB_TYPES = ("Command", "Pipeline", "Sweep", "AutoML", "Spark", "Labeling", "FineTuning", "Base", "Distillation")
DATA_TYPES = ("uri_file", "uri_folder", "mltable", "custom_model", "mlflow_model", "triton_model")
INPUT_MODES = ("ReadOnlyMount", "ReadWriteMount", "Download", "Direct", "EvalMount", "EvalDownload")
OUTPUT_MODES = ("ReadWriteMount", "Upload", "Direct")


class Input(msgspec.Struct, rename="camel", kw_only=True):
    job_input_type: str
    value: str | None = None
    uri: str | None = None
    mode: str | None = None
    description: str | None = None


class Output(msgspec.Struct, rename="camel", kw_only=True):
    job_output_type: str
    uri: str | None = None
    mode: str | None = None
    asset_name: str | None = None
    asset_version: str | None = None
    description: str | None = None


class Resources(msgspec.Struct, rename="camel", kw_only=True):
    instance_count: int | None = None
    instance_type: str | None = None
    shm_size: str | None = None
    docker_args: str | None = None
    properties: dict[str, Any] | None = None


class Limits(msgspec.Struct, rename="camel", kw_only=True):
    timeout: str | None = None
    job_limits_type: str | None = None


class Command(msgspec.Struct, rename="camel", kw_only=True):
    job_type: str
    command: str
    environment_id: str
    code_id: str | None = None
    compute_id: str | None = None
    component_id: str | None = None
    display_name: str | None = None
    experiment_name: str | None = None
    description: str | None = None
    tags: Texts | None = None
    properties: Texts | None = None
    environment_variables: dict[str, str] | None = None
    inputs: dict[str, Input | None] | None = None
    outputs: dict[str, Output | None] | None = None
    resources: Resources | None = None
    limits: Limits | None = None
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
        raise InvalidInput(
            "Field 'properties.command': expected a command, got an empty text.",
            code="InvalidField",
            target="properties.command",
        )
    if properties.get("distribution"):
        raise NotServed("Distributed jobs are not served yet.", target="properties.distribution")
    resources = {"instanceCount": 1, **{k: v for k, v in (properties.get("resources") or {}).items() if v is not None}}
    if resources["instanceCount"] != 1:
        raise NotServed("Jobs on more than one node are not served yet.", target="properties.resources.instanceCount")
    limits = properties.get("limits") or {}
    if limits.get("timeout"):
        seconds(limits["timeout"], "properties.limits.timeout")
    for name in properties.get("environmentVariables") or {}:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise InvalidInput(
                f"Field 'properties.environmentVariables': '{name}' is not a name a process can have.",
                code="InvalidField",
                target="properties.environmentVariables",
            )
    return {
        **properties,
        "jobType": kind,
        "displayName": properties.get("displayName") or None,
        "experimentName": properties.get("experimentName") or "Default",
        "tags": texts(properties.get("tags")),
        "properties": texts(properties.get("properties")),
        "environmentVariables": properties.get("environmentVariables") or {},
        "resources": resources,
        "inputs": {name: _input(name, value) for name, value in (properties.get("inputs") or {}).items() if value},
        "outputs": {name: _output(name, value) for name, value in (properties.get("outputs") or {}).items() if value},
        "isArchived": bool(properties.get("isArchived")),
    }


def _input(name: str, given: Document) -> Document:
    field = f"properties.inputs.{name}"
    _check_name(name, "properties.inputs")
    kind = given["jobInputType"].lower()
    if kind == "literal":
        return {**given, "jobInputType": "literal"}
    if kind not in DATA_TYPES:
        raise InvalidInput(
            f"Field '{field}.jobInputType': '{given['jobInputType']}' is not one of literal, {', '.join(DATA_TYPES)}.",
            code="InvalidField",
            target=f"{field}.jobInputType",
        )
    if not given.get("uri"):
        raise InvalidInput(
            f"Field '{field}.uri': expected the place of the data.", code="InvalidField", target=f"{field}.uri"
        )
    mode = spelled(given.get("mode") or "ReadOnlyMount", INPUT_MODES, f"{field}.mode")
    return {**given, "jobInputType": kind, "mode": mode}


def _output(name: str, given: Document) -> Document:
    field = f"properties.outputs.{name}"
    _check_name(name, "properties.outputs")
    kind = given["jobOutputType"].lower()
    if kind not in DATA_TYPES:
        raise InvalidInput(
            f"Field '{field}.jobOutputType': '{given['jobOutputType']}' is not one of {', '.join(DATA_TYPES)}.",
            code="InvalidField",
            target=f"{field}.jobOutputType",
        )
    mode = spelled(given.get("mode") or "ReadWriteMount", OUTPUT_MODES, f"{field}.mode")
    return {**given, "jobOutputType": kind, "mode": mode}


def _check_name(name: str, field: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", name):
        raise InvalidInput(
            f"Field '{field}': '{name[:100]}' is not a valid name; expected letters, digits and '_'.",
            code="InvalidField",
            target=field,
        )


def _extra(row: Row, show: Show) -> Document:
    host = show.address.removeprefix("https://")
    path = show.workspace.path
    # `outputs.default` stays out: with it the SDK streams by listing the datastore itself (wire.md §8.2).
    return {
        "status": row.state,
        "services": {
            "Tracking": {"jobServiceType": "Tracking", "endpoint": f"azureml://{host}/mlflow/v1.0{path}"},
            "Studio": {"jobServiceType": "Studio", "endpoint": f"{show.address}/studio/runs/{row.name}?wsid={path}"},
        },
    }


KINDS = (
    Kind(
        type="workspaces/jobs",
        properties=AnyJob,
        name=NAME,
        complete=_complete,
        extra=_extra,
    ),
)
