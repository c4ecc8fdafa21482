"""Online endpoints (wire.md §5.6); what answers behind them is in `deployments`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.errors import InvalidInput, NotServed
from zaffre.services.kinds.base import Document, Kind, Show, Texts, spelled, texts
from zaffre.store.resources import Row

AUTH_MODES = ("Key", "AMLToken", "AADToken")
KEY = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
ACCESS = ("Enabled", "Disabled")
MOST_MIRRORED = 50


class Endpoint(msgspec.Struct, rename="camel", kw_only=True):
    auth_mode: str
    description: str | None = None
    compute: str | None = None
    properties: Texts | None = None
    traffic: dict[str, int] | None = None
    mirror_traffic: dict[str, int] | None = None
    public_network_access: str | None = None
    keys: dict[str, Any] | None = None


def _complete_endpoint(properties: Document) -> Document:
    access = spelled(properties.get("publicNetworkAccess") or "Enabled", ACCESS, "properties.publicNetworkAccess")
    if access == "Disabled":
        raise NotServed(
            "Endpoints closed to the public network are not served yet: everyone who reaches this server's port and has "
            "the key or a token may score. Leave publicNetworkAccess out.",
            target="properties.publicNetworkAccess",
        )
    traffic = _shares(properties, "traffic")
    if sum(traffic.values()) not in (0, 100):
        raise _refused("traffic", f"{traffic}; expected whole percentages that add up to 100, or to 0 for none")
    mirrored = _shares(properties, "mirrorTraffic")
    if sum(mirrored.values()) > MOST_MIRRORED or sum(share > 0 for share in mirrored.values()) > 1:
        raise _refused("mirrorTraffic", f"{mirrored}; expected one deployment with at most {MOST_MIRRORED} percent")
    live = {name.lower() for name, share in traffic.items() if share > 0}
    for name, share in mirrored.items():
        if share > 0 and name.lower() in live:
            raise _refused("mirrorTraffic", f"deployment '{name}' has traffic of its own; a shadow may have none")
    return {
        **properties,
        "authMode": spelled(properties["authMode"], AUTH_MODES, "properties.authMode"),
        "traffic": traffic,
        "mirrorTraffic": mirrored,
        "properties": texts(properties.get("properties")),
        "publicNetworkAccess": access,
    }


def _shares(properties: Document, field: str) -> dict[str, int]:
    shares: dict[str, int] = properties.get(field) or {}
    if len({name.lower() for name in shares}) != len(shares):
        raise _refused(field, f"{shares} names a deployment twice; names are compared without case")
    if any(not 0 <= share <= 100 for share in shares.values()):
        raise _refused(field, f"{shares}; expected whole percentages from 0 to 100")
    return shares


def _refused(field: str, why: str) -> InvalidInput:
    return InvalidInput(f"Field 'properties.{field}': {why}.", code="InvalidField", target=f"properties.{field}")


def _take_keys(body: Document) -> tuple[dict[str, str], Document]:
    properties = body.get("properties")
    keys = properties.get("keys") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(keys, dict):
        return {}, body
    found = {name: value for name in ("primaryKey", "secondaryKey") if (value := keys.get(name)) is not None}
    for name, value in found.items():
        check_key(value, f"properties.keys.{name}")
    check_pair(*found.values(), field="properties.keys")
    return found, {**body, "properties": {k: v for k, v in properties.items() if k != "keys"}}


def check_key(value: object, field: str) -> None:
    """Raise InvalidInput unless `value` may be a scoring key; it is compared by the edge, in a file of its own grammar."""
    if not isinstance(value, str) or not KEY.fullmatch(value):
        raise InvalidInput(
            f"Field '{field}': expected 16 to 256 letters, digits and '-', '_', '.', '~', '+', '/', '='.",
            code="InvalidField",
            target=field,
        )


def check_pair(*keys: str, field: str) -> None:
    """Raise InvalidInput for two keys that only case tells apart: the edge's map could hold but one of them."""
    if len({key.casefold() for key in keys}) != len(set(keys)):
        raise InvalidInput(
            f"Field '{field}': the two keys differ only in the case of their letters; expected the same or quite another.",
            code="InvalidField",
            target=field,
        )


def _extra_endpoint(row: Row, show: Show) -> Document:
    base = f"{show.address}/endpoints/{row.name}"
    return {
        "provisioningState": row.state,
        "scoringUri": f"{base}/score",
        "swaggerUri": f"{base}/swagger.json",
    }


KINDS = (
    Kind(
        type="workspaces/onlineEndpoints",
        properties=Endpoint,
        name=NAME,
        complete=_complete_endpoint,
        extra=_extra_endpoint,
        take_secrets=_take_keys,
        tracked=True,
        active=True,
    ),
)
