"""Artifacts past the proxy: uploads in parts, and signed addresses. The bytes go to this server all the same, by Blob.

MLflow's clients ask for these when the user wishes it (`MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD` and `_DOWNLOAD`), or other
tools do. We do not tell them to (`getServerInfo`): one stream to one server is as fast, a request less for each file,
and needs no second look at a certificate that the user may have named for the tracking server only.
"""

from __future__ import annotations

import posixpath

from starlette.responses import Response

from zaffre.errors import InvalidInput
from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import requests
from zaffre.protocols.mlflow.artifact_places import file_below, named_in, of_model, of_run, relative, writable
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.direct_artifacts import DirectArtifacts
from zaffre.services.places import Place
from zaffre.services.tracking import Tracking
from zaffre.settings import Settings

_READ, _WRITE = (f"workspaces/experiments/runs/artifacts/{verb}" for verb in ("read", "write"))
READ_S = 300  # MLflow's own time for the address of a download
PUT_BLOB = {"x-ms-blob-type": "BlockBlob"}  # without which the Blob protocol takes no file


class DirectArtifactHandlers:
    def __init__(self, settings: Settings, tracking: Tracking, direct: DirectArtifacts) -> None:
        self._settings = settings
        self._tracking = tracking
        self._direct = direct

    def operations(self) -> Served:
        return {
            "createMultipartUpload": (self.create, _WRITE),
            "completeMultipartUpload": (self.complete, _WRITE),
            "abortMultipartUpload": (self.abort, _WRITE),
            "getPresignedDownloadUrl": (self.address, _READ),
            "createPresignedDownloadUrl": (self.download_address, _READ),
            "createPresignedUploadUrl": (self.upload_address, _WRITE),
        }

    async def create(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateMultipartUpload)
        upload = await self._direct.begin(call.workspace, _file(call, asked.path), asked.num_parts)
        credentials = [
            {"url": self._whole(call, address), "part_number": number, "headers": {}}
            for number, address in enumerate(upload.addresses, start=1)
        ]
        return json_answer({"upload_id": upload.id, "credentials": credentials})

    async def complete(self, call: Call) -> Response:
        asked = await parse(call, requests.CompleteMultipartUpload)
        numbers = [part.part_number for part in asked.parts]
        await self._direct.complete(_file(call, asked.path), required(asked.upload_id, "upload_id"), numbers)
        return json_answer({})

    async def abort(self, call: Call) -> Response:
        asked = await parse(call, requests.AbortMultipartUpload)
        await self._direct.abort(_file(call, asked.path), required(asked.upload_id, "upload_id"))
        return json_answer({})

    async def address(self, call: Call) -> Response:
        """Where a file of the proxy is fetched, whole or in ranges."""
        blob, address = await self._direct.read_address(call.workspace, named_in(call), READ_S)
        return json_answer({"url": self._whole(call, address), "headers": {}, "file_size": blob.size})

    async def download_address(self, call: Call) -> Response:
        """Where a file of a run is fetched."""
        asked = await parse(call, requests.PresignedDownload)
        _, folder = await of_run(self._tracking, call.workspace, required(asked.run_id, "run_id"))
        place = file_below(folder, relative(required(asked.path, "path")))
        blob, address = await self._direct.read_address(call.workspace, place, asked.expiration)
        return json_answer({"presigned_url": self._whole(call, address), "headers": {}, "file_size": blob.size})

    async def upload_address(self, call: Call) -> Response:
        """Where a file of a run or of a logged model is written in one piece."""
        asked = await parse(call, requests.PresignedUpload)
        if bool(asked.run_id) == bool(asked.model_id):
            raise InvalidInput("Exactly one of run_id and model_id must be provided.", target="run_id")
        path = relative(required(asked.path, "path"))
        if asked.run_id:
            _, folder = await of_run(self._tracking, call.workspace, asked.run_id)
        else:
            _, folder = await of_model(self._tracking, call.workspace, asked.model_id)
        place = writable(file_below(folder, path))
        address = await self._direct.write_address(call.workspace, place, asked.expiration)
        return json_answer({"presigned_url": self._whole(call, address), "headers": PUT_BLOB})

    def _whole(self, call: Call, address: str) -> str:
        return public_address(call, self._settings) + address


def _file(call: Call, path: str) -> Place:
    """The file of an upload: MLflow names the folder in the address, and the file by its path on the client's machine."""
    name = posixpath.basename(required(path, "path"))
    return writable(file_below(named_in(call), relative(name)))
