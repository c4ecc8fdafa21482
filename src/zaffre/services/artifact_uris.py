"""How MLflow's clients address artifacts: plain mlflow by `mlflow-artifacts:/`, azureml-mlflow by `azureml://`.

The plugin's addresses are below a run or a logged model, or `azureml://artifacts/<origin>/<container>/<path>`.

An artifact is named by origin, container and path; `ExperimentRun/dcid.<run>/<path>` is a run's, `LocalUpload/<id>/<path>` a
folder a client uploaded. That is also where it lies in the artifact container. For what lies in any other container the
origin is `_containers`, and the "container" is that one and the folder in it, encoded into one part.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from zaffre.errors import InvalidInput
from zaffre.services.places import Place
from zaffre.services.workspaces import ARTIFACT_CONTAINER, Workspace, run_folder

ARTIFACT_SCHEME = "mlflow-artifacts:/"
OTHER_CONTAINERS = "_containers"
RUN_ORIGIN = "ExperimentRun"
_OF_RUN = re.compile(
    r"azureml://[^/]+/[^?]*?/?subscriptions/(?P<s>[^/]+)/resource[gG]roups/(?P<g>[^/]+)"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<w>[^/]+)"
    r"/experiments/[^/]+/runs/(?P<run>[^/]+)/artifacts(?:/(?P<path>.*))?",
    re.DOTALL,
)
_OF_ORIGIN = re.compile(r"azureml://artifacts/(?P<origin>[^/]+)/(?P<container>[^/]+)(?:/(?P<path>.*))?", re.DOTALL)
_TAIL = re.compile(r"([^?#]*)(.*)", re.DOTALL)
_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def of_run(host: str, workspace: Workspace, experiment: tuple[str, str], id_: str) -> str:
    """The folder of a run or a logged model. `experiment` is name and id: a name the client would have to encode is left out."""
    name, number = experiment
    part = name if _SAFE.fullmatch(name) else number
    return f"azureml://{host}/artifact/v2.0{workspace.path}/experiments/{part}/runs/{id_}/artifacts"


def of_place(place: Place) -> str:
    """Any file or folder that is not a container's root, without the run it may belong to."""
    path = place.path.strip("/")
    if place.container == ARTIFACT_CONTAINER and path.count("/") >= 2:
        return f"azureml://artifacts/{path}"
    folder, _, name = f"{place.container}/{path}".rpartition("/")
    return f"azureml://artifacts/{OTHER_CONTAINERS}/{quote(folder, safe='')}/{name}"


def place_of(workspace: Workspace, uri: str) -> Place | None:
    """The place behind either form; None for another form, and for the run of another workspace."""
    if match := _OF_RUN.fullmatch(uri):
        asked = (match["s"].lower(), match["g"].lower(), match["w"].lower())
        own = (workspace.subscription.lower(), workspace.resource_group.lower(), workspace.name.lower())
        if asked != own:
            return None
        return artifact_place(workspace, _joined(run_folder(match["run"]), match["path"]))
    if match := _OF_ORIGIN.fullmatch(uri):
        return in_container(workspace, match["origin"], match["container"], match["path"] or "")
    return None


def in_container(workspace: Workspace, origin: str, container: str, path: str) -> Place:
    """What the artifact service's three names mean. Raises InvalidInput for a path that climbs."""
    if origin == OTHER_CONTAINERS:
        container = unquote(container)
    return artifact_place(workspace, _joined(f"{origin}/{container}", path))


def model_folder(location: str, model_id: str) -> str:
    """Where a logged model lies below a location that the user gave its experiment."""
    return below(location, f"models/{model_id}/artifacts")


def below(location: str, path: str) -> str:
    """A path below a location; what follows the path of a URI (`?…`, `#…`) stays behind it."""
    match = _TAIL.fullmatch(location) if "://" in location else None
    root, tail = (match[1], match[2]) if match else (location, "")
    return f"{root.rstrip('/')}/{path}{tail}"


def artifact_place(workspace: Workspace, path: str) -> Place:
    """The place behind the path of an `mlflow-artifacts:/` address. Raises InvalidInput for a path that climbs."""
    parts = path.split("/") if path else []
    if any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(f"The path '{path[:200]}' must not have empty, '.' or '..' parts.", target="path")
    container = ARTIFACT_CONTAINER
    if len(parts) > 1 and parts[0] == OTHER_CONTAINERS:
        container, parts = parts[1], parts[2:]
    return Place(account=workspace.account, container=container, path="/".join(parts))


def artifact_path(place: Place) -> str:
    """The reverse of `artifact_place`."""
    if place.container == ARTIFACT_CONTAINER:
        return place.path
    return f"{OTHER_CONTAINERS}/{place.container}/{place.path}"


def _joined(folder: str, path: str | None) -> str:
    return f"{folder}/{path}".rstrip("/") if path else folder
