"""Workspaces (wire.md §5.1): where clients learn every other address. What only a cloud has is refused by its name."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from zaffre.errors import Conflict, InvalidInput, NotServed
from zaffre.services.kinds.base import Document, Kind, Show, check, spelled, texts
from zaffre.settings import TENANT
from zaffre.store.resources import Row

WORDS = ("Default", "Hub", "Project", "FeatureStore")
DEFAULT = "Default"
IDENTITIES = ("SystemAssigned", "UserAssigned", "SystemAssigned,UserAssigned", "None")
AUTH_MODES = ("AccessKey", "Identity", "UserDelegationSAS")

Flag = bool | str | None
"""A flag; ARM templates write it as a text."""


class Properties(msgspec.Struct, rename="camel", kw_only=True):
    friendly_name: str | None = None
    description: str | None = None
    storage_account: str | None = None
    key_vault: str | None = None
    application_insights: str | None = None
    container_registry: str | None = None
    image_build_compute: str | None = None
    public_network_access: str | None = None
    hbi_workspace: Flag = None
    primary_user_assigned_identity: str | None = None
    hub_resource_id: str | None = None
    system_datastores_auth_mode: str | None = None
    v1_legacy_mode: Flag = None
    enable_data_isolation: Flag = None
    allow_role_assignment_on_rg: Flag = msgspec.field(name="allowRoleAssignmentOnRG", default=None)
    provision_network_now: Flag = None
    soft_delete_enabled: Flag = None
    allow_recover_soft_deleted_workspace: Flag = None
    managed_network: dict[str, Any] | None = None
    network_acls: dict[str, Any] | None = None
    encryption: dict[str, Any] | None = None
    feature_store_settings: dict[str, Any] | None = None
    workspace_hub_config: dict[str, Any] | None = None
    serverless_compute_settings: dict[str, Any] | None = None
    shared_private_link_resources: list[dict[str, Any]] | None = None


class _Identity(msgspec.Struct, rename="camel", kw_only=True):
    type: str
    user_assigned_identities: dict[str, dict[str, Any] | None] | None = None


# What a workspace brings itself; somebody else's would be named in the answer and never used.
_OWN = {
    "storageAccount": "storage",
    "keyVault": "vault for secrets",
    "applicationInsights": "logs",
    "containerRegistry": "place for environments",
}
_FLAGS = ("hbiWorkspace", "enableDataIsolation", "allowRoleAssignmentOnRG")
_UNSERVED_FLAGS = {
    "v1LegacyMode": "the protocol of SDK v1 is not spoken",
    "provisionNetworkNow": "there are no managed networks",
    "softDeleteEnabled": "a workspace is deleted for good",
    "allowRecoverSoftDeletedWorkspace": "a workspace is deleted for good",
}
_FIXED = ("hbiWorkspace", "hubResourceId")
"""What a workspace keeps for life."""


def accept(kind: Kind, body: Document) -> Document:
    """The body of a new workspace as it is kept. Raises InvalidInput or NotServed that names the field."""
    kept = kind.accept(body)
    kept["kind"] = spelled(kept.get("kind") or DEFAULT, WORDS, "kind")
    hub = kept["properties"].get("hubResourceId")
    if kept["kind"] == "Project" and not hub:
        raise _invalid("properties.hubResourceId", "a project belongs to a hub; expected the hub's id")
    if hub and kept["kind"] != "Project":
        raise _invalid("properties.hubResourceId", f"only a project has a hub, and this is a {kept['kind']}")
    if kept.get("identity") is not None:
        kept["identity"] = _identity(kept["identity"], {})
    return kept


def change(kind: Kind, current: Document, given: Document) -> Document:
    """The body after an update. A null leaves a field as it is, an empty text empties it, and tags are replaced whole.

    That is what the SDK means by them. Raises Conflict for what a workspace keeps for life.
    """
    checked = kind.accept({**given, "properties": _without_nulls(given.get("properties"))})
    is_a = current.get("kind") or DEFAULT
    word = spelled(checked.get("kind") or is_a, WORDS, "kind")
    if word != is_a:
        raise Conflict(f"A workspace of kind {is_a} stays one; it cannot be made '{word}'.", target="kind")
    wanted = {
        name: checked["properties"][name] for name in given.get("properties") or {} if name in checked["properties"]
    }
    for name in _FIXED:
        if name in wanted and wanted[name] != current["properties"].get(name):
            raise Conflict(
                f"Field 'properties.{name}': it is {current['properties'].get(name)!r} for as long as the workspace is "
                "there; make another workspace.",
                target=f"properties.{name}",
            )
    properties = {**current["properties"], **wanted}
    result = {**current, "properties": {name: value for name, value in properties.items() if value != ""}}
    if checked.get("sku") is not None:
        result["sku"] = checked["sku"]
    if given.get("identity") is not None:
        before = (current.get("identity") or {}).get("userAssignedIdentities") or {}
        result["identity"] = _identity(given["identity"], before)
    if given.get("tags") is not None:
        result["tags"] = texts(given["tags"])
    return result


def _complete(properties: Document) -> Document:
    found = {name: value for name, value in properties.items() if value is not None}
    for name, what in _OWN.items():
        if found.pop(name, None):
            raise NotServed(
                f"Field 'properties.{name}': a workspace here has its own {what}; one of Azure's is not used. Leave it out.",
                target=f"properties.{name}",
            )
    for name, reason in _UNSERVED_FLAGS.items():
        if _flag(found.pop(name, False), f"properties.{name}"):
            raise NotServed(f"Field 'properties.{name}': {reason}.", target=f"properties.{name}")
    for name in _FLAGS:
        if name in found:
            found[name] = _flag(found[name], f"properties.{name}")
    _refuse_networks(found)
    if found.get("systemDatastoresAuthMode"):
        mode = spelled(found["systemDatastoresAuthMode"], AUTH_MODES, "properties.systemDatastoresAuthMode")
        if mode == "UserDelegationSAS":
            raise NotServed(
                "Field 'properties.systemDatastoresAuthMode': there are no user delegation keys here; use AccessKey or Identity.",
                target="properties.systemDatastoresAuthMode",
            )
        found["systemDatastoresAuthMode"] = mode
    return {"publicNetworkAccess": "Enabled", "hbiWorkspace": False, "v1LegacyMode": False, **found}


def _refuse_networks(found: Document) -> None:
    """Networks and keys of a cloud: whoever asks for them wants protection, so they are never just written down."""
    access = spelled(
        found.get("publicNetworkAccess") or "Enabled", ("Enabled", "Disabled"), "properties.publicNetworkAccess"
    )
    if access == "Disabled":
        raise _unserved(
            "publicNetworkAccess", "there are no private endpoints; a server that was started without --host is reached "
            "from its own machine only"
        )  # fmt: skip
    if "publicNetworkAccess" in found:
        found["publicNetworkAccess"] = access
    mode = (found.get("managedNetwork") or {}).get("isolationMode") or "Disabled"
    if str(mode).lower() != "disabled":
        raise _unserved(
            "managedNetwork.isolationMode", f"there are no managed networks, so '{mode}' would isolate nothing"
        )
    acls = found.pop("networkAcls", None) or {}
    if acls.get("ipRules") or str(acls.get("defaultAction") or "Allow").lower() != "allow":
        raise _unserved("networkAcls", "addresses are not filtered here; do it in front of the server")
    if str((found.pop("encryption", None) or {}).get("status") or "Disabled").lower() != "disabled":
        raise _unserved(
            "encryption", "keys of a customer's own vault are not used; secrets are encrypted with this server's key"
        )
    if found.get("sharedPrivateLinkResources"):
        raise _unserved("sharedPrivateLinkResources", "there are no private links")
    if (found.get("serverlessComputeSettings") or {}).get("serverlessComputeCustomSubnet"):
        raise _unserved("serverlessComputeSettings.serverlessComputeCustomSubnet", "there are no virtual networks")


def _identity(given: Document, before: Document) -> Document:
    """As it is kept; an identity that is given as null is taken away."""
    check(given, _Identity, "identity")
    word = given["type"].replace(" ", "").replace("_", "")
    known = next((known for known in IDENTITIES if known.lower() == word.lower()), None)
    if known is None:
        raise _invalid("identity.type", f"'{given['type']}' is not one of {', '.join(IDENTITIES)}")
    named = {**before, **(given.get("userAssignedIdentities") or {})}
    kept = {id_: value for id_, value in named.items() if value is not None}
    return {"type": known, **({"userAssignedIdentities": kept} if kept and "UserAssigned" in known.split(",") else {})}


def _flag(value: Any, field: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("", None):
        return False
    return spelled(value, ("true", "false"), field) == "true"


def _without_nulls(properties: Any) -> Any:
    if not isinstance(properties, dict):
        return properties
    return {name: value for name, value in properties.items() if value is not None}


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"Field '{field}': {message}.", code="InvalidField", target=field)


def _unserved(name: str, reason: str) -> NotServed:
    return NotServed(f"Field 'properties.{name}': {reason}.", target=f"properties.{name}")


def _extra(row: Row, show: Show) -> Document:
    host = show.address.removeprefix("https://")
    path = show.workspace.path
    more: dict[str, Any] = {
        "workspaceId": show.workspace.id,
        "discoveryUrl": f"{show.address}/discovery{path}",
        "mlFlowTrackingUri": f"azureml://{host}/mlflow/v1.0{path}",
        "provisioningState": row.state,
        "tenantId": TENANT,
        "storageHnsEnabled": False,
        "privateLinkCount": 0,
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
