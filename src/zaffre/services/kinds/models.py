"""Models: what `azure-ai-ml` and MLflow's registry both see."""

from __future__ import annotations

from typing import Any

import msgspec

from zaffre.services.kinds.base import VERSION, Document, Kind, Show, refused, spelled
from zaffre.services.kinds.containers import Version, container, version_defaults, version_state
from zaffre.services.urls import inward
from zaffre.store.resources import Row

TYPES = ("custom_model", "mlflow_model", "triton_model")
# The words of ARM and of MLflow; any other text is kept as it is.
STAGES = ("Development", "Staging", "Production", "Archived")


class Flavor(msgspec.Struct, kw_only=True):
    data: dict[str, Any] | None = None


class ModelVersion(Version, rename="camel", kw_only=True):
    model_uri: str
    model_type: str | None = None
    flavors: dict[str, Flavor | None] | None = None
    stage: str | None = None
    job_name: str | None = None
    datasets: list[dict[str, Any]] | None = None


def _complete(properties: Document) -> Document:
    uri = inward(properties["modelUri"].strip())
    if not uri:
        raise refused("properties.modelUri", "expected the place of the model's files, got an empty text.")
    completed = {
        **version_defaults(properties),
        "modelUri": uri,
        "modelType": spelled(properties.get("modelType") or "custom_model", TYPES, "properties.modelType"),
        # The SDK walks the flavors without looking whether there are any.
        "flavors": {name: flavor or {"data": {}} for name, flavor in (properties.get("flavors") or {}).items()},
    }
    stage = properties.get("stage")
    if stage is not None:
        known = {word.lower(): word for word in STAGES}
        completed["stage"] = known.get(stage.lower(), stage)
    return completed


def _extra(row: Row, show: Show) -> Document:
    job = row.body["properties"].get("jobName") or row.server.get("madeBy")
    return {**version_state(row, show), **({"jobName": job} if job else {})}


KINDS = (
    container("workspaces/models"),
    Kind(
        type="workspaces/models/versions",
        properties=ModelVersion,
        name=VERSION,
        complete=_complete,
        identity=lambda properties: [properties["modelType"], properties["modelUri"]],
        extra=_extra,
    ),
)
