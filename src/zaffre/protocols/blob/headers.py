"""The headers of blob requests and answers, to and from our own words."""

from __future__ import annotations

import base64
import binascii
import functools
import re
from email.utils import formatdate, parsedate_to_datetime

from zaffre.errors import InvalidInput, TooLarge, ZaffreError
from zaffre.gateway.call import Call
from zaffre.services.blobs import OCTETS, Content
from zaffre.services.conditions import ANY, REPLACES, REPLACES_MARK, Conditions
from zaffre.store.blobs import Blob

METADATA_LIMIT = 8 * 1024
BLOB_LIMIT = 5000 * 1024 * 1024  # Azure's, of Put Blob; what is larger comes in blocks
BLOCK_LIMIT = 4000 * 1024 * 1024
_METADATA = "x-ms-meta-"
_METADATA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_CONTENT = ("cache-control", "content-encoding", "content-language", "content-disposition")
_COPIED = "x-ms-copy-"  # how a blob remembers that it was copied, until somebody writes or describes it anew


class InvalidRange(ZaffreError):
    """A range that lies behind the blob's end."""

    status = 416
    code = "InvalidRange"


def conditions(call: Call) -> Conditions:
    """The request's conditions.

    azureml-mlflow uploads with `If-None-Match: *`, also what MLflow means to write again; the address it was given then
    says which version it replaces (services.run_artifacts), and that is the condition.
    """
    match, none_match = (_etags(call.headers.get(name, "")) for name in ("if-match", "if-none-match"))
    replaced = call.query.get(REPLACES, "")
    if replaced.startswith(REPLACES_MARK) and none_match == (ANY,):
        match, none_match = (replaced.removeprefix(REPLACES_MARK),), ()
    return Conditions(
        match=match,
        none_match=none_match,
        modified_since=_time(call, "if-modified-since"),
        unmodified_since=_time(call, "if-unmodified-since"),
    )


def source_conditions(call: Call) -> Conditions:
    """Those of a copy's source."""
    return Conditions(
        match=_etags(call.headers.get("x-ms-source-if-match", "")),
        none_match=_etags(call.headers.get("x-ms-source-if-none-match", "")),
        modified_since=_time(call, "x-ms-source-if-modified-since"),
        unmodified_since=_time(call, "x-ms-source-if-unmodified-since"),
    )


def metadata(call: Call) -> dict[str, str]:
    """`x-ms-meta-*` headers, names as HTTP/1.1 brings them to us: in lower case."""
    found = {name[len(_METADATA) :]: value for name, value in call.headers.items() if name.startswith(_METADATA)}
    for name in found:
        if not _METADATA_NAME.fullmatch(name):
            message = f"The metadata name '{name}' is not letters, digits and '_', beginning with no digit."
            raise InvalidInput(message, code="InvalidMetadata")
    if sum(len(name) + len(value) for name, value in found.items()) > METADATA_LIMIT:
        raise InvalidInput(f"The metadata is larger than {METADATA_LIMIT} bytes.", code="MetadataTooLarge")
    return found


def content(call: Call, *, fall_back: bool) -> Content:
    """`x-ms-blob-content-*`; with `fall_back` the request's own headers where those are missing, as Put Blob has it."""
    given = call.headers
    found = {name: given.get(f"x-ms-blob-{name}") or (given.get(name) if fall_back else None) for name in _CONTENT}
    type_ = given.get("x-ms-blob-content-type") or (given.get("content-type") if fall_back else None)
    md5 = given.get("x-ms-blob-content-md5")
    if md5:
        _md5(md5)
    return Content(
        content_type=type_ or OCTETS,
        headers={name: value for name, value in found.items() if value},
        md5=md5 or None,
    )


def body_md5(call: Call, name: str = "content-md5") -> bytes | None:
    """The MD5 the body must have, by this header."""
    text = call.headers.get(name)
    return _md5(text) if text else None


def body_size(call: Call, limit: int) -> int | None:
    """How long the body is, if that was declared. Raises TooLarge before a byte of it is read."""
    text = call.headers.get("content-length", "")
    size = int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None
    if size is not None and size > limit:
        raise TooLarge(f"The body is {size} bytes long; at most {limit} are taken here.", code="RequestBodyTooLarge")
    return size


def byte_range(call: Call, size: int, names: tuple[str, ...] = ("x-ms-range", "range")) -> tuple[int, int] | None:
    """First byte and the one behind the last, of the first of these headers; None when all is asked for."""
    text = next((call.headers[name] for name in names if call.headers.get(name)), "")
    if not text:
        return None
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or match[0] == "bytes=-":
        raise InvalidInput(
            f"The range '{text[:100]}' is not of the form 'bytes=first-last'.", code="InvalidHeaderValue"
        )
    if not match[1]:
        start, end = max(size - int(match[2]), 0), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            raise InvalidInput(f"The range '{text[:100]}' ends before it begins.", code="InvalidHeaderValue")
    if start >= size or start >= end:
        raise InvalidRange(f"The range '{text[:100]}' lies outside the {size} bytes of the blob.")
    return start, end


def stamp(blob: Blob) -> dict[str, str]:
    """What every answer about a blob says."""
    return {"etag": f'"{blob.etag}"', "last-modified": http_date(blob.modified_at)}


def describe(blob: Blob) -> dict[str, str]:
    """All that a read of a blob, or of its properties, says of it, but for the length."""
    return {
        **stamp(blob),
        "content-type": blob.content_type,
        "accept-ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-creation-time": http_date(blob.created_at),
        "x-ms-lease-state": "available",
        "x-ms-lease-status": "unlocked",
        "x-ms-server-encrypted": "false",
        **blob.headers,
        **metadata_of(blob),
    }


def copied(source: str, size: int, id_: str, at: int) -> dict[str, str]:
    """What a blob remembers of the copy that made it."""
    return {
        f"{_COPIED}id": id_,
        f"{_COPIED}source": source,
        f"{_COPIED}status": "success",
        f"{_COPIED}progress": f"{size}/{size}",
        f"{_COPIED}completion-time": http_date(at),
    }


def own(found: dict[str, str]) -> dict[str, str]:
    """A blob's headers without those of the copy that made it."""
    return {name: value for name, value in found.items() if not name.startswith(_COPIED)}


def metadata_of(blob: Blob) -> dict[str, str]:
    return {_METADATA + name: value for name, value in blob.metadata.items()}


def http_date(ms: int) -> str:
    return _http_second(ms // 1000)


@functools.lru_cache(4096)  # most entries of a listing share their seconds
def _http_second(second: int) -> str:
    return formatdate(second, usegmt=True)


def _etags(text: str) -> tuple[str, ...]:
    return tuple(part.strip().removeprefix("W/").strip('"') for part in text.split(",") if part.strip())


def _time(call: Call, name: str) -> int | None:
    text = call.headers.get(name)
    if not text:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"The header {name} is not an HTTP date: '{text[:60]}'.", code="InvalidHeaderValue"
        ) from None


def _md5(text: str) -> bytes:
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != 16:
        raise InvalidInput(f"'{text[:60]}' is not the base64 of an MD5.", code="InvalidMd5")
    return digest
