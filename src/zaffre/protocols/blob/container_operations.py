"""The operations on containers, and the list of an account's containers."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.responses import Response

from zaffre.errors import InvalidInput, NotServed
from zaffre.gateway.call import Call
from zaffre.protocols.blob import documents, headers
from zaffre.protocols.blob.request import BlobRequest, Operation
from zaffre.services.access import Principal
from zaffre.services.blobs import Page
from zaffre.services.workspaces import STORAGE_SUFFIX
from zaffre.store.blobs import Container

PAGE = 5000
# All but metadata name what never exists here, so that leaving it out is the whole truth.
_SERVED_INCLUDES = frozenset({"metadata", "snapshots", "versions", "deleted", "tags", "copy", ""})


async def create_container(request: BlobRequest) -> Response:
    call, address = request.call, request.address
    if headers.metadata(call):
        raise NotServed("This server keeps no metadata of containers; leave it out.")
    if call.headers.get("x-ms-blob-public-access"):
        raise NotServed("This server has no public containers; leave x-ms-blob-public-access out.")
    if not hasattr(call, "principal"):  # a signature names nobody
        call.principal = Principal(id=address.account, name=f"storage account {address.account}", kind="Application")
    made = await request.storage.blobs.create_container(address.account, address.container, call.actor)
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
    prefix, delimiter = _plain(query, "prefix"), _plain(query, "delimiter")
    marker, limit = query.get("marker", ""), _limit(query)
    container, below = (address.container, "") if address.container else (prefix.partition("/")[0], "/")
    page = await request.storage.blobs.listing(
        address.account,
        container,
        prefix=prefix.removeprefix(container + below) if below else prefix,
        delimiter=delimiter,
        start=documents.from_marker(marker),
        limit=limit,
    )
    if below:
        page = _seen_from_account(page, container)
    body = await asyncio.to_thread(  # five thousand entries take longer than the loop should be held
        documents.blob_list,
        _endpoint(request.call, address.account),
        address.container,
        page,
        prefix=prefix,
        delimiter=delimiter,
        marker=marker,
        limit=limit,
        with_metadata="metadata" in includes,
    )
    return Response(body, 200, None, documents.MEDIA)


async def list_containers(request: BlobRequest) -> Response:
    query, account = request.call.query, request.address.account
    prefix, marker, limit = _plain(query, "prefix"), query.get("marker", ""), _limit(query)
    start = documents.from_marker(marker)
    found = await request.storage.blobs.containers(account)
    matching = [one for one in found if one.name.startswith(prefix) and one.name >= start]
    following = documents.marker_of(matching[limit].name) if len(matching) > limit else ""
    endpoint = _endpoint(request.call, account)
    body = documents.container_list(
        endpoint, matching[:limit], prefix=prefix, marker=marker, limit=limit, following=following
    )
    return Response(body, 200, None, documents.MEDIA)


CONTAINER_OPERATIONS = {
    ("PUT", ""): Operation("Create Container", create_container, "c", "cw"),
    ("GET", ""): Operation("Get Container Properties", container_properties, "c", "r"),
    ("HEAD", ""): Operation("Get Container Properties", container_properties, "c", "r"),
    ("GET", "list"): Operation("List Blobs", list_blobs, "c", "l"),
}
ACCOUNT_OPERATIONS = {
    ("GET", "list"): Operation("List Containers", list_containers, "s", "l"),
}
# The engine of azureml-fsspec takes the first part of an address's path, our account, for the container, and what is one for
# the first folder in it. So the account can be listed as if it were a container of containers.
ACCOUNT_AS_CONTAINER = {
    ("GET", "list"): Operation("List Blobs", list_blobs, "c", "l"),
}


def _seen_from_account(page: Page, container: str) -> Page:
    entries = [
        f"{container}/{one}" if isinstance(one, str) else msgspec.structs.replace(one, name=f"{container}/{one.name}")
        for one in page.entries
    ]
    return msgspec.structs.replace(page, entries=entries)


def _plain(query: dict[str, str], name: str) -> str:
    value = query.get(name, "")
    if "\0" in value:
        raise InvalidInput(f"'{name}' holds a NUL character.", code="InvalidQueryParameterValue")
    return value


def _limit(query: dict[str, str]) -> int:
    text = query.get("maxresults", "") or str(PAGE)
    if not text.isascii() or not text.isdigit() or not int(text[:10]) > 0:
        message = f"maxresults is '{text[:20]}'; it is a number from 1 to {PAGE}."
        raise InvalidInput(message, code="OutOfRangeQueryParameterValue")
    return min(int(text[:10]), PAGE)


def _endpoint(call: Call, account: str) -> str:
    """The account's address as the client wrote it; it is told nobody else."""
    return f"{call.url.scheme}://{call.headers.get('host', '')}/{account}{STORAGE_SUFFIX}/"


def _stamp(container: Container) -> dict[str, str]:
    return {
        "etag": f'"{documents.container_etag(container)}"',
        "last-modified": headers.http_date(container.created_at),
    }
