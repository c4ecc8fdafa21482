"""The operations on containers."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.responses import Response

from zaffre.errors import InvalidInput, NotServed
from zaffre.protocols.blob import documents, headers
from zaffre.protocols.blob.account_information import INFORMATION
from zaffre.protocols.blob.batch import batch
from zaffre.protocols.blob.request import BlobRequest, Operation, Table
from zaffre.services.access import Principal
from zaffre.services.blobs import Page
from zaffre.services.workspaces import STORAGE_SUFFIX
from zaffre.store.blobs import Container
from zaffre.store.unit import Actor

PAGE = 5000
# All but metadata and copy name what never exists here, so that leaving it out is the whole truth.
_SERVED_INCLUDES = frozenset(
    {
        *("", "metadata", "copy", "snapshots", "versions", "deleted", "deletedwithversions", "tags"),
        *("immutabilitypolicy", "legalhold", "permissions"),
    }
)


async def create_container(request: BlobRequest) -> Response:
    call, address = request.call, request.address
    if headers.metadata(call):
        raise NotServed("This server keeps no metadata of containers; leave it out.")
    if call.headers.get("x-ms-blob-public-access"):
        raise NotServed("This server has no public containers; leave x-ms-blob-public-access out.")
    made = await request.storage.blobs.create_container(address.account, address.container, _actor(request))
    return Response(None, 201, _stamp(made))


async def container_properties(request: BlobRequest) -> Response:
    found = await request.storage.blobs.container(request.address.account, request.address.container)
    state = {"x-ms-lease-state": "available", "x-ms-lease-status": "unlocked"}
    return Response(None, 200, {**_stamp(found), **state})


async def list_blobs(request: BlobRequest) -> Response:
    query, address = request.call.query, request.address
    includes = set(query.get("include", "").lower().split(","))
    if not includes <= _SERVED_INCLUDES:
        raise NotServed(f"include={','.join(sorted(includes - _SERVED_INCLUDES))} is not served in listings.")
    prefix, delimiter = plain(query, "prefix"), plain(query, "delimiter")
    marker, most = query.get("marker", ""), limit(query)
    start = max(documents.from_marker(marker), plain(query, "startfrom"))
    container, below = (address.container, "") if address.container else (prefix.partition("/")[0], "/")
    page = await request.storage.blobs.listing(
        address.account,
        container,
        prefix=prefix.removeprefix(container + below) if below else prefix,
        delimiter=delimiter,
        start=start,
        limit=most,
    )
    if below:
        page = _seen_from_account(page, container)
    body = await asyncio.to_thread(  # five thousand entries take longer than the loop should be held
        documents.blob_list,
        endpoint(request),
        address.container,
        page,
        prefix=prefix,
        delimiter=delimiter,
        marker=marker,
        limit=most,
        includes=includes,
    )
    return Response(body, 200, None, documents.MEDIA)


async def delete_container(request: BlobRequest) -> Response:
    call, address = request.call, request.address
    conditions = headers.conditions(call)
    await request.storage.blobs.delete_container(address.account, address.container, _actor(request), conditions)
    return Response(None, 202)


async def access_policies(request: BlobRequest) -> Response:
    """There are none, and no public access either."""
    found = await request.storage.blobs.container(request.address.account, request.address.container)
    return Response(documents.no_access_policies(), 200, _stamp(found), documents.MEDIA)


CONTAINER_OPERATIONS: Table = {
    **INFORMATION,
    ("PUT", "container", ""): Operation("Create Container", create_container, "c", "cw"),
    ("DELETE", "container", ""): Operation("Delete Container", delete_container, "c", "d"),
    ("GET", "container", ""): Operation("Get Container Properties", container_properties, "c", "r"),
    ("HEAD", "container", ""): Operation("Get Container Properties", container_properties, "c", "r"),
    ("GET", "container", "metadata"): Operation("Get Container Metadata", container_properties, "c", "r"),
    ("HEAD", "container", "metadata"): Operation("Get Container Metadata", container_properties, "c", "r"),
    ("GET", "container", "acl"): Operation("Get Container ACL", access_policies, "c", "r"),
    ("HEAD", "container", "acl"): Operation("Get Container ACL", access_policies, "c", "r"),
    ("GET", "container", "list"): Operation("List Blobs", list_blobs, "c", "l"),
    ("POST", "container", "batch"): Operation("Blob Batch", batch, "o", "d"),
}


def _seen_from_account(page: Page, container: str) -> Page:
    entries = [
        f"{container}/{one}" if isinstance(one, str) else msgspec.structs.replace(one, name=f"{container}/{one.name}")
        for one in page.entries
    ]
    return msgspec.structs.replace(page, entries=entries)


def plain(query: dict[str, str], name: str) -> str:
    value = query.get(name, "")
    if "\0" in value:
        raise InvalidInput(f"'{name}' holds a NUL character.", code="InvalidQueryParameterValue")
    return value


def limit(query: dict[str, str]) -> int:
    text = query.get("maxresults", "") or str(PAGE)
    if not text.isascii() or not text.isdigit() or not int(text[:10]) > 0:
        message = f"maxresults is '{text[:20]}'; it is a number from 1 to {PAGE}."
        raise InvalidInput(message, code="OutOfRangeQueryParameterValue")
    return min(int(text[:10]), PAGE)


def endpoint(request: BlobRequest) -> str:
    """The account's address as the client wrote it; it is told nobody else."""
    call, address = request.call, request.address
    path = "" if address.in_host else f"{address.account}{STORAGE_SUFFIX}/"
    return f"{call.url.scheme}://{call.headers.get('host', '')}/{path}"


def _actor(request: BlobRequest) -> Actor:
    """A signature names nobody, so the account itself stands for who holds it."""
    call, account = request.call, request.address.account
    if not hasattr(call, "principal"):
        call.principal = Principal(id=account, name=f"storage account {account}", kind="Application")
    return call.actor


def _stamp(container: Container) -> dict[str, str]:
    return {
        "etag": f'"{documents.container_etag(container)}"',
        "last-modified": headers.http_date(container.created_at),
    }
