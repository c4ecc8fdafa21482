"""Where artifacts are, in the words of the client that asks: plain mlflow below `/tracking`, azureml-mlflow below `/mlflow`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from zaffre.errors import InvalidInput
from zaffre.gateway.address import public_address
from zaffre.gateway.call import Call
from zaffre.services import artifact_uris
from zaffre.services.artifact_uris import ARTIFACT_SCHEME, artifact_path, artifact_place, model_folder
from zaffre.services.places import Place
from zaffre.services.tracking.runs import JOB
from zaffre.services.workspaces import Workspace, run_folder
from zaffre.settings import Settings
from zaffre.store.tracking.records import LoggedModel, RunHead

PLAIN = "/tracking"
PLUGIN = ("/mlflow/v1.0", "/mlflow/v2.0")


class Addresses(Protocol):
    """A location outside that a user gave stays as it is; only what lies with us is written in either way."""

    def experiment(self, location: str | None) -> str: ...
    def run(self, head: RunHead) -> str: ...
    def model(self, model: LoggedModel) -> str: ...
    def place(self, place: Place) -> str: ...
    def told(self, text: str) -> str:
        """An address as a client once told it, perhaps in the other's words."""
        ...


AddressBook = Callable[[Call], Addresses]


def address_book(settings: Settings) -> AddressBook:
    """How to write addresses in the answer to a call."""

    def addresses(call: Call) -> Addresses:
        if call.route.template.startswith(PLAIN):
            return _Plain(call.workspace)
        return _Plugin(call.workspace, public_address(call, settings).removeprefix("https://"))

    return addresses


def given_location(head: RunHead) -> str | None:
    """Where a user wanted the run's artifacts, if anywhere. What a job makes always lies in the workspace."""
    if head.artifact_uri:
        return head.artifact_uri
    if head.experiment_location and head.origin != JOB:
        return artifact_uris.below(head.experiment_location, f"{head.id}/artifacts")
    return None


def given_model_location(model: LoggedModel) -> str | None:
    return model_folder(model.experiment_location, model.id) if model.experiment_location else None


class _Plain:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def experiment(self, location: str | None) -> str:
        return location or f"{ARTIFACT_SCHEME}ExperimentRun"

    def run(self, head: RunHead) -> str:
        return self.told(given_location(head) or ARTIFACT_SCHEME + run_folder(head.id))

    def model(self, model: LoggedModel) -> str:
        return self.told(given_model_location(model) or ARTIFACT_SCHEME + run_folder(model.id))

    def place(self, place: Place) -> str:
        return ARTIFACT_SCHEME + artifact_path(place)

    def told(self, text: str) -> str:
        place = artifact_uris.place_of(self._workspace, text)
        return text if place is None else self.place(place)


class _Plugin:
    def __init__(self, workspace: Workspace, host: str) -> None:
        self._workspace = workspace
        self._host = host

    def experiment(self, location: str | None) -> str:
        return location or ""  # as Azure ML has it: each run says where its own are

    def run(self, head: RunHead) -> str:
        experiment, given = (head.experiment_name, head.experiment_id), given_location(head)
        return self.told(given) if given else artifact_uris.of_run(self._host, self._workspace, experiment, head.id)

    def model(self, model: LoggedModel) -> str:
        experiment, given = (model.experiment_id, model.experiment_id), given_model_location(model)
        return self.told(given) if given else artifact_uris.of_run(self._host, self._workspace, experiment, model.id)

    def place(self, place: Place) -> str:
        return artifact_uris.of_place(place)

    def told(self, text: str) -> str:
        if not text.startswith(ARTIFACT_SCHEME):
            return text
        try:
            place = artifact_place(self._workspace, text.removeprefix(ARTIFACT_SCHEME).strip("/"))
        except InvalidInput:
            return text
        return self.place(place) if place.path else text
