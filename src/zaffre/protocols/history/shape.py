"""A run in the history's words (wire.md §8.2)."""

from __future__ import annotations

import re
from typing import Any

from zaffre.runtime import iso
from zaffre.services.kinds.job_data import DATA_TYPES
from zaffre.services.kinds.jobs import NOT_AVAILABLE, registered, unavailable
from zaffre.services.run_filters import run_type
from zaffre.store.jobs import JobRow
from zaffre.store.tracking.records import Run

Words = dict[str, str]
ARM_WORDS: Words = {kind: kind for kind in DATA_TYPES}
OLD_WORDS: Words = {"uri_file": "UriFile", "uri_folder": "UriFolder", "mltable": "MLTable"}
_SDK = re.compile(r"azure-ai-ml/(\d{1,4})\.(\d{1,4})")


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
        "runType": run_type(run),
        "parentRunId": head.parent,
        "rootRunId": head.root,
        "hidden": head.archived,
        "tags": run.tags,
        "properties": head.properties,
        "parameters": run.params,
        "services": {},
        "inputs": input_assets(job),
        "outputs": output_assets(job, ARM_WORDS),
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


def input_assets(job: JobRow | None) -> dict[str, Any]:
    """The assets a job reads, by input; data that is no asset has no id to tell."""
    if job is None:
        return {}
    kinds = {name: value["jobInputType"] for name, value in job.body["properties"]["inputs"].items()}
    return {
        name: {"assetId": source["asset"], "type": kinds[name]}
        for name, source in job.server["resolved"]["inputs"].items()
        if source.get("asset")
    }


def output_assets(job: JobRow | None, words: Words) -> dict[str, Any]:
    """The named outputs as `rundata` lists them, by what they became if they were registered."""
    if job is None:
        return {}
    kinds = {name: value["jobOutputType"] for name, value in job.body["properties"]["outputs"].items()}
    return {
        name: {
            "assetId": registered(job.server, name) or f"azureml://jobs/{job.id}/outputs/{name}",
            "type": words[data_type(kind)],
        }
        for name, kind in kinds.items()
    }


def data_type(kind: str) -> str:
    """A type as one of data's. A model is told as a folder: the SDK fails on the other words (wire.md §8.3)."""
    return kind if kind in DATA_TYPES else "uri_folder"


def words(user_agent: str) -> Words:
    """How the client spells the types of data: azure-ai-ml before 1.35 downloads only what is told in the older way."""
    match = _SDK.search(user_agent)
    old = match is not None and (int(match[1]), int(match[2])) < (1, 35)
    return OLD_WORDS if old else ARM_WORDS


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


def details(run: Run, job: JobRow | None, status: str, log_files: dict[str, str]) -> dict[str, Any]:
    head = run.head
    return {
        "runId": head.id,
        "target": _target(job),
        "status": status,
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
