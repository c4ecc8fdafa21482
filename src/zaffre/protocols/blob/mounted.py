"""From a request to an operation: find the address, know the caller, check what they may, answer."""

from __future__ import annotations

import dataclasses

from starlette.responses import Response

from zaffre.errors import Denied, ZaffreError
from zaffre.gateway.app import Mount
from zaffre.gateway.call import Call
from zaffre.protocols.blob import address, copying, documents, refused
from zaffre.protocols.blob.account_operations import ACCOUNT_OPERATIONS
from zaffre.protocols.blob.address import Address
from zaffre.protocols.blob.auth import Caller, Door
from zaffre.protocols.blob.blob_operations import BLOB_OPERATIONS
from zaffre.protocols.blob.container_operations import CONTAINER_OPERATIONS
from zaffre.protocols.blob.request import BlobRequest, Operation, Storage
from zaffre.runtime import Runtime
from zaffre.services.blobs import Blobs
from zaffre.services.kinds.datastores import account_pk
from zaffre.services.outside_blobs import OutsideAccounts
from zaffre.services.tokens import Tokens
from zaffre.settings import Settings

VERSION = "2021-12-02"
_LEVELS = {"account": ACCOUNT_OPERATIONS, "container": CONTAINER_OPERATIONS, "blob": BLOB_OPERATIONS}
_SAFE = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox"}
"""What people upload is shown from the origin that the Studio has: it must not be taken for a page of ours and run."""


def operations() -> list[tuple[str, str, str, str]]:
    """Every operation: its name, verb, what it is of, and its `comp`."""
    by_address = [
        (found.name, verb, level, comp)
        for level, table in _LEVELS.items()
        for (verb, _restype, comp), found in table.items()
    ]
    return [*by_address, *copying.OPERATIONS]


def mount(
    blobs: Blobs, tokens: Tokens, settings: Settings, runtime: Runtime, outside: OutsideAccounts | None = None
) -> Mount:
    """The protocol for the gateway; `outside` are the datastores that it reaches as well."""
    door = Door(blobs, tokens, settings.own_hosts)

    async def answer(call: Call) -> Response:
        try:
            place = address.parse(call.raw_path, call.headers.get("host", ""))
        except ZaffreError as error:
            return _finished(call, documents.error_answer(error, call.id))
        return await answer_at(call, place)

    async def answer_at(call: Call, place: Address) -> Response:
        try:
            response = await _answer(call, place, storage, outside)
        except ZaffreError as error:
            response = documents.error_answer(error, call.id)
        return _finished(call, response)

    storage = Storage(blobs=blobs, door=door, hosts=settings.own_hosts, now=runtime.now, answer=answer_at)
    return Mount(owns=address.owns, answer=answer, error_form=documents.error_answer)


def _finished(call: Call, response: Response) -> Response:
    response.headers["x-ms-version"] = call.headers.get("x-ms-version", VERSION)
    if "x-ms-client-request-id" in call.headers:
        response.headers["x-ms-client-request-id"] = call.headers["x-ms-client-request-id"]
    response.headers.update(_SAFE)
    return response


async def _answer(call: Call, place: Address, storage: Storage, outside: OutsideAccounts | None) -> Response:
    caller = await storage.door.caller(call, place, storage.now())
    if outside is not None and account_pk(place.account) is not None:
        storage = dataclasses.replace(storage, blobs=await outside.blobs(place.account, caller.workspace))
    operation = _operation(call, place)
    call.scope["zaffre.operation"] = ("blob", operation.name)
    refused.check(call)
    await _authorize(call, caller, operation, storage)
    return await operation.answer(BlobRequest(call, place, caller, storage))


def _operation(call: Call, place: Address) -> Operation:
    """Raises NotServed for what is Azure's and not ours."""
    comp, restype = call.query.get("comp", "").lower(), call.query.get("restype", "").lower()
    level = "blob" if place.blob else "container" if place.container else "account"
    found = _LEVELS[level].get((call.method, restype, comp))
    if found is None:
        what = {"blob": "a blob", "container": "a container", "account": "a storage account"}[level]
        raise refused.operation(call, what, restype, comp)
    return found


async def _authorize(call: Call, caller: Caller, operation: Operation, storage: Storage) -> None:
    try:
        caller.check(operation.resource, operation.permissions)
    except Denied:
        if caller.principal is not None:
            await storage.blobs.record_denial(call.actor, operation.name, call.raw_path)
        raise
