"""What of ARM lies above a workspace: resource groups, which are only names here, and the one template.

Any name of a group is good: a group is there as soon as somebody speaks of it, as a folder of an object store is.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Handler
from zaffre.protocols.arm import shape
from zaffre.runtime import iso
from zaffre.services.groups import Group, ResourceGroups
from zaffre.services.kinds import workspace_template
from zaffre.services.workspace_changes import WorkspaceChanges, check_deployment_name, check_place
from zaffre.services.workspaces import workspace_of
from zaffre.settings import Settings
from zaffre.store.resources import Row


class _Given(msgspec.Struct, kw_only=True):
    location: str | None = None
    tags: dict[str, Any] | None = None


class Groups:
    """`operations` binds each handler to its operation's name."""

    def __init__(self, settings: Settings, groups: ResourceGroups, changes: WorkspaceChanges) -> None:
        self._settings = settings
        self._groups = groups
        self._changes = changes
        self.operations: dict[str, Handler] = {
            "ResourceGroups_List": self.groups,
            "ResourceGroups_Get": self.group,
            "ResourceGroups_CheckExistence": self.group_exists,
            "ResourceGroups_CreateOrUpdate": self.put_group,
            "ResourceGroups_Delete": self.delete_group,
            "Deployments_CreateOrUpdate": self.deploy,
            "Deployments_Get": self.deployment,
            "DeploymentOperations_List": self.deployment_operations,
            "DeploymentOperations_ListByProvider": self.deployment_operations,
        }

    async def groups(self, call: Call) -> Response:
        id_ = call.params["subscriptionId"]
        values = [_group(id_, group) for group in await self._groups.all(id_)]
        return shape.page(call, public_address(call, self._settings), values, None)

    async def group(self, call: Call) -> Response:
        id_ = call.params["subscriptionId"]
        return json_answer(_group(id_, await self._groups.get(id_, call.params["resourceGroupName"])))

    async def group_exists(self, call: Call) -> Response:
        check_place(call.params["subscriptionId"], call.params["resourceGroupName"])
        return Response(status_code=204)

    async def put_group(self, call: Call) -> Response:
        id_, name = call.params["subscriptionId"], call.params["resourceGroupName"]
        given = await call.parse(_Given)
        group, made = await self._groups.put(call.actor, id_, name, given.location, given.tags)
        return json_answer(_group(id_, group), 201 if made else 200)

    async def delete_group(self, call: Call) -> Response:
        await self._groups.delete(call.actor, call.params["subscriptionId"], call.params["resourceGroupName"])
        return Response(status_code=200)

    async def deploy(self, call: Call) -> Response:
        """The SDK's template for a workspace, carried out at once."""
        began = self._changes.now()
        place = (call.params["subscriptionId"], call.params["resourceGroupName"])
        check_deployment_name(call.params["deploymentName"])
        name, body = workspace_template.wish(await call.document())
        row, created = await self._changes.put(call.actor, *place, name, body)
        deployment = await self._changes.deployed(
            call.actor, *place, call.params["deploymentName"], workspace_of(row), began
        )
        return json_answer(_deployment(call, deployment), 201 if created else 200)

    async def deployment(self, call: Call) -> Response:
        return json_answer(_deployment(call, await self._named(call)))

    async def deployment_operations(self, call: Call) -> Response:
        """One: the workspace that was made."""
        row = await self._named(call)
        path = _deployment_id(call, row)
        operation = {
            "id": f"{path}/operations/1",
            "operationId": "1",
            "properties": {
                "provisioningOperation": "Create",
                "provisioningState": "Succeeded",
                "timestamp": iso(row.modified_at),
                "duration": _duration(row),
                "statusCode": "OK",
                "targetResource": {
                    "id": row.server["path"],
                    "resourceType": "Microsoft.MachineLearningServices/workspaces",
                    "resourceName": row.server["workspace"],
                },
            },
        }
        return shape.page(call, public_address(call, self._settings), [operation], None)

    async def _named(self, call: Call) -> Row:
        names = (call.params["subscriptionId"], call.params["resourceGroupName"], call.params["deploymentName"])
        return await self._changes.deployment(*names)


def _group(id_: str, group: Group) -> dict[str, object]:
    return {
        "id": f"/subscriptions/{id_}/resourceGroups/{group.name}",
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": group.tags,
        "properties": {"provisioningState": "Succeeded"},
    }


def _deployment(call: Call, row: Row) -> dict[str, object]:
    return {
        "id": _deployment_id(call, row),
        "name": row.name,
        "type": "Microsoft.Resources/deployments",
        "properties": {
            "mode": "Incremental",
            "provisioningState": "Succeeded",
            "timestamp": iso(row.modified_at),
            "duration": _duration(row),
            "outputResources": [{"id": row.server["path"]}],
        },
    }


def _deployment_id(call: Call, row: Row) -> str:
    group = f"/subscriptions/{call.params['subscriptionId']}/resourceGroups/{call.params['resourceGroupName']}"
    return f"{group}/providers/Microsoft.Resources/deployments/{row.name}"


def _duration(row: Row) -> str:
    return f"PT{row.server['took'] / 1000:.3f}S"
