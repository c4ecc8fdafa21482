"""The parameters of the SDK's ARM template for a workspace (wire.md §5.1) as the body of a PUT. The template is not read."""

from __future__ import annotations

from typing import Any

from zaffre.errors import InvalidInput, NotServed
from zaffre.services.kinds.base import Document

NOTHING: tuple[Any, ...] = ("", "none", "null", None, {}, [])
"""How the SDK writes that it has no wish."""

_PROPERTIES = {
    "description": "description",
    "friendlyName": "friendlyName",
    "confidential_data": "hbiWorkspace",
    "imageBuildCompute": "imageBuildCompute",
    "publicNetworkAccess": "publicNetworkAccess",
    "soft_delete_enabled": "softDeleteEnabled",
    "allow_recover_softdeleted_workspace": "allowRecoverSoftDeletedWorkspace",
    "primaryUserAssignedIdentity": "primaryUserAssignedIdentity",
    "systemDatastoresAuthMode": "systemDatastoresAuthMode",
    "allowRoleAssignmentOnRG": "allowRoleAssignmentOnRG",
    "managedNetwork": "managedNetwork",
    "provisionNetworkNow": "provisionNetworkNow",
    "enable_data_isolation": "enableDataIsolation",
    "workspace_hub_config": "workspaceHubConfig",
    "workspace_hub": "hubResourceId",
    "serverless_compute_settings": "serverlessComputeSettings",
}
_RESOURCES = {
    "storageAccount": "storageAccount",
    "keyVault": "keyVault",
    "applicationInsights": "applicationInsights",
    "containerRegistry": "containerRegistry",
}
# Parts of a template beside the workspace that were asked for by name; nothing of ours would stand behind them.
_UNSERVED = {
    "privateEndpointType": "private endpoints",
    "endpoint_resource_id": "AI services of Azure",
    "online_store_resource_id": "online stores of a feature store",
}


def wish(body: Document) -> tuple[str, Document]:
    """The name of the workspace that a deployment asks for, and its body. Raises InvalidInput or NotServed."""
    properties = body.get("properties")
    given = properties.get("parameters") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(given, dict):
        raise InvalidInput(
            "Field 'properties.parameters': expected the parameters of the workspace template, an object.",
            code="InvalidField",
            target="properties.parameters",
        )
    if str(properties.get("mode") or "Incremental").lower() != "incremental":
        raise NotServed("Field 'properties.mode': only incremental deployments are served.", target="properties.mode")
    values = {name: _value(name, wrapped) for name, wrapped in given.items()}
    name = values.get("workspaceName")
    if not name or not isinstance(name, str):
        raise NotServed(
            "Of ARM's deployments only the template that makes a workspace is served: it has the parameter 'workspaceName'.",
            target="properties.parameters.workspaceName",
        )
    for parameter, what in _UNSERVED.items():
        if values.get(parameter) not in NOTHING:
            raise _refused(parameter, what)
    if values.get("offlineStoreStorageAccountOption") == "existing":
        raise _refused("offlineStoreStorageAccountOption", "offline stores outside the workspace")
    wanted: Document = {
        ours: values[theirs] for theirs, ours in _PROPERTIES.items() if values.get(theirs) not in NOTHING
    }
    if (
        "publicNetworkAccess" in wanted
    ):  # for a project the SDK writes Python's name of it, PublicNetworkAccessType.ENABLED
        wanted["publicNetworkAccess"] = str(wanted["publicNetworkAccess"]).rpartition(".")[2]
    for theirs, ours in _RESOURCES.items():
        if values.get(f"{theirs}Option") == "existing":
            wanted[ours] = values.get(f"{theirs}Name") or "?"
    if values.get("encryption_status") not in NOTHING:
        wanted["encryption"] = {"status": values["encryption_status"]}
    if values.get("spark_runtime_version") not in NOTHING:
        wanted["featureStoreSettings"] = {"computeRuntime": {"sparkRuntimeVersion": values["spark_runtime_version"]}}
    made: Document = {"properties": wanted}
    for parameter, field in (
        ("location", "location"),
        ("kind", "kind"),
        ("tagValues", "tags"),
        ("identity", "identity"),
    ):
        if values.get(parameter) not in NOTHING:
            made[field] = values[parameter]
    return name, made


def _value(name: str, wrapped: Any) -> Any:
    if not isinstance(wrapped, dict) or "value" not in wrapped:
        raise InvalidInput(
            f"Field 'properties.parameters.{name}': expected an object with 'value'; references to a key vault are not followed.",
            code="InvalidField",
            target=f"properties.parameters.{name}",
        )
    return wrapped["value"]


def _refused(parameter: str, what: str) -> NotServed:
    field = f"properties.parameters.{parameter}"
    return NotServed(f"Field '{field}': {what} are not served here. Leave it out.", target=field)
