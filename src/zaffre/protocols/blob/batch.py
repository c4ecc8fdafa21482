"""Several deletions in one request: a multipart body of requests, each with a credential of its own.

Azure's library signs each as if it went alone, to a path that may or may not begin with the account as the library
knows it.
"""

from __future__ import annotations

import re
import secrets
from urllib.parse import unquote

import msgspec
from starlette.responses import Response

from zaffre.errors import InvalidInput, NotServed
from zaffre.gateway.call import Call
from zaffre.protocols.blob import address
from zaffre.protocols.blob.address import Address
from zaffre.protocols.blob.request import BlobRequest

REQUESTS_LIMIT = 256
BODY_LIMIT = 4 * 1024 * 1024
_BOUNDARY = re.compile(r'multipart/mixed\s*;\s*boundary="?([^";,\s]{1,70})"?\s*', re.IGNORECASE)
_REQUEST_LINE = re.compile(r"([A-Z]+) (/[^ ?]*)(?:\?([^ ]*))? HTTP/1\.1")
_EDGE = ("x-forwarded-for", "x-forwarded-proto")
_REASONS = {202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}


class Inner(msgspec.Struct, frozen=True, kw_only=True):
    """One request of the batch; names of headers are in lower case."""

    content_id: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]


async def batch(request: BlobRequest) -> Response:
    """Do what the body asks, one after the other; one that fails does not stop the others."""
    call = request.call
    match = _BOUNDARY.fullmatch(call.headers.get("content-type", ""))
    if match is None:
        raise InvalidInput("The body of a batch is 'multipart/mixed' with a boundary.", code="InvalidHeaderValue")
    inners = parse(await call.body_bytes(BODY_LIMIT), match[1])
    places = [place_of(request, inner) for inner in inners]  # all are looked at before the first is done
    boundary = f"batchresponse_{secrets.token_hex(16)}"
    parts = [await _answer(request, inner, place) for inner, place in zip(inners, places, strict=True)]
    text = "".join(f"--{boundary}\r\n{part}" for part in parts) + f"--{boundary}--\r\n"
    return Response(text.encode("latin-1", "replace"), 202, None, f"multipart/mixed; boundary={boundary}")


def parse(body: bytes, boundary: str) -> list[Inner]:
    """The requests in the body. Raises InvalidInput for anything else in it."""
    sections = body.decode("latin-1").split(f"--{boundary}")
    if len(sections) < 3 or sections[0].strip() or not sections[-1].startswith("--"):
        raise _bad("its parts are not as the boundary has it")
    found = [_inner(section) for section in sections[1:-1]]
    if len(found) > REQUESTS_LIMIT:
        raise InvalidInput(
            f"The batch has {len(found)} requests; at most {REQUESTS_LIMIT} are taken.",
            code="ExceedsMaxBatchRequestCount",
        )
    return found


def _inner(section: str) -> Inner:
    lines = section.strip("\r\n").split("\n")
    lines = [line.rstrip("\r") for line in lines]
    if "" not in lines:
        raise _bad("a part has no request")
    split = lines.index("")
    outer = dict(_headers(lines[:split]))
    if outer.get("content-type", "").lower() != "application/http":
        raise _bad("a part is not 'application/http'")
    line, *headers = lines[split + 1 :] or [""]
    match = _REQUEST_LINE.fullmatch(line.strip())
    if match is None:
        raise _bad(f"'{line[:80]}' is not a request")
    return Inner(
        content_id=outer.get("content-id", "")[:100],
        method=match[1],
        path=match[2],
        query=match[3] or "",
        headers=[(name, value) for name, value in _headers(headers) if name != "host" and name not in _EDGE],
    )


def _headers(lines: list[str]) -> list[tuple[str, str]]:
    found = []
    for line in filter(None, lines):
        name, colon, value = line.partition(":")
        if not colon:
            raise _bad(f"'{line[:80]}' is not a header")
        found.append((name.strip().lower(), value.strip()))
    return found


def place_of(request: BlobRequest, inner: Inner) -> Address:
    """The blob that is to be deleted; it is of the batch's container where that has one. Raises InvalidInput."""
    if inner.method != "DELETE":
        raise NotServed(f"A batch may hold DELETE of blobs, not {inner.method[:20]}.")
    account, container = request.address.account, request.address.container
    found = [address.within(account, inner.path.removeprefix("/"))]
    for name in request.storage.door.names(account):
        prefix = f"/{name}/"
        if unquote(inner.path).startswith(prefix):
            found.append(address.within(account, inner.path.split("/", prefix.count("/"))[-1]))
    fitting = [one for one in found if one.blob and container in ("", one.container)]
    if not fitting:
        of = f" of the container {container}" if container else ""
        raise InvalidInput(f"'{inner.path[:200]}' is not a blob{of}.", code="InvalidInput")
    return fitting[-1]


async def _answer(request: BlobRequest, inner: Inner, place: Address) -> str:
    response = await request.storage.answer(_call(request.call, inner), place)
    lines = [f"HTTP/1.1 {response.status_code} {_REASONS.get(response.status_code, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items() if name != "content-length"]
    body = bytes(response.body).decode("latin-1")
    head = f"Content-Type: application/http\r\nContent-ID: {inner.content_id}\r\n\r\n"
    return head + "\r\n".join([*lines, f"content-length: {len(body)}"]) + f"\r\n\r\n{body}\r\n"


def _call(outer: Call, inner: Inner) -> Call:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in inner.headers]
    # Where the request comes from is the same for all, and only the edge can have said it.
    headers += [(name, value) for name, value in outer.headers.raw if name.decode("latin-1") in ("host", *_EDGE)]
    scope = {
        **{name: outer.scope[name] for name in ("type", "scheme", "client", "server") if name in outer.scope},
        "method": inner.method,
        "path": unquote(inner.path),
        "raw_path": inner.path.encode("latin-1"),
        "query_string": inner.query.encode("latin-1"),
        "headers": headers,
    }
    made = Call(scope, _no_body)
    made.id = outer.id
    return made


async def _no_body() -> dict[str, object]:
    return {"type": "http.request", "body": b"", "more_body": False}


def _bad(why: str) -> InvalidInput:
    return InvalidInput(f"The batch cannot be read: {why}.", code="InvalidInput")
