"""Environments: an image, a conda file on it, or a build context."""

from __future__ import annotations

from typing import Any

import msgspec

from zaffre.errors import NotServed
from zaffre.services.kinds.base import VERSION, Document, Kind, Show, refused, spelled
from zaffre.services.kinds.containers import Version, container, version_defaults, version_state
from zaffre.services.urls import STORAGE_SUFFIX, inward, outward
from zaffre.store.resources import Row

_CONTEXTS = ("http://", "https://", "git@", "git://", "ssh://", "azureml://")


class Build(msgspec.Struct, rename="camel", kw_only=True):
    context_uri: str
    dockerfile_path: str | None = None


class Route(msgspec.Struct, kw_only=True):
    path: str
    port: int


class Inference(msgspec.Struct, rename="camel", kw_only=True):
    liveness_route: Route | None = None
    readiness_route: Route | None = None
    scoring_route: Route | None = None
    startup_route: Route | None = None


class EnvironmentVersion(Version, rename="camel", kw_only=True):
    image: str | None = None
    build: Build | None = None
    conda_file: str | None = None
    inference_config: Inference | None = None
    os_type: str | None = None
    auto_rebuild: str | None = None
    stage: str | None = None


def _complete(properties: Document) -> Document:
    image, build = (properties.get("image") or "").strip(), properties.get("build")
    if not image and not build:
        raise refused("properties.image", "an environment needs an image or a build context.")
    if image and build:
        raise refused("properties.build", "an environment has an image or a build context, not both.")
    if build and properties.get("condaFile"):
        raise refused(
            "properties.condaFile", "a conda file goes on an image; a build context installs what it needs itself."
        )
    system = spelled(properties.get("osType") or "Linux", ("Linux", "Windows"), "properties.osType")
    if system != "Linux":
        raise NotServed("Field 'properties.osType': only Linux environments are served.", target="properties.osType")
    completed = {**version_defaults(properties), "osType": system, "environmentType": "UserCreated"}
    if image:
        completed["image"] = image
    if properties.get("autoRebuild") is not None:
        words = ("Disabled", "OnBaseImageUpdate")
        completed["autoRebuild"] = spelled(properties["autoRebuild"], words, "properties.autoRebuild")
    if properties.get("condaFile"):
        _check_conda(properties["condaFile"])
    if build:
        completed["build"] = _build(build)
    return completed


def _build(given: Document) -> Document:
    uri = inward(given["contextUri"].strip())
    if not uri.startswith(_CONTEXTS) and f"{STORAGE_SUFFIX}/" not in uri:
        raise refused(
            "properties.build.contextUri",
            f"'{uri[:200]}' is no address; expected a folder in a datastore or a Git URL.",
        )
    path = (given.get("dockerfilePath") or "Dockerfile").strip()
    if path.startswith("/") or ".." in path.split("/"):
        raise refused("properties.build.dockerfilePath", f"'{path[:200]}' lies outside the build context.")
    return {**given, "contextUri": uri, "dockerfilePath": path}


def _check_conda(text: str) -> None:
    import yaml  # for conda files only: it would cost every start of the application 30 ms

    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise refused("properties.condaFile", f"it is not valid YAML: {str(error)[:500]}.") from None
    if not isinstance(found, dict) or not isinstance(found.get("dependencies", []), list):
        raise refused("properties.condaFile", "expected a mapping with a list of dependencies, as conda writes it.")


def _identity(properties: Document) -> Any:
    return [properties.get(name) for name in ("image", "condaFile", "build", "inferenceConfig", "osType")]


def _extra(row: Row, show: Show) -> Document:
    build = row.body["properties"].get("build")
    if not build:
        return version_state(row, show)
    # Only a full address is one that clients can read: they look for its scheme and host.
    return {**version_state(row, show), "build": {**build, "contextUri": outward(build["contextUri"], show.address)}}


KINDS = (
    container("workspaces/environments"),
    Kind(
        type="workspaces/environments/versions",
        properties=EnvironmentVersion,
        name=VERSION,
        complete=_complete,
        identity=_identity,
        extra=_extra,
    ),
)
