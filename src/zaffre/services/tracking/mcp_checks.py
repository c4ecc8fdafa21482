"""What servers of the Model Context Protocol, their versions and addresses may be called and hold."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from zaffre.errors import InvalidInput, refused
from zaffre.services.tracking import filters
from zaffre.store.tracking.mcp_servers import ACTIVE, DELETED

DRAFT, DEPRECATED = "draft", "deprecated"
STATUSES = (DRAFT, ACTIVE, DEPRECATED, DELETED)
TRANSPORTS = ("streamable-http", "sse")
MOST_IN_NAME, MOST_IN_KEY, MOST_IN_VALUE, MOST_IN_SOURCE, MOST_IN_URL = 256, 250, 5000, 512, 2048
MOST_ICONS, MOST_TOOLS = 100, 1000
_FOLLOWS = {DRAFT: (ACTIVE, DELETED), ACTIVE: (DEPRECATED, DRAFT), DEPRECATED: (ACTIVE, DELETED), DELETED: ()}
_NAMESPACE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.-]*[a-zA-Z0-9]")
_SLUG = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*[a-zA-Z0-9]")
_RESERVED = ("aliases", "endpoints", "tags", "versions")  # what addresses have behind a name


class EnvironmentVariable(msgspec.Struct):
    name: str
    description: str | None = None
    isRequired: bool | None = None
    isSecret: bool | None = None


class Package(msgspec.Struct):
    registryType: str
    identifier: str
    transport: Any
    registryBaseUrl: str | None = None
    version: str | None = None
    environmentVariables: list[EnvironmentVariable] | None = None


class Remote(msgspec.Struct):
    type: str | None = None
    url: str | None = None


class Repository(msgspec.Struct):
    url: str
    source: str
    id: str | None = None
    subfolder: str | None = None


class ServerJson(msgspec.Struct):
    """What is looked at in the document that describes a version; the rest of it is kept as it is."""

    name: str
    version: str
    title: str | None = None
    description: str | None = None
    icons: list[dict[str, Any]] | None = None
    packages: list[Package] | None = None
    remotes: list[Remote] | None = None
    repository: Repository | None = None
    websiteUrl: str | None = None
    meta: dict[str, Any] | None = msgspec.field(name="_meta", default=None)


def name(given: str, field: str = "name") -> str:
    namespace, slash, slug = given.partition("/")
    good = _NAMESPACE.fullmatch(namespace) and _SLUG.fullmatch(slug) and slug not in _RESERVED
    if not slash or not good or len(given) > MOST_IN_NAME:
        raise refused(
            field,
            f"Invalid MCP server name in '{field}'. Expected '<reverse-dns namespace>/<server slug>' such as 'com.example/server-name', "
            f"at most {MOST_IN_NAME} characters; got '{given[:100]}'.",
        )
    return given


def word(given: str, field: str, words: Sequence[str]) -> str:
    if given not in words:
        raise refused(field, f"Invalid {field}: '{given[:50]}'; it is one of {', '.join(words)}.")
    return given


def length(given: str | None, field: str, most: int, *, empty: bool = True) -> None:
    if given is not None and not empty and not given.strip():
        raise refused(field, f"'{field}' cannot be empty or just whitespace.")
    if given is not None and len(given) > most:
        raise refused(field, f"'{field}' exceeds the maximum length of {most} characters")


def may_follow(held: str, wanted: str) -> None:
    if wanted not in _FOLLOWS[held]:
        raise refused(
            "status",
            f"Invalid status transition from '{held}' to '{wanted}'. Allowed transitions: {list(_FOLLOWS[held])}",
        )


def icons(given: Sequence[Any] | None, field: str = "icons") -> list[dict[str, Any]] | None:
    """The icons as they are kept: without `source`, which answers have. Raises InvalidInput that names the one at fault."""
    if given is None:
        return None
    if len(given) > MOST_ICONS:
        raise refused(field, f"Invalid {field}. It must contain at most {MOST_ICONS} items.")
    return [_icon(one, f"{field}[{index}]") for index, one in enumerate(given)]


def tools(given: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    """The tools as they are kept: what is null is not said."""
    if given is None:
        return None
    if len(given) > MOST_TOOLS:
        raise refused("tools", f"Invalid tools. It must contain at most {MOST_TOOLS} items.")
    said = [{key: value for key, value in one.items() if value is not None} for one in given]
    return [
        one | ({"icons": icons(one["icons"], f"tools[{index}].icons")} if "icons" in one else {})
        for index, one in enumerate(said)
    ]


def server_json(given: Mapping[str, Any]) -> dict[str, Any]:
    """The document as it is kept. A registry's answer holds it in `server`. Raises InvalidInput that names the field."""
    inner = given.get("server")
    if not {"name", "version"} <= given.keys() and isinstance(inner, dict) and {"name", "version"} <= inner.keys():
        given = inner
    try:
        msgspec.convert(given, ServerJson)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        field = f"server_json{path.rstrip('`')}"
        raise refused(field, f"Invalid request: {field}: {text.replace('`', chr(39))}.") from None
    name(given["name"], "server_json.name")
    document = dict(given)
    if document.get("icons") is not None:
        document["icons"] = icons(document["icons"], "server_json.icons")
    return document


def orders(
    order_by: Sequence[str], grammar: filters.Grammar, keys: Sequence[str], behind: Mapping[str, bool]
) -> list[tuple[str, bool]]:
    """By what to sort, and whether descending; what `behind` names comes last where nobody asked for it."""
    found: dict[str, bool] = {}
    for one in filters.parse_order(order_by, grammar):
        if one.entity != "attribute" or one.key not in keys:
            raise _unordered(f"Invalid order_by key '{one.key[:100]}'. Valid keys: {sorted(keys)}")
        if one.key in found:
            raise _unordered(f"Duplicate order_by field: '{one.key}'")
        found[one.key] = one.descending
    return [*found.items(), *((key, down) for key, down in behind.items() if key not in found)]


def _unordered(text: str) -> InvalidInput:
    return refused("order_by", text)


def _icon(given: Any, field: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise refused(field, f"Invalid {field}. Expected an object.")
    if not isinstance(given.get("src"), str):
        raise refused(f"{field}.src", f"Invalid {field}.src. It is required, and a text.")
    _icon_address(given["src"], f"{field}.src")
    if given.get("source") == "version":
        raise refused(
            f"{field}.source",
            f"Invalid {field}.source: 'version' is response-only and cannot be written; it would make the version's icon the "
            "server's own. Leave it out.",
        )
    kept = {key: value for key, value in given.items() if key != "source"}
    kind = kept.get("mimeType")
    if kind is None:
        kept.pop("mimeType", None)
        return kept
    if not isinstance(kind, str) or not re.fullmatch(r"image/.+", kind.strip().lower()):
        raise refused(
            f"{field}.mimeType", f"Invalid icon mimeType {kind!r:.100}. It must be of the 'image/*' media type."
        )
    return kept | {"mimeType": kind.strip().lower()}


def _icon_address(given: str, field: str) -> None:
    """Browsers fetch it, not this server: so nothing is resolved, but it must not lead into the network of whoever looks."""
    try:
        parts = urlsplit(given)
        host = parts.hostname
    except ValueError:
        raise refused(field, f"Invalid Icon URL '{given[:100]}'.") from None
    if parts.scheme != "https":
        raise refused(field, f"Invalid Icon URL scheme: '{parts.scheme[:20]}'. Allowed schemes are: 'https'.")
    if parts.username or parts.password:
        raise refused(field, "Icon URL must not include embedded credentials.")
    if not host:
        raise refused(field, f"Icon URL must include a hostname: '{given[:100]}'.")
    if not _is_public(host):
        raise refused(field, f"Icon URL must lead to a public host; '{host[:100]}' is none.")


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return host.rstrip(".") != "localhost" and not host.rstrip(".").endswith(".localhost")
