"""Environments: an image, a conda file on it, or a build context."""

from __future__ import annotations

from typing import Any

from zaffre.errors import InvalidInput
from zaffre.services.kinds.base import VERSION, Document, Kind
from zaffre.services.kinds.containers import Version, container, version_defaults, version_state
from zaffre.services.urls import inward


class EnvironmentVersion(Version, rename="camel", kw_only=True):
    image: str | None = None
    build: dict[str, Any] | None = None
    conda_file: str | None = None
    inference_config: dict[str, Any] | None = None
    os_type: str | None = None


def _complete(properties: Document) -> Document:
    if not properties.get("image") and not properties.get("build"):
        raise InvalidInput(
            "Field 'properties.image': an environment needs an image or a build context.",
            code="InvalidField",
            target="properties.image",
        )
    completed = {
        **version_defaults(properties),
        "osType": properties.get("osType") or "Linux",
        "environmentType": "UserCreated",
    }
    build = completed.get("build")
    if build and build.get("contextUri"):
        completed["build"] = {**build, "contextUri": inward(str(build["contextUri"]))}
    return completed


def _identity(properties: Document) -> Any:
    return [properties.get(name) for name in ("image", "condaFile", "build", "inferenceConfig", "osType")]


KINDS = (
    container("workspaces/environments"),
    Kind(
        type="workspaces/environments/versions",
        properties=EnvironmentVersion,
        name=VERSION,
        complete=_complete,
        identity=_identity,
        extra=version_state,
    ),
)
