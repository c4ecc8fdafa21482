"""What clients are answered: our records in MLflow's fields."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from zaffre.protocols.mlflow.addresses import Addresses
from zaffre.services.places import Place
from zaffre.services.registered_models import Model, aliases, stage_of
from zaffre.services.tracking import words
from zaffre.services.tracking.logged_models import Logged
from zaffre.services.tracking.runs import NOTE, PARENT, RUN_NAME
from zaffre.store.resources import Row
from zaffre.store.tracking.records import DatasetSummary, Experiment, Point, Run, RunHead

Document = dict[str, Any]


def experiment(one: Experiment, at: Addresses) -> Document:
    return {
        "experiment_id": one.id,
        "name": one.name,
        "artifact_location": at.experiment(one.artifact_location),
        "lifecycle_stage": one.lifecycle,
        "creation_time": one.created_at,
        "last_update_time": one.modified_at,
        "tags": pairs(one.tags),
    }


def run(one: Run, at: Addresses) -> Document:
    inputs: Document = {"dataset_inputs": [], "model_inputs": []}
    outputs: Document = {"model_outputs": []}
    for link in one.links:
        if link.kind == "dataset":
            inputs["dataset_inputs"].append(link.detail)
        elif link.direction == "input":
            inputs["model_inputs"].append({"model_id": link.target})
        else:
            outputs["model_outputs"].append({"model_id": link.target, "step": link.step})
    return {
        "info": run_info(one.head, at),
        "data": {
            "metrics": [metric(point, one.head.id) for point in one.metrics],
            "params": pairs(one.params),
            "tags": pairs(run_tags(one)),
        },
        "inputs": inputs,
        "outputs": outputs,
    }


def run_info(head: RunHead, at: Addresses) -> Document:
    info: Document = {
        "run_id": head.id,
        "run_uuid": head.id,
        "run_name": head.display_name,
        "experiment_id": head.experiment_id,
        "user_id": head.user,
        "status": words.to_mlflow(head.status),
        "start_time": head.ordered_at if head.started_at is None else head.started_at,
        "artifact_uri": at.run(head),
        "lifecycle_stage": head.lifecycle,
    }
    if head.ended_at is not None:
        info["end_time"] = head.ended_at
    return info


def run_tags(one: Run) -> dict[str, str]:
    """The run's tags with the three that are columns of ours put back."""
    columns = {RUN_NAME: one.head.display_name, NOTE: one.head.description, PARENT: one.head.parent}
    return {**one.tags, **{key: value for key, value in columns.items() if value}}


def metric(point: Point, run_id: str | None = None) -> Document:
    found: Document = {
        "key": point.key,
        "value": number(point.value),
        "timestamp": point.timestamp,
        "step": point.step,
    }
    if run_id:
        found["run_id"] = run_id
    if point.model_id:
        found["model_id"] = point.model_id
    if point.dataset:
        found["dataset_name"], found["dataset_digest"] = point.dataset
    return found


def dataset_summary(one: DatasetSummary) -> Document:
    found: Document = {"experiment_id": one.experiment_id, "name": one.name, "digest": one.digest}
    return found | ({"context": one.context} if one.context is not None else {})


def number(value: float) -> float | str:
    """A double as protobuf's JSON has it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def logged_model(one: Logged, at: Addresses) -> Document:
    model = one.model
    info: Document = {
        "model_id": model.id,
        "experiment_id": model.experiment_id,
        "name": model.name,
        "creation_timestamp_ms": model.created_at,
        "last_updated_timestamp_ms": model.modified_at,
        "artifact_uri": at.model(model),
        "status": model.status,
        "tags": pairs(model.tags),
    }
    optional = {
        "model_type": model.model_type,
        "source_run_id": model.source_run,
        "status_message": model.status_message,
    }
    info |= {key: value for key, value in optional.items() if value}
    metrics = [metric(found.point, found.run_id) for found in one.metrics]
    return {"info": info, "data": {"params": pairs(model.params), "metrics": metrics}}


def registered_model(model: Model, at: Addresses) -> Document:
    row = model.row
    properties = row.body["properties"]
    newest: dict[str, Row] = {}
    for version in model.versions:
        newest[stage_of(version)] = version
    return {
        "name": row.name,
        "creation_timestamp": row.created_at,
        "last_updated_timestamp": row.modified_at,
        "user_id": row.created_by,
        "description": properties.get("description") or "",
        "tags": pairs(properties.get("tags") or {}),
        "aliases": [{"alias": alias, "version": version} for alias, version in sorted(aliases(row).items())],
        "latest_versions": [model_version(row, version, at) for version in newest.values()],
    }


def model_version(container: Row, row: Row, at: Addresses) -> Document:
    properties, known = row.body["properties"], row.server.get("mlflow", {})
    found: Document = {
        "name": container.name,
        "version": row.name,
        "creation_timestamp": row.created_at,
        "last_updated_timestamp": row.modified_at,
        "user_id": row.created_by,
        "current_stage": stage_of(row),
        "description": properties.get("description") or "",
        "source": _source(known.get("source") or properties["modelUri"], at),
        "status": "READY",
        "tags": pairs(properties.get("tags") or {}),
        "aliases": sorted(alias for alias, version in aliases(container).items() if version == row.name),
    }
    optional = {
        "run_id": known.get("run_id") or properties.get("jobName"),
        "run_link": known.get("run_link"),
        "model_id": known.get("model_id"),
    }
    return found | {key: value for key, value in optional.items() if value}


def _source(text: str, at: Addresses) -> str:
    """As it was given where every client can follow it."""
    return text if text.startswith(("runs:/", "models:/")) else at.told(text)


def place(uri: str, where: Place | None, at: Addresses) -> str:
    """A model's place as the client can load it."""
    return uri if where is None else at.place(where)


def pairs(values: dict[str, str]) -> list[Document]:
    return [{"key": key, "value": value} for key, value in values.items()]


def files(entries: Iterable[tuple[str, int | None]]) -> list[Document]:
    """(path, size) as MLflow's FileInfo; a folder has no size."""
    return [
        {"path": path, "is_dir": True} if size is None else {"path": path, "is_dir": False, "file_size": size}
        for path, size in entries
    ]
