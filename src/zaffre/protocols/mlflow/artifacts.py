"""Artifacts: listed by run or model, and their bytes, which plain mlflow sends and fetches through us."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import msgspec
from starlette.responses import Response, StreamingResponse

from zaffre.errors import InvalidInput, NotFound, NotServed
from zaffre.gateway import bodies
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.objects import edge_sends, sent_by_edge
from zaffre.protocols.mlflow import requests, shape, trace_requests
from zaffre.protocols.mlflow.addresses import AddressBook
from zaffre.protocols.mlflow.artifact_places import (
    file_below,
    folder_of,
    named_in,
    of_model,
    of_run,
    relative,
    writable,
)
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services import media_types
from zaffre.services.artifact_uris import artifact_place
from zaffre.services.blobs import OCTETS, Blobs, Content
from zaffre.services.places import Place
from zaffre.services.registered_models import RegisteredModels
from zaffre.services.tracking import Tracking, otlp
from zaffre.services.tracking.traces import ARTIFACTS_TAG, IN_STORE, SPANS_TAG

_READ, _WRITE, _DELETE = (f"workspaces/experiments/runs/artifacts/{verb}" for verb in ("read", "write", "delete"))
PAGE = 1000
_TOKEN = re.compile(r"[A-Za-z0-9!#$&+.^_`|~-]+")  # RFC 9110's, less what RFC 8187 gives a meaning
TRACE_FILE = "traces.json"
_ATTACHMENT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ARRIVED = "x-zf-sha256"  # of what an upload brought, in hexadecimal
MOST_UPLOADED = 10 * 1024 * 1024  # bytes, MLflow's limit of what its pages send


class Artifacts:
    def __init__(
        self,
        tracking: Tracking,
        models: RegisteredModels,
        blobs: Blobs,
        addresses: AddressBook,
        kept_bodies: Path | None = None,
    ) -> None:
        """`kept_bodies` is where the edge keeps large uploads; None where there is none."""
        self._kept_bodies = kept_bodies
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
        run, folder = await of_run(self._tracking, call.workspace, required(asked.run, "run_id"))
        return await self._list_below(folder, self._at(call).run(run), asked.path, asked.page_token)

    async def list_of_model(self, call: Call) -> Response:
        asked = await parse(call, requests.ListLoggedModelArtifacts)
        model, folder = await of_model(self._tracking, call.workspace, call.params["model_id"])
        root, path = self._at(call).model(model), asked.artifact_directory_path
        return await self._list_below(folder, root, path, asked.page_token)

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
        return await self._bytes(call, named_in(call))

    async def download_of_run(self, call: Call) -> Response:
        asked = await parse(call, requests.RunArtifact)
        path = relative(required(asked.path, "path"))
        _, folder = await of_run(self._tracking, call.workspace, required(asked.run, "run_id"))
        return await self._bytes(call, file_below(folder, path))

    async def download_of_model(self, call: Call) -> Response:
        asked = await parse(call, requests.LoggedModelArtifact)
        path = relative(required(asked.artifact_file_path, "artifact_file_path"))
        _, folder = await of_model(self._tracking, call.workspace, call.params["model_id"])
        return await self._bytes(call, file_below(folder, path))

    async def download_of_version(self, call: Call) -> Response:
        asked = await parse(call, requests.ModelVersionArtifact)
        path = relative(required(asked.path, "path"))
        name, version = required(asked.name, "name"), required(str(asked.version), "version")
        _, row = await self._models.get_version(call.workspace, name, version)
        uri, folder = await self._models.place(call.workspace, row)
        if folder is None:
            raise NotServed(f"The files of the version are at '{uri}', outside this server; fetch them there.")
        return await self._bytes(call, file_below(folder, path))

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
        folder = folder_of(call.workspace, trace.tags.get(ARTIFACTS_TAG), f"traces/{trace.id}")
        path = f"attachments/{asked.path}" if asked.path else TRACE_FILE
        return await self._bytes(call, file_below(folder, path))

    async def upload_to_run(self, call: Call) -> Response:
        """A small file, as MLflow's pages send it."""
        run_id, path = call.query.get("run_uuid", ""), call.query.get("path", "")
        for name, value in (("run_uuid", run_id), ("path", path)):
            if not value:
                raise InvalidInput(f"Request must specify {name}.", target=name)
        path = relative(path)
        data = await call.body_bytes(MOST_UPLOADED)
        if not data:
            raise InvalidInput("Request must specify data.", target="data")
        _, folder = await of_run(self._tracking, call.workspace, run_id)
        place = writable(file_below(folder, path))
        content = Content(content_type=media_types.of_name(path))
        await self._blobs.put(place.account, place.container, place.path, _once(data), size=len(data), content=content)
        return json_answer({})

    async def upload(self, call: Call) -> Response:
        place = writable(named_in(call))
        at = place.account, place.container, place.path
        content = Content(content_type=call.headers.get("content-type") or OCTETS)
        file = bodies.kept(call, self._kept_bodies)
        if file is not None:
            blob = await self._blobs.put_kept(*at, file, content)
        else:
            declared = call.headers.get("content-length", "")
            size = int(declared) if declared.isdigit() else None
            blob = await self._blobs.put(*at, call.chunks(), size=size, content=content, want_md5=False)
        # Of what has arrived: whoever sent it can tell whether that is what they sent.
        return json_answer({}, headers={ARRIVED: blob.sha256})

    async def delete(self, call: Call) -> Response:
        """Delete a file, or everything below a folder."""
        place = writable(named_in(call))
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

    async def _list_below(self, folder: Place, root: str, path: str, token: str | None) -> Response:
        """A page of what lies in the folder `path` of a run's or model's; names are relative to its root."""
        path = relative(path)
        if path:
            folder = file_below(folder, path)
        found, following = await self._entries(folder, token or "")
        prefix = f"{path}/" if path else ""
        answer: shape.Document = {
            "root_uri": root,
            "files": shape.files((prefix + name, size) for name, size in found),
        }
        return json_answer(answer | ({"next_page_token": following} if following else {}))

    async def _bytes(self, call: Call, place: Place) -> Response:
        blob = await self._blobs.properties(place.account, place.container, place.path)
        headers = {
            "content-type": media_types.of_name(place.path),  # the client's own word might make a browser run it
            "content-disposition": _attachment(place.path.rpartition("/")[2]),
            "x-content-type-options": "nosniff",
        }
        if edge_sends(call, blob.size) and (name := await self._blobs.objects.file_name(blob.sha256)):
            return sent_by_edge(name, headers)
        headers["content-length"] = str(blob.size)
        return StreamingResponse(await self._blobs.stream(blob), headers=headers)

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


def _trace_file(spans: list[bytes]) -> bytes:
    return msgspec.json.encode({"spans": [otlp.as_document(one) for one in spans]})


def _attachment(name: str) -> str:
    """A name is written plain where it can be, else as RFC 8187 has it."""
    return (
        f"attachment; filename={name}"
        if _TOKEN.fullmatch(name)
        else f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    )


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
