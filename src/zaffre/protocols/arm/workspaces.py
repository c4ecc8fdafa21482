"""Workspaces: the one kind that lies in a resource group, not in a workspace."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Handler
from zaffre.protocols.arm import shape
from zaffre.protocols.arm.listing import list_query
from zaffre.services.diagnosis import AREAS, Diagnosis
from zaffre.services.kinds.base import Show, spelled
from zaffre.services.kinds.workspaces import WORDS
from zaffre.services.workspace_changes import WorkspaceChanges
from zaffre.services.workspaces import Workspace, Workspaces, workspace_of
from zaffre.settings import Settings
from zaffre.store.operations import Operation
from zaffre.store.resources import Row


class WorkspaceProvider:
    """Every operation on a workspace as a whole; `operations` binds them by their names."""

    def __init__(
        self, settings: Settings, workspaces: Workspaces, changes: WorkspaceChanges, diagnosis: Diagnosis
    ) -> None:
        self._settings = settings
        self._workspaces = workspaces
        self._changes = changes
        self._diagnosis = diagnosis
        self.operations: dict[str, Handler] = {
            "Workspaces_Get": self.get,
            "Workspaces_CreateOrUpdate": self.put,
            "Workspaces_Update": self.patch,
            "Workspaces_Delete": self.delete,
            "Workspaces_ListByResourceGroup": self.list_,
            "Workspaces_ListBySubscription": self.list_,
            "Workspaces_ListKeys": self.keys,
            "Workspaces_ListStorageAccountKeys": self.storage_keys,
            "Workspaces_ResyncKeys": self.resync,
            "Workspaces_Diagnose": self.diagnose,
        }

    async def get(self, call: Call) -> Response:
        found = call.workspace
        return json_answer(
            self._shaped(call, await self._changes.row(found.subscription, found.resource_group, found.name))
        )

    async def put(self, call: Call) -> Response:
        """Make the workspace, or change the one that is there by the fields given."""
        names = (call.params["subscriptionId"], call.params["resourceGroupName"], call.params["workspaceName"])
        row, _ = await self._changes.put(call.actor, *names, await call.document())
        return json_answer(self._shaped(call, row))  # 200 both times: the SDK takes no 201 here

    async def patch(self, call: Call) -> Response:
        return json_answer(
            self._shaped(call, await self._changes.update(call.actor, call.workspace, await call.document()))
        )

    async def delete(self, call: Call) -> Response:
        """For good, with or without `forceToPurge`: nothing is kept for a recovery."""
        spelled(call.query.get("forcetopurge") or "false", ("true", "false"), "forceToPurge")
        operation = await self._changes.begin_delete(call.actor, call.workspace)
        path = _operations(call.workspace)
        location = f"{public_address(call, self._settings)}{path}/workspaceOperationResults/{operation}"
        return Response(status_code=202, headers={"location": location, "retry-after": shape.POLL_S})

    async def list_(self, call: Call) -> Response:
        """Of a group or of a whole subscription, filtered by `kind`, which may name several."""
        words = {spelled(word.strip(), WORDS, "kind") for word in call.query.get("kind", "").split(",") if word.strip()}
        asked = list_query(call.query)
        rows, following = await self._changes.page(
            call.params["subscriptionId"], call.params.get("resourceGroupName"), words, asked.after, asked.limit
        )
        values = [self._shaped(call, row) for row in rows]
        return shape.page(call, public_address(call, self._settings), values, following)

    async def keys(self, call: Call) -> Response:
        """The storage key is the one key there is; what has none of ours behind it is null."""
        key = await self._workspaces.account_key(call.workspace)
        return json_answer(
            {
                "userStorageKey": key,
                "userStorageArmId": call.workspace.storage_id,
                "userStorageResourceId": call.workspace.storage_id,  # what older SDKs read
                "appInsightsInstrumentationKey": None,
                "containerRegistryCredentials": None,
                "notebookAccessKeys": None,
            },
            headers={"cache-control": "no-store"},
        )

    async def storage_keys(self, call: Call) -> Response:
        key = await self._workspaces.account_key(call.workspace)
        return json_answer({"userStorageKey": key}, headers={"cache-control": "no-store"})

    async def resync(self, call: Call) -> Response:
        await self._workspaces.rotate_key(call.actor, call.workspace)
        return Response(status_code=200)

    async def diagnose(self, call: Call) -> Response:
        await call.document()
        found = await self._diagnosis.examine(call.workspace)
        value: dict[str, list[dict[str, str]]] = {area: [] for area in AREAS}
        for one in found:
            value[one.area].append({"code": one.code, "level": one.level, "message": one.message})
        return json_answer({"value": value})

    # ---- deletions outlive their workspace, so they are asked for beside it

    async def operation_status(self, call: Call) -> Response:
        return shape.operation_status(call.raw_path, await self._operation(call))

    async def operation_result(self, call: Call) -> Response:
        location = public_address(call, self._settings) + call.raw_path
        return shape.operation_result(location, await self._operation(call))

    async def _operation(self, call: Call) -> Operation:
        return await self._changes.operation(call.params["subscriptionId"], call.params["operationId"])

    def _shaped(self, call: Call, row: Row) -> dict[str, object]:
        address = public_address(call, self._settings)
        return {
            "kind": "Default",
            **shape.envelope(self._changes.kind, row, Show(workspace=workspace_of(row), address=address)),
        }


def _operations(workspace: Workspace) -> str:
    place = f"/subscriptions/{quote(workspace.subscription)}/providers/Microsoft.MachineLearningServices/locations"
    return f"{place}/{quote(workspace.location, safe='')}"
