"""Datastores: where data lies and with which credential. Secrets go to the vault, never into an answer."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.errors import NotServed
from zaffre.services.kinds.base import Document, Kind, Show, Texts, spelled, texts
from zaffre.store.resources import Row

TYPES = ("AzureBlob", "AzureFile", "AzureDataLakeGen1", "AzureDataLakeGen2", "OneLake")


class Properties(msgspec.Struct, rename="camel", kw_only=True):
    datastore_type: str
    account_name: str | None = None
    container_name: str | None = None
    endpoint: str | None = None
    protocol: str | None = None
    description: str | None = None
    tags: Texts | None = None
    properties: Texts | None = None
    credentials: dict[str, Any] | None = None
    is_default: bool | None = None


def _complete(properties: Document) -> Document:
    kind = spelled(properties["datastoreType"], TYPES, "properties.datastoreType")
    if kind != "AzureBlob":
        raise NotServed(
            f"Datastores of type {kind} are not served yet; AzureBlob is.", target="properties.datastoreType"
        )
    credentials = dict(properties.get("credentials") or {"credentialsType": "None"})
    return {
        **properties,
        "datastoreType": kind,
        "credentials": credentials,
        "description": properties.get("description"),
        "tags": texts(properties.get("tags")),
        "properties": texts(properties.get("properties")),
        "isDefault": bool(properties.get("isDefault")),
        "endpoint": properties.get("endpoint") or "core.windows.net",
        "protocol": properties.get("protocol") or "https",
    }


def _take_secrets(body: Document) -> tuple[dict[str, str], Document]:
    properties = body.get("properties")
    credentials = properties.get("credentials") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(credentials, dict) or "secrets" not in credentials:
        return {}, body
    rest = {name: value for name, value in credentials.items() if name != "secrets"}
    kept = {**body, "properties": {**properties, "credentials": rest}}
    return {"secrets": msgspec.json.encode(credentials["secrets"]).decode()}, kept


def _extra(row: Row, show: Show) -> Document:
    properties = row.body["properties"]
    more: Document = {"subscriptionId": show.workspace.subscription, "resourceGroup": show.workspace.resource_group}
    if properties.get("accountName") == show.workspace.account:
        # `host:port/account` makes the SDK build path-style blob addresses on our one port (wire.md §7.2).
        more["accountName"] = f"{show.address.removeprefix('https://')}/{show.workspace.account}"
    return more


KINDS = (
    Kind(
        type="workspaces/datastores",
        properties=Properties,
        name=re.compile(r"[A-Za-z0-9_]{1,255}"),
        complete=_complete,
        extra=_extra,
        take_secrets=_take_secrets,
    ),
)
