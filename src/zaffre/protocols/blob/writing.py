"""What all writes of a blob share: that who may only create replaces nothing, and what they answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from zaffre.errors import Conflict, Denied
from zaffre.protocols.blob import headers
from zaffre.protocols.blob.request import BlobRequest
from zaffre.services.conditions import ANY, Conditions
from zaffre.store.blobs import Blob


async def overwriting(request: BlobRequest, write: Callable[[Conditions], Awaitable[Blob]]) -> Blob:
    """Do a write; one who may only create must not replace what is there."""
    conditions = headers.conditions(request.call)
    if request.caller.may("o", "w"):
        return await write(conditions)
    try:
        return await write(msgspec.structs.replace(conditions, none_match=(*conditions.none_match, ANY)))
    except Conflict:
        message = "The blob exists, and the signature allows to create blobs but not to replace them (w)."
        raise Denied(message, code="UnauthorizedBlobOverwrite") from None


def written(blob: Blob) -> dict[str, str]:
    """The headers of an answer to a write."""
    return {**headers.stamp(blob), "x-ms-request-server-encrypted": "false"}
