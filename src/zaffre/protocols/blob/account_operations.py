"""The operations on an account."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.protocols.blob import documents
from zaffre.protocols.blob.account_information import INFORMATION, service_properties
from zaffre.protocols.blob.batch import batch
from zaffre.protocols.blob.container_operations import endpoint, limit, list_blobs, plain
from zaffre.protocols.blob.request import BlobRequest, Operation, Table


async def list_containers(request: BlobRequest) -> Response:
    query, account = request.call.query, request.address.account
    prefix, marker, most = plain(query, "prefix"), query.get("marker", ""), limit(query)
    start = documents.from_marker(marker)
    found = await request.storage.blobs.containers(account)
    matching = [one for one in found if one.name.startswith(prefix) and one.name >= start]
    following = documents.marker_of(matching[most].name) if len(matching) > most else ""
    body = documents.container_list(
        endpoint(request), matching[:most], prefix=prefix, marker=marker, limit=most, following=following
    )
    return Response(body, 200, None, documents.MEDIA)


ACCOUNT_OPERATIONS: Table = {
    **INFORMATION,
    ("GET", "", "list"): Operation("List Containers", list_containers, "s", "l"),
    # The engine of azureml-fsspec takes the first part of an address's path, our account, for the container, and what is one
    # for the first folder in it. So the account can be listed as if it were a container of containers.
    ("GET", "container", "list"): Operation("List Blobs", list_blobs, "c", "l"),
    ("GET", "service", "properties"): Operation("Get Blob Service Properties", service_properties, "s", "r"),
    ("POST", "", "batch"): Operation("Blob Batch", batch, "o", "d"),
}
