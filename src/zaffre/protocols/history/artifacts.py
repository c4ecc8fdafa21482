"""Artifacts as the run history and the artifact service tell of them: one list, two ways to name a folder (clients.md §B.2)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib import resources
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from starlette.responses import Response, StreamingResponse

from zaffre.errors import InvalidInput, ZaffreError
from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import WORKSPACE, Handler, Route, not_served
from zaffre.runtime import iso
from zaffre.services.blobs import Blobs
from zaffre.services.run_artifacts import BATCH_LIMIT, Folder, Link, RunArtifacts
from zaffre.services.workspaces import ARTIFACT_CONTAINER, ARTIFACT_STORE
from zaffre.settings import Settings
from zaffre.store.blobs import Blob

_READ, _WRITE = (f"workspaces/experiments/runs/artifacts/{verb}" for verb in ("read", "write"))
_OF_RUNS = {
    "ListInContainer": "listing",
    "ListInPath": "listing",
    "GetById": "get",
    "GetContentInformation": "content_information",
    "GetSasUri": "address",
    "ListSasByPrefix": "addresses",
    "BatchCreateEmptyArtifacts": "create_empty",
}
_OF_SERVICE = {
    "ListInContainer": "listing",
    "Get": "get",
    "Download": "download",
    "GetContentInformation": "content_information",
    "ListSasByPrefix": "addresses",
    "BatchCreateEmptyArtifacts": "create_empty",
}
WRITES = "BatchCreateEmptyArtifacts"


class ArtifactPath(msgspec.Struct, kw_only=True):
    path: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    tags: dict[str, str] | None = None


class ArtifactPaths(msgspec.Struct, kw_only=True):
    paths: Annotated[list[ArtifactPath], msgspec.Meta(min_length=1, max_length=BATCH_LIMIT)]


class ArtifactHandlers:
    """The answers. Which folder is asked for is in the path: a run's, or any by origin and container."""

    def __init__(self, settings: Settings, artifacts: RunArtifacts, blobs: Blobs) -> None:
        self._settings = settings
        self._artifacts = artifacts
        self._blobs = blobs

    def of_runs(self) -> dict[str, Handler]:
        """By operation of the history's table."""
        names = ("ByExperimentId", "ByExperimentName")
        return {f"RunArtifacts_{key}{by}": getattr(self, name) for key, name in _OF_RUNS.items() for by in names}

    def service_routes(self) -> list[Route]:
        """The artifact service's own routes, `/artifact/v2.0`."""
        text = resources.files("zaffre.protocols.history").joinpath("artifact_operations.csv").read_text()
        bound = {f"Artifacts_{key}": getattr(self, name) for key, name in _OF_SERVICE.items()}
        return [
            Route(
                protocol="history",
                method=row["verb"],
                template=f"/artifact/v2.0{WORKSPACE}{row['path']}",
                handler=bound.get(row["operation"]) or not_served(row["operation"]),
                operation=row["operation"],
                action=_READ if row["verb"] == "GET" else _WRITE,
            )
            for row in csv.DictReader(text.splitlines())
        ]

    async def listing(self, call: Call) -> Response:
        """Every file of the folder, at any depth, in pages; clients filter by themselves."""
        folder = await self._folder(call)
        found, following = await self._artifacts.listing(folder, call.query.get("path", ""), _start(call))
        return self._page(call, [_artifact(folder, blob) for blob in found], following)

    async def get(self, call: Call) -> Response:
        folder = await self._folder(call)
        return json_answer(_artifact(folder, await self._artifacts.blob(folder, _path(call))))

    async def content_information(self, call: Call) -> Response:
        folder = await self._folder(call)
        link = await self._artifacts.read_link(call.workspace, folder, _path(call))
        return json_answer(self._information(call, folder, link))

    async def address(self, call: Call) -> Response:
        """The signed address alone, as a JSON text."""
        folder = await self._folder(call)
        link = await self._artifacts.read_link(call.workspace, folder, _path(call))
        return json_answer(public_address(call, self._settings) + link.address)

    async def addresses(self, call: Call) -> Response:
        folder = await self._folder(call)
        found, following = await self._artifacts.listing(folder, call.query.get("path", ""), _start(call))
        links = await self._artifacts.read_links(call.workspace, folder, found)
        return self._page(call, [self._information(call, folder, link) for link in links], following)

    async def create_empty(self, call: Call) -> Response:
        """Where files may be written. Nothing is made by it: an artifact is there when its bytes are."""
        body = await call.parse(ArtifactPaths)
        folder = await self._folder(call)
        paths = [one.path for one in body.paths]
        links, errors = await self._artifacts.write_links(call.workspace, folder, paths)
        names = {path: _name(folder, path) for path in links}
        return json_answer(
            {
                "artifacts": names,
                "artifactContentInformation": {
                    path: self._information(call, folder, link) for path, link in links.items()
                },
                "errors": {path: _error(error) for path, error in errors.items()},
            }
        )

    async def download(self, call: Call) -> Response:
        folder = await self._folder(call)
        blob = await self._artifacts.blob(folder, _path(call))
        headers = {
            "content-length": str(blob.size),
            "content-disposition": "attachment",
            "x-content-type-options": "nosniff",
        }
        return StreamingResponse(await self._blobs.stream(blob), headers=headers, media_type=blob.content_type)

    async def _folder(self, call: Call) -> Folder:
        params = call.params
        if "runId" in params:
            experiment = params.get("experimentName") or params.get("experimentId")
            return await self._artifacts.of_run(call.workspace, experiment, params["runId"])
        return self._artifacts.folder(call.workspace, params["origin"], params["container"])

    def _information(self, call: Call, folder: Folder, link: Link) -> dict[str, Any]:
        return {
            "contentUri": public_address(call, self._settings) + link.address,
            "origin": folder.origin,
            "container": folder.container,
            "path": link.path,
            "tags": {},
        }

    def _page(self, call: Call, values: Sequence[dict[str, Any]], following: str | None) -> Response:
        link = None
        if following is not None:
            given = {"path": call.query["path"]} if call.query.get("path") else {}
            query = {**given, "continuationToken": following}
            text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
            link = f"{public_address(call, self._settings)}{call.raw_path}?{text}"
        return json_answer({"value": list(values), "continuationToken": following, "nextLink": link})


def _name(folder: Folder, path: str) -> dict[str, Any]:
    place = folder.place
    return {
        "artifactId": f"{folder.origin}/{folder.container}/{path}",
        "origin": folder.origin,
        "container": folder.container,
        "path": path,
        "dataPath": {
            "dataStoreName": ARTIFACT_STORE if place.container == ARTIFACT_CONTAINER else None,
            "relativePath": f"{place.path}/{path}".lstrip("/"),
        },
        "tags": {},
    }


def _artifact(folder: Folder, blob: Blob) -> dict[str, Any]:
    return {
        **_name(folder, folder.relative(blob.name)),
        "etag": blob.etag,
        "createdTime": iso(blob.created_at),
        "size": blob.size,
    }


def _error(error: ZaffreError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.message, "target": error.target, "details": []}}


def _path(call: Call) -> str:
    path = call.query.get("path", "")
    if not path:
        raise InvalidInput("The query parameter 'path' is missing; it names the artifact.", target="path")
    return path


def _start(call: Call) -> str:
    """The name of the blob a page starts at, as the page before told it."""
    return call.query.get("continuationtoken", "")
