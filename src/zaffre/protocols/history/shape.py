"""A run in the history's words (wire.md §8.2)."""

from __future__ import annotations

from typing import Any

from zaffre.runtime import iso
from zaffre.services.kinds.job_data import DATA_TYPES
from zaffre.services.kinds.jobs import NOT_AVAILABLE, registered, unavailable
from zaffre.store.jobs import JobRow
from zaffre.store.tracking.records import Run


def run_answer(run: Run, job: JobRow | None) -> dict[str, Any]:
    head = run.head
    return {
        "runId": head.id,
        "runUuid": head.id,
        "dataContainerId": f"dcid.{head.id}",
        "displayName": head.display_name,
        "name": head.display_name,
        "description": head.description,
        "status": head.status,
        "experimentId": head.experiment_id,
        "experimentName": head.experiment_name,
        "runType": "azureml.scriptrun" if job is not None else "mlflow.run",
        "parentRunId": head.parent,
        "rootRunId": head.root,
        "hidden": head.hidden,
        "tags": run.tags,
        "properties": head.properties,
        "parameters": run.params,
        "services": {},
        "inputs": {},
        "outputs": {},
        "createdUtc": iso(head.created_at),
        "createdBy": {"userName": head.user},
        "startTimeUtc": _time(head.started_at),
        "endTimeUtc": _time(head.ended_at),
        "lastModifiedUtc": iso(head.modified_at),
        "error": error_answer(head.error),
        "warnings": [],
        "target": _target(job),
        "compute": {"target": _target(job), "targetType": "local"},
    }


def output_assets(job: JobRow | None) -> dict[str, Any]:
    """The named outputs as `rundata` lists them. A model is told as a folder: the SDK fails on the other words (wire.md §8.3)."""
    if job is None:
        return {}
    kinds = {name: value["jobOutputType"] for name, value in job.body["properties"]["outputs"].items()}
    return {
        name: {
            "assetId": registered(job.server, name) or f"azureml://jobs/{job.id}/outputs/{name}",
            "type": kind if kind in DATA_TYPES else "uri_folder",
        }
        for name, kind in kinds.items()
    }


def service_instances(job: JobRow | None, node: int) -> dict[str, Any]:
    """The services a job asked for on one node, as `show_services` of the SDK reads them: none is started."""
    wished = (job.body["properties"].get("services") or {}) if job is not None else {}
    return {
        name: {
            "type": service.get("jobServiceType") or "Custom",
            "port": service.get("port"),
            "status": NOT_AVAILABLE,
            "endpoint": None,
            "error": {"error": {"code": NOT_AVAILABLE, "message": unavailable(service)["errorMessage"]}},
            "properties": service.get("properties") or {},
        }
        for name, service in wished.items()
        if node == 0
    }


def details(run: Run, job: JobRow | None, log_files: dict[str, str]) -> dict[str, Any]:
    head = run.head
    return {
        "runId": head.id,
        "target": _target(job),
        "status": head.status,
        "startTimeUtc": _time(head.started_at),
        "endTimeUtc": _time(head.ended_at),
        "error": error_answer(head.error),
        "warnings": [],
        "properties": head.properties,
        "inputDatasets": [],
        "outputDatasets": [],
        "logFiles": log_files,
        "submittedBy": head.user,
    }


def error_answer(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """The error of a failed run as the SDK prints it in its JobException."""
    return None if error is None else {"error": {"details": [], **error}}


def _time(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)


def _target(job: JobRow | None) -> str | None:
    if job is None:
        return None
    return (job.body["properties"].get("computeId") or "local").rpartition("/")[2]
