"""Blobs and blocks made from other blobs of this server. Nothing is ever fetched from elsewhere.

No bytes move but those of a block's range that is small; a copy is done when it is answered.
"""

from __future__ import annotations

import base64
from urllib.parse import parse_qsl, urlsplit

import msgspec
from starlette.responses import Response

from zaffre.errors import Conflict, Denied, InvalidInput, NotServed
from zaffre.gateway.call import Call
from zaffre.protocols.blob import address, documents, headers
from zaffre.protocols.blob.address import Address
from zaffre.protocols.blob.request import BlobRequest
from zaffre.protocols.blob.writing import overwriting, written
from zaffre.services.blobs import Content
from zaffre.store.blobs import Blob

OPERATIONS = tuple(
    (name, "PUT", "blob", comp)
    for name, comp in (
        ("Copy Blob", ""),
        ("Copy Blob From URL", ""),
        ("Put Blob From URL", ""),
        ("Put Block From URL", "block"),
    )
)
"""What a header, not the address, tells from Put Blob and Put Block: name, verb, level and `comp`."""

SOURCE_LIMIT = 256 * 1024 * 1024
"""Azure's, of Copy Blob From URL; ours copies no bytes, so only what is asked for with an MD5 is bounded by it."""


async def copy_blob(request: BlobRequest) -> Response:
    """Copy Blob, and Copy Blob From URL where `x-ms-requires-sync` says so: here both are done at once."""
    call, storage = request.call, request.storage
    at_once = call.headers.get("x-ms-requires-sync", "").lower() == "true"
    _name(call, "Copy Blob From URL" if at_once else "Copy Blob")
    source, place = await _source(request)
    found = await storage.blobs.source(*_at(place), headers.source_conditions(call))
    await _check_md5(request, found, 0, found.size)
    id_ = storage.blobs.new_id()
    told = headers.copied(source, found.size, id_, storage.now())
    content = Content(content_type=found.content_type, headers={**headers.own(found.headers), **told}, md5=found.md5)
    metadata = headers.metadata(call) or found.metadata
    blob = await overwriting(
        request,
        lambda conditions: storage.blobs.copy_of(
            *request.at, found, content=content, metadata=metadata, conditions=conditions
        ),
    )
    told = {"x-ms-copy-id": id_, "x-ms-copy-status": "success"}
    if at_once and blob.md5:
        told["content-md5"] = blob.md5
    return Response(None, 202, {**written(blob), **told})


async def put_blob_from_url(request: BlobRequest) -> Response:
    """A new blob with the bytes of another; its headers too, unless the request gives its own."""
    call, storage = request.call, request.storage
    _name(call, "Put Blob From URL")
    if call.headers.get("content-length", "0") != "0":
        raise InvalidInput("A blob that is made from another has no body.", code="InvalidHeaderValue")
    _source_url, place = await _source(request)
    found = await storage.blobs.source(*_at(place), headers.source_conditions(call))
    for header in ("x-ms-source-content-md5", "x-ms-blob-content-md5"):
        await _check_md5(request, found, 0, found.size, header)
    given = headers.content(call, fall_back=False)
    if call.headers.get("x-ms-copy-source-blob-properties", "true").lower() != "false":
        given = Content(
            content_type=call.headers.get("x-ms-blob-content-type") or found.content_type,
            headers={**headers.own(found.headers), **given.headers},
            md5=given.md5,
        )
    content = msgspec.structs.replace(given, md5=found.md5 or given.md5)
    metadata = headers.metadata(call) or found.metadata
    blob = await overwriting(
        request,
        lambda conditions: storage.blobs.copy_of(
            *request.at, found, content=content, metadata=metadata, conditions=conditions
        ),
    )
    return Response(None, 201, {**written(blob), **({"content-md5": blob.md5} if blob.md5 else {})})


async def put_block_from_url(request: BlobRequest) -> Response:
    call, storage = request.call, request.storage
    _name(call, "Put Block From URL")
    block = documents.check_block_id(call.query.get("blockid", ""))
    _source_url, place = await _source(request)
    found = await storage.blobs.source(*_at(place), headers.source_conditions(call))
    start, end = headers.byte_range(call, found.size, ("x-ms-source-range",)) or (0, found.size)
    await _check_md5(request, found, start, end)
    await storage.blobs.stage_range(*request.at, block, found, start, end)
    return Response(None, 201, {"x-ms-request-server-encrypted": "false"})


async def abort_copy(request: BlobRequest) -> Response:
    await request.storage.blobs.properties(*request.at)
    raise Conflict("There is no copy to abort: each is done when it is answered.", code="NoPendingCopyOperation")


async def _source(request: BlobRequest) -> tuple[str, Address]:
    """The source's address without its signature, and where that is. Raises Denied unless the caller may read it."""
    call, storage = request.call, request.storage
    try:
        source = urlsplit(call.headers["x-ms-copy-source"])
    except ValueError:
        raise InvalidInput("The copy source is not an address.", code="InvalidHeaderValue") from None
    netloc = source.netloc.lower()
    if address.base_host(netloc) not in storage.hosts | {address.base_host(call.headers.get("host", "").lower())}:
        raise NotServed(f"Copies are made from blobs of this server only, not from '{netloc[:100]}'.")
    if not address.owns(source.path.removeprefix("/").partition("/")[0], netloc):
        raise InvalidInput("The copy source is not the address of a blob.", code="InvalidHeaderValue")
    place = address.parse(source.path, netloc)
    if not place.blob:
        raise InvalidInput("The copy source is the address of no blob.", code="InvalidHeaderValue")
    query = {name.lower(): value for name, value in parse_qsl(source.query, keep_blank_values=True)}
    if query.get("snapshot") or query.get("versionid"):
        raise NotServed("This server keeps no snapshots or versions of blobs to copy from.")
    scheme, _, token = call.headers.get("x-ms-copy-source-authorization", "").partition(" ")
    if "sig" in query:
        (await storage.door.of_signature(call, query, place, storage.now())).check("o", "r")
    elif scheme:
        if scheme.lower() != "bearer":
            raise InvalidInput("x-ms-copy-source-authorization is a bearer token.", code="InvalidHeaderValue")
        (await storage.door.of_token(token.strip(), place)).check("o", "r")
    else:
        _check_same_caller(request, place)
    return source._replace(query="", fragment="").geturl(), place


def _check_same_caller(request: BlobRequest, source: Address) -> None:
    """A source without a credential of its own is read with the request's, if that reaches so far."""
    grant = request.caller.grant
    if source.account != request.address.account or (grant is not None and grant.container is not None):
        raise Denied("The copy source needs a SAS of its own in its address.", code="CannotVerifyCopySource")
    request.caller.check("o", "r")


async def _check_md5(
    request: BlobRequest, blob: Blob, start: int, end: int, header: str = "x-ms-source-content-md5"
) -> None:
    """Raise InvalidInput unless the source's range has the MD5 the client expects, if it expects one."""
    wanted = headers.body_md5(request.call, header)
    if wanted is None:
        return
    if end - start > SOURCE_LIMIT:
        raise InvalidInput(f"An MD5 is checked of at most {SOURCE_LIMIT} bytes of a source.", code="InvalidHeaderValue")
    found = await request.storage.blobs.md5_of(blob, start, end)
    if found != wanted:
        text = base64.b64encode(found).decode()
        raise InvalidInput(f"The source's MD5 is {text}, not the one that was announced.", code="Md5Mismatch")


def _name(call: Call, operation: str) -> None:
    """For whoever counts what clients ask."""
    call.scope["zaffre.operation"] = ("blob", operation)


def _at(place: Address) -> tuple[str, str, str]:
    return place.account, place.container, place.blob
