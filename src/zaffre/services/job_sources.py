"""What a job refers to, found and pinned at the door: labels may move while it waits.

A pinned input is a document: `{"kind": "blob", account, container, path}` or `{"kind": "web", url}`, with the id of the
asset it was named by, if it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

import msgspec

from zaffre.errors import Conflict, InvalidInput, NotFound, NotServed
from zaffre.services.kinds.base import Document
from zaffre.services.kinds.computes import ANYWHERE, admit
from zaffre.services.kinds.job_data import MODEL_TYPES, WRITABLE, asset_kind
from zaffre.services.model_sources import uri_of
from zaffre.services.places import Place, Places, datastore_uri, names_asset
from zaffre.services.references import UPLOADS
from zaffre.services.resources import ListQuery, Resources
from zaffre.services.urls import inward
from zaffre.services.workspaces import BLOB_STORE, Workspace, output_folder
from zaffre.store.jobs import JobRow

BLOB, WEB = "blob", "web"
# Azure's own words in the path of an output: the names of the job, of the output and of the default datastore.
_IN_PATH = re.compile(r"\$\{\{\s*(name|output_name|default_datastore)\s*\}\}")


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """What execution can tell at the door. Handed in by the composition root, since services know no executor."""

    command: Callable[[str, Collection[str], Collection[str]], None]
    environment: Callable[[str | None, str | None, str | None], None]


class JobSources:
    def __init__(self, resources: Resources, places: Places, checks: Checks) -> None:
        self._resources = resources
        self._places = places
        self._checks = checks

    async def resolve(self, workspace: Workspace, name: str, properties: Document) -> Document:
        """Everything the job `name` refers to, but for its environment. Raises an error that names the field at fault."""
        self._check_expressions(properties)
        resolved: Document = {"inputs": {}, "outputs": {}}
        if properties.get("codeId"):
            found = await self._places.asset(workspace, properties["codeId"], "properties.codeId", ("codes",))
            place = await self._places.resolve(workspace, found.row.body["properties"]["codeUri"], "properties.codeId")
            resolved["code"] = msgspec.to_builtins(place)
        for input_, value in properties["inputs"].items():
            if value["jobInputType"] != "literal":
                resolved["inputs"][input_] = await self._input(workspace, f"properties.inputs.{input_}", value)
        for output, value in properties["outputs"].items():
            resolved["outputs"][output] = await self._output(workspace, name, output, value)
        await self._compute(workspace, properties)
        return resolved

    def _check_expressions(self, properties: Document) -> None:
        inputs = properties["inputs"]
        self._checks.command(properties["command"], inputs, properties["outputs"])
        for name, text in properties["environmentVariables"].items():
            try:
                self._checks.command(text, inputs, properties["outputs"])
            except InvalidInput as error:
                field = f"properties.environmentVariables.{name}"
                raise InvalidInput(f"Field '{field}': {error.message}", code="InvalidField", target=field) from None

    async def _input(self, workspace: Workspace, field: str, value: Document) -> Document:
        source = await self._source(workspace, value["uri"], f"{field}.uri")
        if source["kind"] == WEB:
            _check_web(source["url"], value, field)
        # An upload lies under the hash of its content: whoever has the same, asset or client, stands on it.
        uploaded = source.get("path", "").startswith(f"{UPLOADS}/")
        if value["mode"] == WRITABLE and (source.get("asset") or source["kind"] == WEB or uploaded):
            raise InvalidInput(
                f"Field '{field}.mode': {WRITABLE} would change '{value['uri'][:200]}', which never changes. Use ReadOnlyMount, or name a "
                "path of a datastore.",
                code="InvalidField",
                target=f"{field}.mode",
            )
        if value["mode"] == WRITABLE and source.get("datastore"):
            raise NotServed(
                f"Field '{field}.mode': datastore '{source['datastore']}' lies outside this server, and what lies there is not mounted "
                "for writing. Use an output with the same path.",
                target=f"{field}.mode",
            )
        return source

    async def _source(self, workspace: Workspace, uri: str, field: str) -> Document:
        if names_asset(uri):
            found, behind = await self._places.followed(workspace, uri, field)
            source = await self._source(workspace, behind, field)
            kind = found.kind.type.split("/")[1]
            return {**source, "asset": f"{workspace.path}/{kind}/{found.row.parent_name}/versions/{found.row.name}"}
        if inward(uri).startswith(("http://", "https://")):
            return {"kind": WEB, "url": uri}
        place = await self._places.resolve(workspace, uri, field, outside=True)
        return _blob(workspace, place, uri)

    async def _output(self, workspace: Workspace, job: str, name: str, value: Document) -> Document:
        """Where an output goes. Of a uri_file that is the file itself, of anything else the folder."""
        field = f"properties.outputs.{name}.uri"
        # A model is registered in the workspace's own storage, wherever the default lies.
        model = value["jobOutputType"] in MODEL_TYPES and value.get("assetName")
        store = BLOB_STORE if model else await self._default_store(workspace)
        words = {"name": job, "output_name": name, "default_datastore": store}
        uri = _IN_PATH.sub(lambda match: words[match[1]], (value.get("uri") or "").strip())
        if names_asset(uri):
            raise InvalidInput(
                f"Field '{field}': '{uri[:200]}' is a version of an asset, which never changes. Name a path of a datastore, and "
                "'assetName' to have the output registered.",
                code="InvalidField",
                target=field,
            )
        if not uri:
            uri = f"azureml://datastores/{store}/paths/{output_folder(job, name)}/"
        if value["jobOutputType"] == "uri_file":
            uri += name if uri.endswith("/") else ""
        elif not uri.endswith("/"):
            uri += "/"
        await self._refuse_taken(workspace, name, value)
        place = await self._places.resolve(workspace, uri, field, outside=True)
        if place.datastore and model:
            raise NotServed(
                f"Field '{field}': a model is registered in a datastore of the workspace's own; '{place.datastore}' lies outside.",
                target=field,
            )
        return _blob(workspace, place, uri)

    async def _default_store(self, workspace: Workspace) -> str:
        kind = self._resources.kinds["workspaces/datastores"]
        rows, _ = await self._resources.page(workspace, kind, "", ListQuery(default_only=True, limit=1))
        return rows[0].name if rows else BLOB_STORE

    async def _refuse_taken(self, workspace: Workspace, name: str, value: Document) -> None:
        """A version that exists will never be this job's output; better said before it runs for hours."""
        asset, version = value.get("assetName"), value.get("assetVersion")
        if not asset or not version:
            return
        try:
            await self._resources.get(workspace, self._resources.kinds[asset_kind(value)], asset, version)
        except NotFound:
            return
        raise Conflict(
            f"Field 'properties.outputs.{name}.assetVersion': version '{version}' of '{asset}' exists, and a version never changes. Leave "
            "it out to get the next one.",
            target=f"properties.outputs.{name}.assetVersion",
        )

    async def _compute(self, workspace: Workspace, properties: Document) -> None:
        """The compute must be there, be this workspace's own, and be able to take the job."""
        above, slash, name = (properties.get("computeId") or "").rpartition("/")
        if name.lower() in ("", *ANYWHERE):
            return
        try:
            if slash and above.removeprefix("azureml:").lower() != f"{workspace.path}/computes".lower():
                raise NotFound(f"'{above[:300]}/{name[:100]}' is not in workspace '{workspace.name}'.")
            row = await self._resources.get(workspace, self._resources.kinds["workspaces/computes"], "", name)
        except NotFound:
            raise InvalidInput(
                f"Field 'properties.computeId': there is no compute '{name}' in workspace '{workspace.name}'. Create it, or leave "
                "compute out to run on this machine.",
                code="InvalidField",
                target="properties.computeId",
            ) from None
        admit(row, properties)


def _blob(workspace: Workspace, place: Place, uri: str) -> Document:
    return {
        "kind": BLOB,
        **msgspec.to_builtins(place),
        "uri": datastore_uri(workspace, uri) or uri_of(workspace, place),
    }


def target_of(workspace: Workspace, job: JobRow, output: str) -> Document:
    """Where an output of a job goes, as it was pinned; jobs of older servers have pinned less of it."""
    pinned: Document = job.server["resolved"].get("outputs", {}).get(output) or {
        "account": workspace.account,
        "container": workspace.container,
        "path": output_folder(job.id, output) + "/",
    }
    if "uri" in pinned:
        return pinned
    given = job.body["properties"]["outputs"][output].get("uri") or ""
    place = Place(account=pinned["account"], container=pinned["container"], path=pinned["path"])
    return _blob(workspace, place, given)


def _check_web(url: str, value: Document, field: str) -> None:
    """A file on the web has no folder around it that could be listed."""
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0 and not parts.username and not parts.password
    except ValueError:  # no host, no port
        good = False
    if not good:
        raise InvalidInput(
            f"Field '{field}.uri': expected https://host/path without a user in it.",
            code="InvalidField",
            target=f"{field}.uri",
        )
    if value["jobInputType"] not in ("uri_file", "custom_model"):
        raise InvalidInput(
            f"Field '{field}.jobInputType': what lies at an https address is one file, and a {value['jobInputType']} has several. "
            "Use uri_file, or register the folder as data first.",
            code="InvalidField",
            target=f"{field}.jobInputType",
        )
