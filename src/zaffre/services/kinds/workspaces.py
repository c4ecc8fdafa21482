"""Workspaces (wire.md §5.1) and their datastores' home: where clients learn every other address."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.services.kinds.base import Document, Kind, Show
from zaffre.store.resources import Row


class Properties(msgspec.Struct, rename="camel", kw_only=True):
    friendly_name: str | None = None
    description: str | None = None
    storage_account: str | None = None
    key_vault: str | None = None
    application_insights: str | None = None
    container_registry: str | None = None
    image_build_compute: str | None = None
    public_network_access: str | None = None
    hbi_workspace: bool | None = None
    primary_user_assigned_identity: str | None = None


def _complete(properties: Document) -> Document:
    return {"publicNetworkAccess": "Enabled", "hbiWorkspace": False, "v1LegacyMode": False, **properties}


def _extra(row: Row, show: Show) -> Document:
    host = show.address.removeprefix("https://")
    path = show.workspace.path
    more: dict[str, Any] = {
        "workspaceId": show.workspace.id,
        "discoveryUrl": f"{show.address}/discovery{path}",
        "mlFlowTrackingUri": f"azureml://{host}/mlflow/v1.0{path}",
        "provisioningState": row.state,
        "tenantId": None,
        "storageHnsEnabled": False,
    }
    if not row.body["properties"].get("friendlyName"):
        more["friendlyName"] = row.name
    return more


KINDS = (
    Kind(
        type="workspaces",
        properties=Properties,
        name=re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,32}"),
        complete=_complete,
        extra=_extra,
        tracked=True,
    ),
)
