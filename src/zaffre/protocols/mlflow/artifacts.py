"""Artifacts: listed by run or model, and their bytes, which plain mlflow sends and fetches through us."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec
from starlette.responses import Response, StreamingResponse

from zaffre.errors import InvalidInput, NotFound, NotServed
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import decode_part
from zaffre.protocols.mlflow import requests, shape, trace_requests
from zaffre.protocols.mlflow.addresses import AddressBook, given_location, given_model_location
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.artifact_uris import ARTIFACT_SCHEME, artifact_path, artifact_place, place_of
from zaffre.services.blobs import OCTETS, Blobs, Content
from zaffre.services.places import Place
from zaffre.services.registered_models import RegisteredModels
from zaffre.services.tracking import Tracking, otlp
from zaffre.services.tracking.traces import ARTIFACTS_TAG, IN_STORE, SPANS_TAG
from zaffre.services.workspaces import ARTIFACT_CONTAINER, Workspace, run_folder

_READ, _WRITE, _DELETE = (f"workspaces/experiments/runs/artifacts/{verb}" for verb in ("read", "write", "delete"))
PAGE = 1000
TRACE_FILE = "traces.json"
_ATTACHMENT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_UPLOADED = 10 * 1024 * 1024  # bytes, MLflow's limit of what its pages send


class Artifacts:
    def __init__(self, tracking: Tracking, models: RegisteredModels, blobs: Blobs, addresses: AddressBook) -> None:
        self._at = addresses
        self._tracking = tracking
        self._models = models
        self._blobs = blobs

    def operations(self) -> Served:
        return {
            "listArtifacts": (self.list_either, _READ),
            "listLoggedModelArtifacts": (self.list_of_model, _READ),
            "downloadArtifact": (self.download, _READ),
            "uploadArtifact": (self.upload, _WRITE),
            "deleteArtifact": (self.delete, _DELETE),
            "getArtifact": (self.download_of_run, _READ),
            "getLoggedModelArtifact": (self.download_of_model, _READ),
            "getModelVersionArtifact": (self.download_of_version, _READ),
            "getTraceArtifact": (self.download_of_trace, "workspaces/experiments/traces/read"),
            "uploadRunArtifact": (self.upload_to_run, _WRITE),
        }

    async def list_either(self, call: Call) -> Response:
        """Two operations of MLflow share a name: the list of a run, and the list of a folder of the artifact proxy."""
        if call.route.template.endswith("/mlflow-artifacts/artifacts"):
            return await self.list_folder(call)
        return await self.list_of_run(call)

    async def list_of_run(self, call: Call) -> Response:
        asked = await parse(call, requests.ListArtifacts)
        run = await self._tracking.runs.head(call.workspace.id, required(asked.run, "run_id"))
        base = _base(call.workspace, given_location(run), run.id)
        return await self._list_below(call, base, self._at(call).run(run), asked.path, asked.page_token)

    async def list_of_model(self, call: Call) -> Response:
        asked = await parse(call, requests.ListLoggedModelArtifacts)
        model = (await self._tracking.models.get(call.workspace.id, call.params["model_id"])).model
        base = _base(call.workspace, given_model_location(model), model.id)
        root, path = self._at(call).model(model), asked.artifact_directory_path
        return await self._list_below(call, base, root, path, asked.page_token)

    async def list_folder(self, call: Call) -> Response:
        """What lies in one folder of the proxy, all of it: this call knows no pages. Names are relative to the folder."""
        asked = await parse(call, requests.ArtifactPath)
        folder = artifact_place(call.workspace, asked.path.strip("/"))
        found: list[tuple[str, int | None]] = []
        start: str | None = ""
        while start is not None:
            entries, start = await self._entries(folder, start)
            found.extend(entries)
        return json_answer({"files": shape.files(found)})

    async def download(self, call: Call) -> Response:
        return await self._bytes(_place(call))

    async def download_of_run(self, call: Call) -> Response:
        asked = await parse(call, requests.RunArtifact)
        path = _relative(required(asked.path, "path"))
        run = await self._tracking.runs.head(call.workspace.id, required(asked.run, "run_id"))
        base = _base(call.workspace, given_location(run), run.id)
        return await self._bytes(_file(artifact_place(call.workspace, base), path))

    async def download_of_model(self, call: Call) -> Response:
        asked = await parse(call, requests.LoggedModelArtifact)
        path = _relative(required(asked.artifact_file_path, "artifact_file_path"))
        model = (await self._tracking.models.get(call.workspace.id, call.params["model_id"])).model
        base = _base(call.workspace, given_model_location(model), model.id)
        return await self._bytes(_file(artifact_place(call.workspace, base), path))

    async def download_of_version(self, call: Call) -> Response:
        asked = await parse(call, requests.ModelVersionArtifact)
        path = _relative(required(asked.path, "path"))
        name, version = required(asked.name, "name"), required(str(asked.version), "version")
        _, row = await self._models.get_version(call.workspace, name, version)
        uri, folder = await self._models.place(call.workspace, row)
        if folder is None:
            raise NotServed(f"The files of the version are at '{uri}', outside this server; fetch them there.")
        return await self._bytes(_file(folder, path))

    async def download_of_trace(self, call: Call) -> Response:
        """The spans of a trace as one file, or what its maker attached to it."""
        asked = await parse(call, trace_requests.TraceArtifact)
        trace = await self._tracking.traces.get(call.workspace.id, required(asked.request_id, "request_id"))
        if asked.path and not _ATTACHMENT.fullmatch(asked.path):
            raise InvalidInput(
                f"Invalid attachment path: '{asked.path[:100]}'. Attachment path must be a valid UUID.", target="path"
            )
        if not asked.path:
            spans = (await self._tracking.traces.spans([trace]))[trace.pk]
            if spans or trace.tags.get(SPANS_TAG) == IN_STORE:
                headers = {"content-disposition": f"attachment; filename={TRACE_FILE}"}
                return Response(await asyncio.to_thread(_trace_file, spans), headers=headers, media_type=OCTETS)
        # MLflow's clients before 3.5 put the spans into a file of that name; attachments they still do.
        base = _base(call.workspace, trace.tags.get(ARTIFACTS_TAG), f"traces/{trace.id}")
        path = f"attachments/{asked.path}" if asked.path else TRACE_FILE
        return await self._bytes(_file(artifact_place(call.workspace, base), path))

    async def upload_to_run(self, call: Call) -> Response:
        """A small file, as MLflow's pages send it."""
        run_id, path = call.query.get("run_uuid", ""), call.query.get("path", "")
        for name, value in (("run_uuid", run_id), ("path", path)):
            if not value:
                raise InvalidInput(f"Request must specify {name}.", target=name)
        path = _relative(path)
        data = await call.body_bytes(MOST_UPLOADED)
        if not data:
            raise InvalidInput("Request must specify data.", target="data")
        run = await self._tracking.runs.head(call.workspace.id, run_id)
        base = _base(call.workspace, given_location(run), run.id)
        place = _writable(_file(artifact_place(call.workspace, base), path))
        content = Content(content_type=mimetypes.guess_type(path)[0] or OCTETS)
        await self._blobs.put(place.account, place.container, place.path, _once(data), size=len(data), content=content)
        return json_answer({})

    async def upload(self, call: Call) -> Response:
        place = _writable(_place(call))
        declared = call.headers.get("content-length", "")
        size = int(declared) if declared.isdigit() else None
        content = Content(content_type=call.headers.get("content-type") or OCTETS)
        blob = await self._blobs.put(
            place.account, place.container, place.path, call.chunks(), size=size, content=content
        )
        # Of what has arrived: whoever sent it can tell whether that is what they sent.
        return json_answer({}, headers={"content-md5": blob.md5} if blob.md5 else None)

    async def delete(self, call: Call) -> Response:
        """Delete a file, or everything below a folder."""
        place = _writable(_place(call))
        below = await self._blobs.tree(place.account, place.container, place.path + "/")
        names = [info.name for info in below]
        try:
            await self._blobs.properties(place.account, place.container, place.path)
        except NotFound:
            if not names:
                raise
        else:
            names.append(place.path)
        for name in names:
            await self._blobs.delete(place.account, place.container, name)
        return json_answer({})

    async def _list_below(self, call: Call, base: str, root: str, path: str, token: str | None) -> Response:
        """A page of what lies in the folder `path` of a run or a model; names are relative to its root."""
        path = _relative(path)
        folder = artifact_place(call.workspace, f"{base}/{path}" if path else base)
        found, following = await self._entries(folder, token or "")
        prefix = f"{path}/" if path else ""
        answer: shape.Document = {
            "root_uri": root,
            "files": shape.files((prefix + name, size) for name, size in found),
        }
        return json_answer(answer | ({"next_page_token": following} if following else {}))

    async def _bytes(self, place: Place) -> Response:
        blob, chunks = await self._blobs.read(place.account, place.container, place.path)
        headers = {
            "content-length": str(blob.size),
            "content-disposition": f"attachment; filename*=UTF-8''{quote(place.path.rpartition('/')[2], safe='')}",
            "x-content-type-options": "nosniff",
        }
        return StreamingResponse(chunks, headers=headers, media_type=blob.content_type)

    async def _entries(self, folder: Place, start: str) -> tuple[list[tuple[str, int | None]], str | None]:
        """(name, size) of what lies in a folder, from the blob name `start` on; folders have no size."""
        prefix = f"{folder.path}/" if folder.path else ""
        page = await self._blobs.listing(
            folder.account, folder.container, prefix=prefix, delimiter="/", start=start, limit=PAGE
        )
        found: list[tuple[str, int | None]] = []
        for entry in page.entries:
            name, size = (entry.rstrip("/"), None) if isinstance(entry, str) else (entry.name, entry.size)
            if name != prefix.rstrip("/"):
                found.append((name.removeprefix(prefix), size))
        return found, page.next


def _relative(path: str) -> str:
    """A path below a run's or model's artifacts, `.` taken out. Raises InvalidInput for one that leads elsewhere."""
    if path.startswith("/") or ".." in path.split("/"):
        raise InvalidInput("Invalid path", target="path")
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _trace_file(spans: list[bytes]) -> bytes:
    return msgspec.json.encode({"spans": [otlp.as_document(one) for one in spans]})


def _file(folder: Place, path: str) -> Place:
    if not path:
        raise InvalidInput("Invalid path", target="path")
    return msgspec.structs.replace(folder, path=f"{folder.path}/{path}".lstrip("/"))


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _base(workspace: Workspace, location: str | None, id_: str) -> str:
    """Where a run's or model's artifacts lie, as the path of an `mlflow-artifacts:/` address."""
    if location is None:
        return run_folder(id_)
    if location.startswith(ARTIFACT_SCHEME):
        return location.removeprefix(ARTIFACT_SCHEME).strip("/")
    place = place_of(workspace, location)
    if place is None:
        raise NotServed(f"The artifacts are at '{location}', outside this server; list them there.")
    return artifact_path(place)


def _place(call: Call) -> Place:
    path = "/".join(decode_part(part) for part in call.params["artifact_path"].split("/"))
    place = artifact_place(call.workspace, path)
    if not place.path:
        raise InvalidInput("The address names no artifact.", target="artifact_path")
    return place


def _writable(place: Place) -> Place:
    if place.container != ARTIFACT_CONTAINER:
        raise NotServed(f"Files of container '{place.container}' can be read here; write them by the Blob protocol.")
    return place
