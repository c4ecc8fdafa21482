"""From a request to an operation: find the address, know the caller, check what they may, answer."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.errors import Denied, NotServed, ZaffreError
from zaffre.gateway.app import Mount
from zaffre.gateway.call import Call
from zaffre.protocols.blob import address, documents, headers
from zaffre.protocols.blob.address import Address
from zaffre.protocols.blob.auth import Caller, Door
from zaffre.protocols.blob.blob_operations import BLOB_OPERATIONS
from zaffre.protocols.blob.container_operations import ACCOUNT_AS_CONTAINER, ACCOUNT_OPERATIONS, CONTAINER_OPERATIONS
from zaffre.protocols.blob.request import BlobRequest, Operation, Storage
from zaffre.runtime import Runtime
from zaffre.services.blobs import Blobs
from zaffre.services.tokens import Tokens
from zaffre.settings import Settings

VERSION = "2021-12-02"


def operations() -> list[tuple[str, str, str, str]]:
    """Every operation: its name, verb, what it is of, and its `comp`."""
    levels = (("account", ACCOUNT_OPERATIONS), ("container", CONTAINER_OPERATIONS), ("blob", BLOB_OPERATIONS))
    return [(found.name, verb, level, comp) for level, table in levels for (verb, comp), found in table.items()]


def mount(blobs: Blobs, tokens: Tokens, settings: Settings, runtime: Runtime) -> Mount:
    """The protocol for the gateway."""
    door = Door(blobs, tokens, settings.own_hosts)
    storage = Storage(blobs=blobs, door=door, hosts=settings.own_hosts, now=runtime.now)

    async def answer(call: Call) -> Response:
        try:
            response = await _answer(call, storage)
        except ZaffreError as error:
            response = documents.error_answer(error, call.id)
        response.headers["x-ms-version"] = call.headers.get("x-ms-version", VERSION)
        if "x-ms-client-request-id" in call.headers:
            response.headers["x-ms-client-request-id"] = call.headers["x-ms-client-request-id"]
        return response

    return Mount(owns=address.owns, answer=answer, error_form=documents.error_answer)


async def _answer(call: Call, storage: Storage) -> Response:
    place = address.parse(call.raw_path)
    caller = await storage.door.caller(call, place, storage.now())
    operation = _operation(call, place)
    call.scope["zaffre.operation"] = ("blob", operation.name)
    headers.refuse_unserved(call)
    await _authorize(call, caller, operation, storage)
    return await operation.answer(BlobRequest(call, place, caller, storage))


def _operation(call: Call, place: Address) -> Operation:
    """Raises NotServed for what is Azure's and not ours."""
    comp, restype = call.query.get("comp", "").lower(), call.query.get("restype", "").lower()
    found: Operation | None = None
    if place.blob:
        found = BLOB_OPERATIONS.get((call.method, comp)) if not restype else None
    elif place.container:
        found = CONTAINER_OPERATIONS.get((call.method, comp)) if restype == "container" else None
    elif restype == "container" and "/" in call.query.get("prefix", ""):
        found = ACCOUNT_AS_CONTAINER.get((call.method, comp))
    elif not restype:
        found = ACCOUNT_OPERATIONS.get((call.method, comp))
    if found is None:
        what = "a blob" if place.blob else "a container" if place.container else "a storage account"
        asked = " and ".join(f"{name}={value}" for name, value in (("restype", restype), ("comp", comp)) if value)
        raise NotServed(f"This server does not serve {call.method} of {what}{f' with {asked}' if asked else ''}.")
    return found


async def _authorize(call: Call, caller: Caller, operation: Operation, storage: Storage) -> None:
    try:
        caller.check(operation.resource, operation.permissions)
    except Denied:
        if caller.principal is not None:
            await storage.blobs.record_denial(call.actor, operation.name, call.raw_path)
        raise
