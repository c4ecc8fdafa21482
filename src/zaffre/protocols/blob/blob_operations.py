"""The operations on one blob."""

from __future__ import annotations

import asyncio
import base64
import hashlib

from starlette.responses import Response, StreamingResponse

from zaffre.errors import InvalidInput, NotServed
from zaffre.protocols.blob import documents, headers, refused
from zaffre.protocols.blob.account_information import INFORMATION
from zaffre.protocols.blob.copying import abort_copy, copy_blob, put_blob_from_url, put_block_from_url
from zaffre.protocols.blob.request import BlobRequest, Operation, Table
from zaffre.protocols.blob.writing import overwriting, written

ONE_PIECE = 1024 * 1024  # up to here an answer is read at once, which spares the threads' to and fro
MD5_RANGE = 4 * 1024 * 1024  # Azure's own limit for hashing a range on the way


async def put_blob(request: BlobRequest) -> Response:
    call = request.call
    kind = call.headers.get("x-ms-blob-type", "")
    if kind in ("AppendBlob", "PageBlob"):
        raise refused.kind(kind)
    if "x-ms-copy-source" in call.headers and kind in ("", "BlockBlob"):
        return await (put_blob_from_url(request) if kind else copy_blob(request))
    if kind != "BlockBlob":
        message = "The header x-ms-blob-type must say 'BlockBlob'."
        raise InvalidInput(message, code="MissingRequiredHeader" if not kind else "InvalidHeaderValue")
    content = headers.content(call, fall_back=True)
    announced = base64.b64decode(content.md5) if content.md5 else None
    md5 = headers.body_md5(call) or announced
    if announced is not None and md5 != announced:
        raise InvalidInput("Content-MD5 and x-ms-blob-content-md5 differ.", code="Md5Mismatch")
    blob = await overwriting(
        request,
        lambda conditions: request.storage.blobs.put(
            *request.at,
            call.chunks(),
            size=headers.body_size(call, headers.BLOB_LIMIT),
            md5=md5,
            content=content,
            metadata=headers.metadata(call),
            conditions=conditions,
        ),
    )
    return Response(None, 201, {**written(blob), **({"content-md5": blob.md5} if blob.md5 else {})})


async def put_block(request: BlobRequest) -> Response:
    call = request.call
    if "x-ms-copy-source" in call.headers:
        return await put_block_from_url(request)
    block = documents.check_block_id(call.query.get("blockid", ""))
    size, md5 = headers.body_size(call, headers.BLOCK_LIMIT), headers.body_md5(call)
    await request.storage.blobs.stage_block(*request.at, block, call.chunks(), size=size, md5=md5)
    return Response(None, 201, {"x-ms-request-server-encrypted": "false"})


async def put_block_list(request: BlobRequest) -> Response:
    call = request.call
    body = await call.body_bytes()
    md5 = headers.body_md5(call)
    if md5 is not None and hashlib.md5(body, usedforsecurity=False).digest() != md5:
        raise InvalidInput("The MD5 of the block list is not the one that was announced.", code="Md5Mismatch")
    picks = await asyncio.to_thread(documents.parse_block_list, body)
    blob = await overwriting(
        request,
        lambda conditions: request.storage.blobs.commit_blocks(
            *request.at,
            picks,
            content=headers.content(call, fall_back=False),
            metadata=headers.metadata(call),
            conditions=conditions,
        ),
    )
    return Response(None, 201, written(blob))


async def get_block_list(request: BlobRequest) -> Response:
    kind = request.call.query.get("blocklisttype", "committed").lower()
    if kind not in ("committed", "uncommitted", "all"):
        message = f"blocklisttype is '{kind[:20]}'; it can be committed, uncommitted or all."
        raise InvalidInput(message, code="InvalidQueryParameterValue")
    blob, committed, staged = await request.storage.blobs.block_lists(*request.at)
    body = documents.block_list(
        committed if kind != "uncommitted" else None,
        staged if kind != "committed" else None,
    )
    found = {} if blob is None else {**headers.stamp(blob), "x-ms-blob-content-length": str(blob.size)}
    return Response(body, 200, found, documents.MEDIA)


async def set_metadata(request: BlobRequest) -> Response:
    given, conditions = headers.metadata(request.call), headers.conditions(request.call)
    return Response(None, 200, written(await request.storage.blobs.set_metadata(*request.at, given, conditions)))


async def set_properties(request: BlobRequest) -> Response:
    content, conditions = headers.content(request.call, fall_back=False), headers.conditions(request.call)
    return Response(None, 200, headers.stamp(await request.storage.blobs.set_content(*request.at, content, conditions)))


async def head_blob(request: BlobRequest) -> Response:
    blob = await request.storage.blobs.properties(*request.at, headers.conditions(request.call))
    found = {**headers.describe(blob), **_overrides(request), "content-length": str(blob.size)}
    if blob.md5:
        found["content-md5"] = blob.md5
    return Response(None, 200, found)


async def get_metadata(request: BlobRequest) -> Response:
    blob = await request.storage.blobs.properties(*request.at, headers.conditions(request.call))
    return Response(None, 200, {**headers.stamp(blob), **headers.metadata_of(blob)})


async def get_blob(request: BlobRequest) -> Response:
    call, blobs = request.call, request.storage.blobs
    blob = await blobs.properties(*request.at, headers.conditions(call))
    span = headers.byte_range(call, blob.size)
    start, end = span or (0, blob.size)
    found = {**headers.describe(blob), **_overrides(request), "content-length": str(end - start)}
    if span is not None:
        found["content-range"] = f"bytes {start}-{end - 1}/{blob.size}"
    if blob.md5:
        found["content-md5" if span is None else "x-ms-blob-content-md5"] = blob.md5
    status = 200 if span is None else 206
    hashed = span is not None and call.headers.get("x-ms-range-get-content-md5", "").lower() == "true"
    if hashed and end - start > MD5_RANGE:
        message = f"A range is hashed up to {MD5_RANGE} bytes; this one has {end - start}."
        raise InvalidInput(message, code="OutOfRangeInput")
    if hashed or end - start <= ONE_PIECE:
        body = await blobs.piece(blob, start, end)
        if hashed:
            digest = await asyncio.to_thread(lambda: hashlib.md5(body, usedforsecurity=False).digest())
            found["content-md5"] = base64.b64encode(digest).decode()
        return Response(body, status, found)
    return StreamingResponse(await blobs.stream(blob, start, end), status, found)


async def delete_blob(request: BlobRequest) -> Response:
    if request.call.headers.get("x-ms-delete-snapshots", "include").lower() != "include":
        raise NotServed("This server keeps no snapshots, so there are none to delete alone.")
    await request.storage.blobs.delete(*request.at, headers.conditions(request.call))
    return Response(None, 202, {"x-ms-delete-type-permanent": "true"})


def _overrides(request: BlobRequest) -> dict[str, str]:
    """Response headers that the SAS sets."""
    found = request.caller.grant.overrides if request.caller.grant is not None else {}
    for name, value in found.items():
        if not value.isascii() or not value.isprintable():
            raise InvalidInput(
                f"What the signature sets as {name} cannot be a header.", code="InvalidQueryParameterValue"
            )
    return found


BLOB_OPERATIONS: Table = {
    **INFORMATION,
    ("PUT", "", ""): Operation("Put Blob", put_blob, "o", "wc"),
    ("PUT", "", "block"): Operation("Put Block", put_block, "o", "wc"),
    ("PUT", "", "blocklist"): Operation("Put Block List", put_block_list, "o", "wc"),
    ("PUT", "", "copy"): Operation("Abort Copy Blob", abort_copy, "o", "wc"),
    ("PUT", "", "metadata"): Operation("Set Blob Metadata", set_metadata, "o", "w"),
    ("PUT", "", "properties"): Operation("Set Blob Properties", set_properties, "o", "w"),
    ("GET", "", "blocklist"): Operation("Get Block List", get_block_list, "o", "r"),
    ("GET", "", "metadata"): Operation("Get Blob Metadata", get_metadata, "o", "r"),
    ("HEAD", "", "metadata"): Operation("Get Blob Metadata", get_metadata, "o", "r"),
    ("HEAD", "", ""): Operation("Get Blob Properties", head_blob, "o", "r"),
    ("GET", "", ""): Operation("Get Blob", get_blob, "o", "r"),
    ("DELETE", "", ""): Operation("Delete Blob", delete_blob, "o", "d"),
}
