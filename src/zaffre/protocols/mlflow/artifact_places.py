"""Which file or folder a request means: by the path of the artifact proxy, or below a run or a logged model."""

from __future__ import annotations

import msgspec

from zaffre.errors import InvalidInput, NotServed
from zaffre.gateway.call import Call
from zaffre.gateway.routes import decode_part
from zaffre.protocols.mlflow.addresses import given_location, given_model_location
from zaffre.services.artifact_uris import ARTIFACT_SCHEME, artifact_place, place_of
from zaffre.services.places import Place
from zaffre.services.tracking import Tracking
from zaffre.services.workspaces import ARTIFACT_CONTAINER, Workspace, run_folder
from zaffre.store.tracking.records import LoggedModel, RunHead


async def of_run(tracking: Tracking, workspace: Workspace, run_id: str) -> tuple[RunHead, Place]:
    """The run and the folder of its artifacts. Raises NotFound, and NotServed when they are kept elsewhere."""
    run = await tracking.runs.head(workspace.id, run_id)
    return run, folder_of(workspace, given_location(run), run.id)


async def of_model(tracking: Tracking, workspace: Workspace, model_id: str) -> tuple[LoggedModel, Place]:
    """The same of a logged model."""
    model = (await tracking.models.get(workspace.id, model_id)).model
    return model, folder_of(workspace, given_model_location(model), model.id)


def folder_of(workspace: Workspace, location: str | None, id_: str) -> Place:
    """Where the artifacts of what has that id lie, at the location it was given or in the workspace's own place."""
    if location is None:
        return artifact_place(workspace, run_folder(id_))
    if location.startswith(ARTIFACT_SCHEME):
        return artifact_place(workspace, location.removeprefix(ARTIFACT_SCHEME).strip("/"))
    place = place_of(workspace, location)
    if place is None:
        raise NotServed(f"The artifacts are at '{location}', outside this server; list them there.")
    return place


def relative(path: str) -> str:
    """A path below a run's or model's artifacts, `.` taken out. Raises InvalidInput for one that leads elsewhere."""
    if path.startswith("/") or ".." in path.split("/"):
        raise InvalidInput("Invalid path", target="path")
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def file_below(folder: Place, path: str) -> Place:
    """The file at a relative path of a folder. Raises InvalidInput for none."""
    if not path:
        raise InvalidInput("Invalid path", target="path")
    return msgspec.structs.replace(folder, path=f"{folder.path}/{path}".lstrip("/"))


def named_in(call: Call) -> Place:
    """What the address of an operation of the artifact proxy names. Raises InvalidInput when that is nothing."""
    path = "/".join(decode_part(part) for part in call.params["artifact_path"].split("/"))
    place = artifact_place(call.workspace, path)
    if not place.path:
        raise InvalidInput("The address names no artifact.", target="artifact_path")
    return place


def writable(place: Place) -> Place:
    """The place, if this protocol may write to it. Raises NotServed."""
    if place.container != ARTIFACT_CONTAINER:
        raise NotServed(f"Files of container '{place.container}' can be read here; write them by the Blob protocol.")
    return place
