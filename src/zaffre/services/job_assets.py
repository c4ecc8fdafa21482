"""Outputs that become assets: a version of data or of a model, made in the transaction that ends the job."""

from __future__ import annotations

from typing import Any

import msgspec

from zaffre.errors import Conflict, InvalidInput
from zaffre.services import assets, lineage
from zaffre.services.kinds.base import Document, Kind
from zaffre.services.kinds.job_data import MODEL_TYPES, asset_kind
from zaffre.services.mlmodel import flavors
from zaffre.services.workspaces import Workspace
from zaffre.store import resources
from zaffre.store.jobs import JobRow
from zaffre.store.unit import Actor, Unit


class NotRegistered(InvalidInput):
    """An output that cannot become the asset it should; the message names both."""

    code = "OutputNotRegistered"


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What a job left of one output: whether there is anything, and its MLmodel file if it has one."""

    any: bool
    mlmodel: bytes | None = None


def bodies(kinds: dict[str, Kind], job: JobRow, left: dict[str, Left]) -> dict[str, Document]:
    """The body of each asset version the job's outputs become, by output. Raises NotRegistered."""
    return {
        name: kinds[asset_kind(output)].accept({"properties": _properties(job, name, output, left[name])})
        for name, output in job.body["properties"]["outputs"].items()
        if output.get("assetName")
    }


def register(
    unit: Unit, kinds: dict[str, Kind], workspace: Workspace, job: JobRow, made: dict[str, Document]
) -> dict[str, str]:
    """Make the versions; their ids by output. Raises NotRegistered, with nothing made, when a version exists with other content."""
    outputs = job.body["properties"]["outputs"]
    for name, body in made.items():
        kind, asset, version = (
            kinds[asset_kind(outputs[name])],
            outputs[name]["assetName"],
            outputs[name].get("assetVersion"),
        )
        found = resources.get(unit.conn, workspace.id, kind.type, version, asset) if version else None
        if found is not None and found.fingerprint != kind.fingerprint(body):
            raise _not_registered(
                name, outputs[name], f"version {version} exists with other content, and a version never changes"
            )
    actor = Actor(name=job.created_by, kind=job.created_by_type)
    ids = {}
    for name, body in made.items():
        kind = kinds[asset_kind(outputs[name])]
        container = kind.type.rpartition("/")[0]
        try:
            row, _ = assets.put_version(
                unit,
                actor,
                workspace.id,
                container,
                outputs[name]["assetName"],
                outputs[name].get("assetVersion"),
                body,
                {lineage.MADE_BY: job.id, lineage.MADE_OF: f"outputs.{name}"},
                kind.fingerprint(body),
                container_body=_container_body(outputs[name]),
            )
        except Conflict as error:
            raise _not_registered(name, outputs[name], error.message) from None
        ids[name] = f"{workspace.path}/{container.partition('/')[2]}/{outputs[name]['assetName']}/versions/{row.name}"
    return ids


def _properties(job: JobRow, name: str, output: Document, left: Left) -> Document:
    kind, uri = output["jobOutputType"], job.server["resolved"]["outputs"][name]["uri"]
    common: dict[str, Any] = {"description": output.get("description"), "isAnonymous": False}
    if not left.any:
        raise _not_registered(name, output, "the job wrote nothing into it")
    if kind not in MODEL_TYPES:
        setting = {"autoDeleteSetting": output["autoDeleteSetting"]} if output.get("autoDeleteSetting") else {}
        return {**common, "dataType": kind, "dataUri": uri, **setting}
    if kind == "mlflow_model" and left.mlmodel is None:
        raise _not_registered(name, output, "it holds no file 'MLmodel' at its top, so it is no MLflow model")
    try:
        found = flavors(left.mlmodel) if left.mlmodel is not None else {}
    except InvalidInput as error:
        raise _not_registered(name, output, error.message) from None
    return {**common, "modelType": kind, "modelUri": uri, "flavors": found, "jobName": job.id}


def _container_body(output: Document) -> Document:
    made = assets.empty_container()
    if output["jobOutputType"] not in MODEL_TYPES:
        made["properties"]["dataType"] = output["jobOutputType"]
    return made


def _not_registered(name: str, output: Document, reason: str) -> NotRegistered:
    return NotRegistered(f"Output '{name}' could not be registered as '{output['assetName']}': {reason.rstrip('.')}.")
