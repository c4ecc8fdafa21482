"""Models: what `azure-ai-ml` and MLflow's registry both see."""

from __future__ import annotations

from typing import Any

from zaffre.services.kinds.base import VERSION, Document, Kind, spelled
from zaffre.services.kinds.containers import Version, container, version_defaults, version_state
from zaffre.services.urls import inward

TYPES = ("custom_model", "mlflow_model", "triton_model")


class ModelVersion(Version, rename="camel", kw_only=True):
    model_uri: str
    model_type: str | None = None
    flavors: dict[str, Any] | None = None
    stage: str | None = None
    job_name: str | None = None


def _complete(properties: Document) -> Document:
    given = properties.get("modelType") or "custom_model"
    by_name = {word.replace("_", ""): word for word in TYPES}
    kind = by_name[spelled(given, tuple(by_name), "properties.modelType")]
    return {
        **version_defaults(properties),
        "modelUri": inward(properties["modelUri"].strip()),
        "modelType": kind,
        "flavors": properties.get("flavors") or {},
    }


KINDS = (
    container("workspaces/models"),
    Kind(
        type="workspaces/models/versions",
        properties=ModelVersion,
        name=VERSION,
        complete=_complete,
        identity=lambda properties: [properties["modelType"], properties["modelUri"]],
        extra=version_state,
    ),
)
