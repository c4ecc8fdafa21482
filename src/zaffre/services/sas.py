"""Signed access to storage: shared access signatures (SAS) of an account, a container or a blob, and Shared Key.

The texts that are signed are Azure's own, so a SAS made by any Azure Storage library with the account's key is good.
Sources: "Create an account SAS", "Create a service SAS", "Authorize with Shared Key" in Azure Storage's REST reference.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote

import msgspec

from zaffre.errors import Denied
from zaffre.runtime import from_iso, iso

VERSION = "2021-06-08"
ALL_PERMISSIONS = "rwdlac"
CLOCK_SKEW_MS = 15 * 60 * 1000
_OLDEST = "2018-11-09"  # older versions sign other texts
_WITH_ENCRYPTION_SCOPE = "2020-12-06"
_OVERRIDES = {
    "rscc": "cache-control",
    "rscd": "content-disposition",
    "rsce": "content-encoding",
    "rscl": "content-language",
    "rsct": "content-type",
}
# What these bind a SAS to does not exist here; ignoring one would widen what its maker meant to allow.
_UNSERVED = {
    "si": "stored access policies",
    "skoid": "user delegation keys",
    "saoid": "user delegation keys",
    "suoid": "user delegation keys",
    "ses": "encryption scopes",
    "sdd": "directory signatures",
}
_SIGNED = ("sv", "ss", "srt", "sp", "st", "se", "sip", "spr", "sr", "snapshot", *_OVERRIDES)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LETTERS = {"sp": "racwdxyltmeopfiu", "ss": "bqtf", "srt": "sco"}
_PROTOCOLS = ("", "https", "https,http")


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a signature allows: Azure's letters for permissions, and for the resources (s)ervice, (c)ontainer, (o)bject.

    `container` and `blob` limit it to one; `overrides` are the response headers that the signature sets.
    """

    permissions: frozenset[str]
    resources: frozenset[str]
    container: str | None = None
    blob: str | None = None
    overrides: dict[str, str] = {}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `names` are the ways a client may have written the account's name when it signed."""

    names: tuple[str, ...]
    container: str
    blob: str
    now: int
    client: str
    https: bool


def account_sas(
    account: str,
    key: str,
    *,
    permissions: str = ALL_PERMISSIONS,
    expiry: int,
    start: int | None = None,
    resources: str = "sco",
) -> str:
    """A SAS for the whole account as a query string; `expiry` and `start` in milliseconds since 1970."""
    query = {"sv": VERSION, "ss": "b", "srt": resources, "sp": permissions, "se": _seconds(expiry)}
    if start is not None:
        query["st"] = _seconds(start)
    return _with_signature(query, key, _account_text(query, account))


def service_sas(
    account: str, key: str, container: str, blob: str = "", *, permissions: str, expiry: int, start: int | None = None
) -> str:
    """A SAS for one container, or one blob of it, as a query string."""
    query = {"sv": VERSION, "sr": "b" if blob else "c", "sp": permissions, "se": _seconds(expiry)}
    if start is not None:
        query["st"] = _seconds(start)
    return _with_signature(query, key, _service_text(query, account, container, blob))


def verify_sas(query: Mapping[str, str], key: str, asked: Asked) -> Grant:
    """What the SAS in `query` (names in lower case, values decoded) grants. Raises Denied when it is not good."""
    version = query.get("sv", "")
    if not _DATE.fullmatch(version):
        raise _refused(f"The signature's version (sv) is '{version[:20]}'; expected a date such as {VERSION}.")
    if version < _OLDEST:
        raise _refused(f"The signature's version '{version}' is older than {_OLDEST}; make it with a newer library.")
    for name, what in _UNSERVED.items():
        if query.get(name):
            raise _refused(f"The signature uses {what} ({name}), which this server does not have.")
    # Fields are signed as lines: one that held a line end could stand for several others, and a name for fields.
    if any("\n" in query.get(name, "") for name in _SIGNED):
        raise _refused("A parameter of the signature holds a line end.")
    of_account = "ss" in query or "srt" in query
    grant = _account_grant(query, key, asked) if of_account else _service_grant(query, key, asked)
    _check_form(query)
    _check_time(query, asked.now)
    if query.get("spr") == "https" and not asked.https:
        raise Denied("The signature is good for https only.", code="AuthorizationProtocolMismatch")
    if query.get("sip") and not _address_fits(query["sip"], asked.client):
        raise Denied(f"The signature is not good for the address {asked.client}.", code="AuthorizationSourceIPMismatch")
    return grant


def verify_shared_key(
    method: str,
    raw_path: str,
    raw_query: str,
    headers: Iterable[tuple[str, str]],
    key: str,
    names: tuple[str, ...],
    now: int,
) -> None:
    """Check a request's `Authorization: SharedKey account:signature`. Raises Denied when it is not good."""
    given = [(name.lower(), value.strip()) for name, value in headers]
    values = dict(given)
    _, _, credential = values.get("authorization", "").partition(" ")
    account, _, signature = credential.strip().rpartition(":")
    if account not in names:
        raise _refused(f"The request is signed for the account '{account[:100]}', not for this one.")
    _check_date(values.get("x-ms-date") or values.get("date", ""), now)
    length = values.get("content-length", "")
    standard = [
        method,
        values.get("content-encoding", ""),
        values.get("content-language", ""),
        "" if length == "0" else length,
        values.get("content-md5", ""),
        values.get("content-type", ""),
        values.get("date", ""),
        *(
            values.get(name, "")
            for name in ("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range")
        ),
    ]
    own = [(name, value) for name, value in given if name.startswith("x-ms-")]
    resource = f"/{account}{raw_path}" + "".join(f"\n{name}:{value}" for name, value in _canonical_query(raw_query))
    for order in (_azure_order, str):  # libraries differ in how they sort hyphens
        lines = [f"{name}:{value}" for name, value in sorted(own, key=lambda pair: order(pair[0]))]
        if _matches(key, "\n".join([*standard, *lines, resource]), signature):
            return
    raise _refused("The request's signature is not the one the account's key makes.")


def sign(key: str, text: str) -> str:
    """HMAC-SHA256 of `text` with a base64 key, in base64."""
    return base64.b64encode(_digest(key, text)).decode()


def _account_grant(query: Mapping[str, str], key: str, asked: Asked) -> Grant:
    if not any(_matches(key, _account_text(query, name), query.get("sig", "")) for name in asked.names):
        raise _refused("The signature is not the one the account's key makes.")
    if "b" not in query.get("ss", ""):
        raise Denied("The signature is not for the blob service.", code="AuthorizationServiceMismatch")
    return Grant(permissions=frozenset(query.get("sp", "")), resources=frozenset(query.get("srt", "")))


def _service_grant(query: Mapping[str, str], key: str, asked: Asked) -> Grant:
    kind = query.get("sr", "")
    if kind not in ("b", "c"):
        raise _refused(
            f"The signature is for a resource of the kind '{kind[:10]}'; here are containers (c) and blobs (b)."
        )
    blob = asked.blob if kind == "b" else ""
    texts = (_service_text(query, name, asked.container, blob) for name in asked.names)
    if not any(_matches(key, text, query.get("sig", "")) for text in texts):
        raise _refused("The signature is not the one the account's key makes for this address.")
    return Grant(
        permissions=frozenset(query.get("sp", "")),
        resources=frozenset("o" if kind == "b" else "co"),
        container=asked.container,
        blob=blob or None,
        overrides={header: query[name] for name, header in _OVERRIDES.items() if query.get(name)},
    )


def _account_text(query: Mapping[str, str], account: str) -> str:
    fields = ["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"]
    if query["sv"] >= _WITH_ENCRYPTION_SCOPE:
        fields.append("ses")
    return "\n".join([account, *(query.get(name, "") for name in fields)]) + "\n"


def _service_text(query: Mapping[str, str], account: str, container: str, blob: str) -> str:
    resource = f"/blob/{account}/{container}" + (f"/{blob}" if blob else "")
    fields = ["sip", "spr", "sv", "sr", "snapshot", "ses", "rscc", "rscd", "rsce", "rscl", "rsct"]
    if query["sv"] < _WITH_ENCRYPTION_SCOPE:
        fields.remove("ses")
    head = [query.get("sp", ""), query.get("st", ""), query.get("se", ""), resource, query.get("si", "")]
    return "\n".join([*head, *(query.get(name, "") for name in fields)])


def _with_signature(query: dict[str, str], key: str, text: str) -> str:
    query["sig"] = sign(key, text)
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())


def _matches(key: str, text: str, signature: str) -> bool:
    try:
        given = base64.b64decode(signature.replace(" ", "+"), validate=True)  # a '+' that somebody left unquoted
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, _digest(key, text))


def _digest(key: str, text: str) -> bytes:
    return hmac.digest(base64.b64decode(key), text.encode(), hashlib.sha256)


def _check_form(query: Mapping[str, str]) -> None:
    """Whoever has the key may sign nonsense; taking it for something would be a guess."""
    for name, letters in _LETTERS.items():
        if not set(query.get(name, "")) <= set(letters):
            raise _refused(f"The signature's {name} is '{query[name][:20]}'; it can have the letters '{letters}'.")
    if query.get("spr", "") not in _PROTOCOLS:
        raise _refused(f"The signature's spr is '{query['spr'][:20]}'; it can be 'https' or 'https,http'.")
    if query.get("sip"):
        try:
            _addresses(query["sip"])
        except ValueError:
            raise _refused(f"The signature's sip is '{query['sip'][:60]}': no address and no range of them.") from None


def _check_time(query: Mapping[str, str], now: int) -> None:
    try:
        start = from_iso(query["st"]) if query.get("st") else None
        end = from_iso(query.get("se", ""))
    except (ValueError, OverflowError):
        raise _refused("The signature's times (st, se) are not ISO 8601 times.") from None
    if now >= end:
        raise _refused(f"The signature expired at {query['se']}. Ask for a new one.")
    if start is not None and now < start:
        raise _refused(f"The signature is not good before {query['st']}.")


def _check_date(text: str, now: int) -> None:
    try:
        signed = parsedate_to_datetime(text).timestamp() * 1000
    except (ValueError, OverflowError):
        raise _refused("A signed request needs an x-ms-date or Date header that says when it was signed.") from None
    if abs(now - signed) > CLOCK_SKEW_MS:
        raise _refused(f"The request was signed at {text}, more than 15 minutes from the server's time {iso(now)}.")


def _address_fits(wanted: str, client: str) -> bool:
    low, high = _addresses(wanted)
    try:
        given = ipaddress.ip_address(client.strip())
    except ValueError:
        return False
    return low.version == given.version and int(low) <= int(given) <= int(high)


def _addresses(text: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    """First and last of a range. Raises ValueError."""
    first, _, last = text.partition("-")
    low, high = (ipaddress.ip_address(part.strip()) for part in (first, last or first))
    if low.version != high.version:
        raise ValueError("addresses of two kinds")
    return low, high


def _canonical_query(raw_query: str) -> list[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for part in filter(None, raw_query.split("&")):
        name, _, value = part.partition("=")
        found.setdefault(unquote(name).lower(), []).append(unquote(value))
    return sorted((name, ",".join(sorted(values))) for name, values in found.items())


def _azure_order(name: str) -> str:
    """The storage service sorts header names as words: hyphens do not count and '_' comes before digits and letters."""
    return name.replace("-", "").replace("_", "\x01")


def _seconds(ms: int) -> str:
    return iso(ms)[:19] + "Z"


def _refused(message: str) -> Denied:
    return Denied(message, code="AuthenticationFailed")
