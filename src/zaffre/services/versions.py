"""Versions of assets as they arrive: what only a look at their files, or at what they name, can tell.

A kind's own checks come first, so every body here has its shape. A version that exists already with the same content is
not looked at again: it may be archived or described after its files are gone.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotFound, NotServed
from zaffre.services import mlmodel
from zaffre.services.blobs import Blobs
from zaffre.services.kinds.base import Document, Kind, check, refused
from zaffre.services.model_sources import ModelSources, uri_of
from zaffre.services.places import Place, Places
from zaffre.services.references import ARM, UPLOADS
from zaffre.services.resources import Resources
from zaffre.services.workspaces import Workspace
from zaffre.store.tracking import runs

# Forms that name a run or another asset; the SDK cannot read them back where it downloads or deploys what it was answered.
_BY_NAME = ("azureml://jobs/", "runs:/", "models:/")
_RUN = re.compile(r"(?:azureml://jobs/|runs:/)(?P<run>[^/]+)")
_FILE_LIMIT = 1024 * 1024


class TablePath(msgspec.Struct, kw_only=True):
    file: str | None = None
    folder: str | None = None
    pattern: str | None = None


class Table(msgspec.Struct, kw_only=True):
    """What every MLTable file has, whatever it does with the data."""

    paths: list[TablePath]
    transformations: list[Any] | None = None


class Versions(Resources):
    """The generic service, with one look at what each kind of version brings along."""

    def __init__(self, generic: Resources, places: Places, sources: ModelSources, blobs: Blobs) -> None:
        super().__init__(generic.database, generic.vault, generic.kinds)
        self._places = places
        self._sources = sources
        self._blobs = blobs
        self._looks = {
            "workspaces/data/versions": self._data,
            "workspaces/models/versions": self._model,
            "workspaces/environments/versions": self._environment,
            "workspaces/components/versions": self._component,
            "workspaces/codes/versions": self._code,
        }

    async def arrive(self, workspace: Workspace, kind: Kind, body: Document) -> Document:
        look = self._looks.get(kind.type)
        return body if look is None else {**body, "properties": await look(workspace, body["properties"])}

    async def _data(self, workspace: Workspace, properties: Document) -> Document:
        field, uri = "properties.dataUri", properties["dataUri"]
        await self._refuse_unknown_run(workspace, uri, field)
        place = await self._place(workspace, uri, field)
        folder = properties["dataType"] != "uri_file"
        if place is not None and uri.startswith(_BY_NAME):
            uri = uri_of(workspace, place).rstrip("/") + ("/" if folder else "")
        if place is not None:
            await self._refuse_lost_upload(place, folder, field)
        more: Document = {}
        if place is not None and properties["dataType"] == "mltable":
            paths = await self._table(place, field)
            if not properties.get("referencedUris"):
                more = {"referencedUris": paths}
        return {**properties, **more, "dataUri": uri}

    async def _model(self, workspace: Workspace, properties: Document) -> Document:
        field, uri = "properties.modelUri", properties["modelUri"]
        await self._refuse_unknown_run(workspace, uri, field)
        try:
            source = await self._sources.resolve(workspace, uri, field)
        except NotServed:
            return properties  # it lies outside, and whoever deploys it says whether that can be read
        if uri.startswith(_BY_NAME):
            uri = source.uri
        more: Document = {}
        if source.place is not None:
            await self._refuse_lost_upload(source.place, None, field)
        if source.place is not None and properties["modelType"] == "mlflow_model":
            text = await mlmodel.read(self._blobs, source.place)
            if text is None:
                raise refused(
                    field, f"a model of type mlflow_model has a file MLmodel; there is none in '{uri[:200]}'."
                )
            more = {"flavors": properties["flavors"] or mlmodel.flavors(text)}
        return {**properties, **more, "modelUri": uri}

    async def _environment(self, workspace: Workspace, properties: Document) -> Document:
        build = properties.get("build")
        if build:
            place = await self._place(workspace, build["contextUri"], "properties.build.contextUri", elsewhere=True)
            if place is not None and not await self._is_there(place, build["dockerfilePath"]):
                where = f"{place.path.rstrip('/')}/{build['dockerfilePath']}"
                raise refused("properties.build.dockerfilePath", f"the build context has no file '{where[:300]}'.")
        return properties

    async def _component(self, workspace: Workspace, properties: Document) -> Document:
        spec = properties["componentSpec"]
        for name, kinds in (("code", ("codes",)), ("environment", ("environments",))):
            if isinstance(spec.get(name), str) and ARM.fullmatch(spec[name]):
                await self._places.asset(workspace, spec[name], f"properties.componentSpec.{name}", kinds)
        return properties

    async def _code(self, workspace: Workspace, properties: Document) -> Document:
        place = await self._place(workspace, properties["codeUri"], "properties.codeUri", elsewhere=True)
        if place is None and not properties["codeUri"].startswith(("https://", "http://", "git@")):
            raise refused("properties.codeUri", f"'{properties['codeUri'][:200]}' is no place this server can read.")
        return properties

    async def _place(self, workspace: Workspace, uri: str, field: str, *, elsewhere: bool = False) -> Place | None:
        """The place in our own storage, or None for one outside. With `elsewhere` any address may be outside."""
        try:
            found = await self._places.resolve(workspace, uri, field)
        except NotServed:
            return None
        except InvalidInput:
            if elsewhere and "://" in uri and not uri.startswith("azureml:"):
                return None
            raise
        return found if found.account == workspace.account else None

    async def _refuse_unknown_run(self, workspace: Workspace, uri: str, field: str) -> None:
        """A job or run that is not there has left nothing, wherever its outputs would lie."""
        match = _RUN.match(uri)
        if match is None:
            return
        run = match["run"]
        if await self.database.read(lambda conn: runs.find(conn, workspace.id, run)) is None:
            message = f"Field '{field}': there is no job or run '{run[:200]}' in workspace '{workspace.name}'."
            raise NotFound(message, target=field)

    async def _refuse_lost_upload(self, place: Place, folder: bool | None, field: str) -> None:
        """An upload that its last asset took with it is gone, though the client has seen it a moment ago."""
        if not place.path.startswith(f"{UPLOADS}/"):
            return
        found = folder is not True and await self._is_there(place, "")
        if not found and folder is not False:
            found = bool(await self._under(place, ""))
        if not found:
            raise refused(field, f"there is nothing in '{place.path[:300]}'; upload it and repeat the request.")

    async def _table(self, place: Place, field: str) -> list[str]:
        """What an MLTable file in that folder refers to. Raises InvalidInput for one that is missing or no MLTable."""
        name = f"{place.path.rstrip('/')}/MLTable"
        try:
            text = await self._blobs.get_bytes(place.account, place.container, name.lstrip("/"), _FILE_LIMIT)
        except NotFound:
            raise refused(
                field, f"data of type mltable is a folder with a file MLTable; there is no '{name[:300]}'."
            ) from None
        import yaml  # for tables only: it would cost every start of the application 30 ms

        try:
            document = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise refused(field, f"the file '{name[:300]}' is not valid YAML: {str(error)[:500]}.") from None
        if not isinstance(document, dict):
            raise refused(field, f"the file '{name[:300]}' is no MLTable; expected a mapping with 'paths'.")
        check(document, Table, f"{field}: MLTable")
        found = [
            next((path[key] for key in ("file", "folder", "pattern") if path.get(key)), None)
            for path in document["paths"]
        ]
        if not found or None in found:
            raise refused(field, f"in '{name[:300]}' each of 'paths' names a file, a folder or a pattern.")
        return [str(path) for path in found]

    async def _is_there(self, place: Place, below: str) -> bool:
        name = f"{place.path.rstrip('/')}/{below}" if below else place.path.rstrip("/")
        try:
            await self._blobs.properties(place.account, place.container, name.lstrip("/"))
        except NotFound:
            return False
        return True

    async def _under(self, place: Place, below: str) -> list[Any]:
        prefix = f"{place.path.rstrip('/')}/{below}".lstrip("/")
        return list((await self._blobs.listing(place.account, place.container, prefix=prefix, limit=1)).entries)
