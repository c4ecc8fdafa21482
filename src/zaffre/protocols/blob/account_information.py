"""What kind of storage this is, for clients that ask before they act."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.protocols.blob import documents
from zaffre.protocols.blob.request import BlobRequest, Operation, Table


async def account_information(_request: BlobRequest) -> Response:
    """No folders (a flat namespace), no tiers, no second location."""
    kind = {"x-ms-sku-name": "Standard_LRS", "x-ms-account-kind": "StorageV2", "x-ms-is-hns-enabled": "false"}
    return Response(None, 200, kind)


async def service_properties(_request: BlobRequest) -> Response:
    return Response(documents.service_properties(), 200, None, documents.MEDIA)


INFORMATION: Table = {
    (verb, "account", "properties"): Operation("Get Account Information", account_information, "", "")
    for verb in ("GET", "HEAD")
}
"""Asked at any address of the account, by anyone who is known there."""
