"""Computes: what can be asked of them beside the common verbs, and of the place where they are."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from zaffre.errors import InvalidInput
from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Handler
from zaffre.protocols.arm import shape
from zaffre.protocols.arm.provider import Provider
from zaffre.runtime import Runtime
from zaffre.services.computes import Computes
from zaffre.services.kinds.base import Kind, spelled
from zaffre.services.kinds.vm_sizes import Size
from zaffre.services.quotas import NO_LIMIT, Quota
from zaffre.services.workspaces import Workspace, Workspaces
from zaffre.settings import Settings


class _Sso(msgspec.Struct, kw_only=True):
    enableSSO: bool = True


class _Limit(msgspec.Struct, kw_only=True):
    id: str
    limit: int = NO_LIMIT


class _Limits(msgspec.Struct, kw_only=True):
    value: list[_Limit] = []


class ComputeProvider(Provider):
    """`operations` binds what is not one of the common verbs."""

    def __init__(
        self, settings: Settings, runtime: Runtime, kind: Kind, computes: Computes, workspaces: Workspaces
    ) -> None:
        super().__init__(settings, runtime, kind, computes)
        self._computes = computes
        self._workspaces = workspaces
        self.operations: dict[str, Handler] = {
            "Compute_ListNodes": self.nodes,
            "Compute_ListKeys": self.keys,
            "Compute_Start": self.power,
            "Compute_Stop": self.power,
            "Compute_Restart": self.power,
            "Compute_EnableSso": self.enable_sso,
            "VirtualMachineSizes_List": self.sizes,
            "Usages_List": self.usages,
            "Quotas_List": self.quotas,
            "Quotas_Update": self.update_quotas,
        }

    async def delete(self, call: Call) -> Response:
        """`underlyingResourceAction` says whether what was made here is deleted, or what was attached is let go."""
        given = call.query.get("underlyingresourceaction") or "Delete"
        action = spelled(given, ("Delete", "Detach"), "underlyingResourceAction")
        await self._computes.remove(call.actor, call.workspace, _name(call), detach=action == "Detach")
        return Response(status_code=204)

    async def nodes(self, call: Call) -> Response:
        """Nodes have no address of their own: they are processes of this machine."""
        found = await self._computes.nodes(call.workspace, _name(call))
        return json_answer({"nodes": [{"nodeId": one.id, "nodeState": one.state, "runId": one.run} for one in found]})

    async def keys(self, call: Call) -> Response:
        found = await self._computes.keys(call.workspace, _name(call))
        return json_answer(found, headers={"cache-control": "no-store"})

    async def power(self, call: Call) -> Response:
        """start, stop and restart: 202 each time, and the operation at `Location`."""
        action = call.raw_path.rpartition("/")[2].lower()
        operation = await self._computes.power(call.actor, call.workspace, _name(call), action)
        return shape.accepted(public_address(call, self._settings), call.workspace, operation)

    async def enable_sso(self, call: Call) -> Response:
        asked = await call.parse(_Sso)
        await self._computes.set_sso(call.actor, call.workspace, _name(call), asked.enableSSO)
        return Response(status_code=200)

    # ---- of a place; there is one, whatever it is called

    async def sizes(self, call: Call) -> Response:
        return json_answer({"value": [_size(one) for one in self._computes.sizes()]})

    async def usages(self, call: Call) -> Response:
        location = call.params["location"]
        used = await self._computes.usage(call.params["subscriptionId"])
        values = [
            {
                "id": f"{_place(call)}/usages/{name.replace(' ', '_')}",
                "type": "Microsoft.MachineLearningServices/usages",
                "amlWorkspaceLocation": location,
                "unit": "Count",
                "currentValue": current,
                "limit": limit,
                "name": {"value": name, "localizedValue": name},
            }
            for name, (current, limit) in used.items()
        ]
        return shape.page(call, public_address(call, self._settings), values, None)

    async def quotas(self, call: Call) -> Response:
        """For each workspace of the subscription, one for each family of sizes; -1 where none was set."""
        values = []
        for workspace in await self._homes(call):
            values += [_quota(call, workspace, one) for one in await self._computes.quotas.all(workspace)]
        return shape.page(call, public_address(call, self._settings), values, None)

    async def update_quotas(self, call: Call) -> Response:
        """Each is set or refused by itself, and its answer says so, as Azure does it."""
        asked = await call.parse(_Limits)
        homes = {workspace.path.lower(): workspace for workspace in await self._homes(call)}
        wanted = []
        for number, one in enumerate(asked.value):
            path, found, family = one.id.partition("/quotas/")
            if not found or not family or path.lower() not in homes or one.limit < NO_LIMIT:
                raise InvalidInput(
                    f"Field 'value[{number}]': expected the id of a quota as they are listed, and a limit of {NO_LIMIT} or more.",
                    code="InvalidField",
                    target=f"value[{number}]",
                )
            wanted.append((homes[path.lower()], family, one))
        values = []
        for workspace, family, one in wanted:
            status = await self._computes.quotas.set(call.actor, workspace, family, one.limit)
            values.append({"id": one.id, "type": _QUOTA, "limit": one.limit, "unit": "Count", "status": status})
        return json_answer({"value": values})

    async def _homes(self, call: Call) -> list[Workspace]:
        wanted = call.params["subscriptionId"].lower()
        return [one for one in await self._workspaces.all() if one.subscription.lower() == wanted]


_QUOTA = "Microsoft.MachineLearningServices/workspaces/quotas"


def _name(call: Call) -> str:
    return call.params["computeName"]


def _place(call: Call) -> str:
    return (
        f"/subscriptions/{call.params['subscriptionId']}/providers/Microsoft.MachineLearningServices"
        f"/locations/{call.params['location']}"
    )


def _size(one: Size) -> dict[str, Any]:
    return {
        "name": one.name,
        "family": one.family,
        "vCPUs": one.vcpus,
        "gpus": one.gpus,
        "memoryGB": round(one.memory_gb, 2),
        "lowPriorityCapable": one.low_priority,
        "premiumIO": one.premium_io,
        "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
    }


def _quota(call: Call, workspace: Workspace, one: Quota) -> dict[str, Any]:
    return {
        "id": f"{workspace.path}/quotas/{one.family}",
        "type": _QUOTA,
        "amlWorkspaceLocation": call.params["location"],
        "name": {"value": one.family, "localizedValue": one.family},
        "limit": one.limit,
        "unit": "Count",
    }
