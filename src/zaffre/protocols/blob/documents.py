"""The XML of the Blob service: listings and errors out, block lists in."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Container as Container_
from collections.abc import Iterable
from typing import Literal, cast
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from starlette.responses import Response

from zaffre.errors import InvalidInput, Unauthenticated, ZaffreError
from zaffre.protocols.blob.headers import http_date
from zaffre.services.blobs import BLOCKS_LIMIT, UNLISTABLE, Page
from zaffre.services.blocks import Pick
from zaffre.store.blobs import Blob, Block, Container

MEDIA = "application/xml"
_HEAD = '<?xml version="1.0" encoding="utf-8"?>'
_LINE_ENDS = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}  # a parser would read them as other white space
_SPECIAL = re.compile(f"[&<>\r\n\t]|{UNLISTABLE.pattern}")
_SOURCES = ("Latest", "Uncommitted", "Committed")
_CONTENT = {
    "cache-control": "Cache-Control",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "content-disposition": "Content-Disposition",
}
_COPY = {
    "x-ms-copy-id": "CopyId",
    "x-ms-copy-source": "CopySource",
    "x-ms-copy-status": "CopyStatus",
    "x-ms-copy-progress": "CopyProgress",
    "x-ms-copy-completion-time": "CopyCompletionTime",
}


def error_answer(error: ZaffreError, request_id: str) -> Response:
    """An error as Azure Storage's clients read it; the code is in a header, too."""
    headers = {"x-ms-error-code": error.code}
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if error.status == 304:
        return Response(None, 304, headers)
    message = _text(f"{error.message}\nRequestId:{request_id}")
    body = f"{_HEAD}<Error><Code>{_text(error.code)}</Code><Message>{message}</Message></Error>"
    return Response(body, error.status, headers, MEDIA)


def container_list(
    endpoint: str, found: Iterable[Container], prefix: str, marker: str, limit: int, following: str
) -> str:
    parts = [_open(endpoint, "", prefix=prefix, marker=marker, limit=limit), "<Containers>"]
    for container in found:
        parts.append(
            f"<Container><Name>{_text(container.name)}</Name><Properties>"
            f"<Last-Modified>{http_date(container.created_at)}</Last-Modified><Etag>{container_etag(container)}</Etag>"
            "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState></Properties></Container>"
        )
    return "".join([*parts, "</Containers>", _close(following)])


def blob_list(
    endpoint: str,
    container: str,
    page: Page,
    *,
    prefix: str,
    delimiter: str,
    marker: str,
    limit: int,
    includes: Container_[str],
) -> str:
    """`EnumerationResults`, blobs and prefixes in one order; of `includes`, `metadata` and `copy` add something."""
    elements = {**_CONTENT, **_COPY} if "copy" in includes else _CONTENT
    parts = [_open(endpoint, container, prefix=prefix, delimiter=delimiter, marker=marker, limit=limit), "<Blobs>"]
    for entry in page.entries:
        if isinstance(entry, str):
            parts.append(f"<BlobPrefix><Name>{_text(entry)}</Name></BlobPrefix>")
        else:
            parts.append(_blob(entry, elements, "metadata" in includes))
    return "".join([*parts, "</Blobs>", _close(marker_of(page.next) if page.next else "")])


def service_properties() -> str:
    """What this server does of Azure's services beside the blobs: none of them."""
    off = "<Version>1.0</Version><Enabled>false</Enabled><RetentionPolicy><Enabled>false</Enabled></RetentionPolicy>"
    return (
        f"{_HEAD}<StorageServiceProperties>"
        "<Logging><Version>1.0</Version><Read>false</Read><Write>false</Write><Delete>false</Delete>"
        "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></Logging>"
        f"<HourMetrics>{off}</HourMetrics><MinuteMetrics>{off}</MinuteMetrics><Cors/>"
        "<DeleteRetentionPolicy><Enabled>false</Enabled></DeleteRetentionPolicy>"
        "<StaticWebsite><Enabled>false</Enabled></StaticWebsite></StorageServiceProperties>"
    )


def no_access_policies() -> str:
    return f"{_HEAD}<SignedIdentifiers/>"


def block_list(committed: Iterable[Block] | None, staged: Iterable[Block] | None) -> str:
    """Either list may be left out by None."""
    parts = [_HEAD, "<BlockList>"]
    for name, blocks in (("CommittedBlocks", committed), ("UncommittedBlocks", staged)):
        if blocks is not None:
            items = (f"<Block><Name>{_text(one.id)}</Name><Size>{one.size}</Size></Block>" for one in blocks)
            parts.append(f"<{name}>{''.join(items)}</{name}>")
    return "".join([*parts, "</BlockList>"])


def parse_block_list(body: bytes) -> list[Pick]:
    """The blocks of a Put Block List, in order. Raises InvalidInput; a document with a DTD is refused unread."""
    picks: list[Pick] = []
    path: list[str] = []
    text: list[str] = []

    def start(name: str, _attributes: dict[str, str]) -> None:
        if len(path) > 1 or (not path and name != "BlockList") or (path and name not in _SOURCES):
            raise _bad_list(f"the element <{name}> has no place in it")
        path.append(name)
        text.clear()

    def end(name: str) -> None:
        path.pop()
        if path:
            if len(picks) == BLOCKS_LIMIT:
                raise InvalidInput(f"More than {BLOCKS_LIMIT} blocks are listed.", code="BlockListTooLong")
            source = cast(Literal["Latest", "Uncommitted", "Committed"], name)
            picks.append(Pick(source=source, id=check_block_id("".join(text).strip())))

    def doctype(*_: object) -> None:
        raise _bad_list("it has a document type")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise _bad_list(str(error)) from None
    return picks


def check_block_id(text: str) -> str:
    """Raise InvalidInput unless it is base64 of at most 64 bytes."""
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if not 0 < size <= 64:
        raise InvalidInput(f"'{text[:100]}' is not a block id: base64 of 1 to 64 bytes.", code="InvalidBlockId")
    return text


def container_etag(container: Container) -> str:
    return f"0x{container.created_at:016X}"


def marker_of(name: str) -> str:
    """Where a listing goes on, as a text clients hand back unread."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def from_marker(marker: str) -> str:
    """Raises InvalidInput for one that we did not give out."""
    try:
        name = base64.b64decode(marker, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        name = "\0"
    if "\0" in name:
        message = "The marker is not one that a listing of this server ended with."
        raise InvalidInput(message, code="InvalidQueryParameterValue")
    return name


def _open(endpoint: str, container: str, **echo: str | int) -> str:
    names = {"prefix": "Prefix", "delimiter": "Delimiter", "marker": "Marker", "limit": "MaxResults"}
    fields = "".join(f"<{names[name]}>{_text(str(value))}</{names[name]}>" for name, value in echo.items() if value)
    where = f" ContainerName={quoteattr(container)}" if container else ""
    return f"{_HEAD}<EnumerationResults ServiceEndpoint={quoteattr(endpoint)}{where}>{fields}"


def _close(following: str) -> str:
    return f"<NextMarker>{_text(following)}</NextMarker></EnumerationResults>"


def _blob(blob: Blob, elements: dict[str, str], with_metadata: bool) -> str:
    told = ((elements[name], value) for name, value in blob.headers.items() if name in elements)
    content = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in told)
    md5 = f"<Content-MD5>{_text(blob.md5)}</Content-MD5>" if blob.md5 else ""
    found = (
        f"<Blob><Name>{_text(blob.name)}</Name><Properties>"
        f"<Creation-Time>{http_date(blob.created_at)}</Creation-Time>"
        f"<Last-Modified>{http_date(blob.modified_at)}</Last-Modified><Etag>{blob.etag}</Etag>"
        f"<Content-Length>{blob.size}</Content-Length><Content-Type>{_text(blob.content_type)}</Content-Type>"
        f"{content}{md5}<BlobType>BlockBlob</BlobType><LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>"
        "<ServerEncrypted>false</ServerEncrypted></Properties>"
    )
    if with_metadata:
        items = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in blob.metadata.items())
        found += f"<Metadata>{items}</Metadata>"
    return found + "</Blob>"


def _text(value: str) -> str:
    if _SPECIAL.search(value) is None:
        return value
    return escape(UNLISTABLE.sub("?", value), _LINE_ENDS)


def _bad_list(why: str) -> InvalidInput:
    return InvalidInput(f"The block list cannot be read: {why}.", code="InvalidXmlDocument")
