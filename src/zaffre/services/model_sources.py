"""Where a model comes from: every way MLflow's clients name a model's files, as one URI and, if ours, one place.

Artifacts lie in the container `azureml`: those of run R under `ExperimentRun/dcid.R/`, those of the logged model M under
`ExperimentRun/dcid.M/`, so that the run history, which takes either for a run, finds both by one rule.
"""

from __future__ import annotations

import re

import msgspec
import sqlalchemy as sa

from zaffre.errors import InvalidInput, NotFound
from zaffre.services.artifact_uris import ARTIFACT_SCHEME, artifact_place, model_folder, place_of
from zaffre.services.places import Place, Places
from zaffre.services.tracking import Tracking
from zaffre.services.workspaces import (
    ARTIFACT_CONTAINER,
    ARTIFACT_STORE,
    BLOB_STORE,
    STORAGE_SUFFIX,
    Workspace,
    run_folder,
)
from zaffre.store import resources as rows
from zaffre.store.database import Database

_LOGGED = re.compile(r"models:/(?P<id>m-[0-9a-f]{32})(?:/(?P<path>.*))?", re.DOTALL)
_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/]+))")
_OUTSIDE = re.compile(r"(?:s3|gs|wasbs?|abfss?|hdfs|viewfs|dbfs|https?):/.+", re.DOTALL)
_OURS = ("azureml:", "runs:/", "/")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """`uri` is what is kept; `place` is set when that is on this server. The ids are those of the logged model it names."""

    uri: str
    place: Place | None = None
    model_id: str | None = None
    run_id: str | None = None


class ModelSources:
    def __init__(self, database: Database, places: Places, tracking: Tracking) -> None:
        self._database = database
        self._places = places
        self._tracking = tracking

    async def resolve(self, workspace: Workspace, text: str, field: str = "source") -> Source:
        """Raises InvalidInput for what the server cannot reach, such as a folder of the client's machine."""
        if match := _LOGGED.fullmatch(text):
            return await self._logged(workspace, match["id"], match["path"] or "", field)
        if match := _REGISTERED.fullmatch(text):
            return await self.resolve(workspace, await self._registered(workspace, match, field), field)
        if text.startswith(ARTIFACT_SCHEME):
            place = artifact_place(workspace, text.removeprefix(ARTIFACT_SCHEME).strip("/"))
            return Source(uri=uri_of(workspace, place), place=place)
        if _OUTSIDE.fullmatch(text) and f"{workspace.account}." not in text:
            return Source(uri=text)
        if not text.startswith(_OURS) and "://" not in text:
            raise InvalidInput(
                f"Field '{field}': '{text[:200]}' is no place this server can reach. Log the model to a run first and "
                "register it from there.",
                target=field,
            )
        place = place_of(workspace, text) or await self._places.resolve(workspace, text, field)
        return Source(uri=uri_of(workspace, place), place=place)

    async def _logged(self, workspace: Workspace, model_id: str, path: str, field: str) -> Source:
        model = (await self._tracking.models.get(workspace.id, model_id)).model
        location = model.experiment_location
        folder = model_folder(location, model_id) if location else ARTIFACT_SCHEME + run_folder(model_id)
        found = await self.resolve(workspace, f"{folder}/{path}".rstrip("/"), field)
        return msgspec.structs.replace(found, model_id=model_id, run_id=model.source_run)

    async def _registered(self, workspace: Workspace, match: re.Match[str], field: str) -> str:
        """The URI of a version that is registered already, as a copy between models names it."""

        def work(conn: sa.Connection) -> str:
            version = match["version"]
            if match["alias"]:
                container = rows.get(conn, workspace.id, "workspaces/models", match["name"])
                version = (
                    container.server.get("mlflow", {}).get("aliases", {}).get(match["alias"]) if container else None
                )
            row = (
                rows.get(conn, workspace.id, "workspaces/models/versions", version, match["name"]) if version else None
            )
            if row is None:
                raise NotFound(f"Field '{field}': there is no model version '{match[0][:200]}'.", target=field)
            uri: str = row.body["properties"]["modelUri"]
            return uri

        return await self._database.read(work)


def uri_of(workspace: Workspace, place: Place) -> str:
    """The long `azureml://` form of a place, which every client of Azure ML understands."""
    stores = {ARTIFACT_CONTAINER: ARTIFACT_STORE, workspace.container: BLOB_STORE}
    if place.container not in stores:
        return f"/{place.account}{STORAGE_SUFFIX}/{place.container}/{place.path}"
    return f"azureml://{workspace.uri}/datastores/{stores[place.container]}/paths/{place.path}"
