"""Lineage, which Azure shows in its Studio only: `…/{kind}/{name}/versions/{version}/lineage` and `…/jobs/{id}/lineage`.

A version answers `madeBy`, `usedBy` and `uses`, a job `uses` and `makes`: lists of `{type, name, role, id}`.
"""

from __future__ import annotations

from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import WORKSPACE, Handler, Route
from zaffre.protocols.arm import shape
from zaffre.services.kinds.base import Kind
from zaffre.services.lineage import JOBS, Related
from zaffre.services.resources import Resources
from zaffre.services.workspaces import Workspace


def routes(resources: Resources, kinds: dict[str, Kind]) -> list[Route]:
    made = [_route("jobs/{id}", "Zaffre_JobLineage", f"{JOBS}/read", _job(resources))]
    for kind in kinds.values():
        if kind.type.endswith("/versions"):
            name = kind.type.split("/")[1]
            path = f"{name}/{{name}}/versions/{{version}}"
            made.append(_route(path, f"Zaffre_{name}_Lineage", f"{kind.type}/read", _version(resources, kind)))
    return made


def _route(path: str, operation: str, action: str, handler: Handler) -> Route:
    template = f"{WORKSPACE}/{path}/lineage"
    return Route(protocol="arm", method="GET", template=template, handler=handler, operation=operation, action=action)


def _version(resources: Resources, kind: Kind) -> Handler:
    async def handler(call: Call) -> Response:
        found = await resources.lineage(call.workspace, kind, call.params["name"], call.params["version"])
        return json_answer(_shaped(call.workspace, found))

    return handler


def _job(resources: Resources) -> Handler:
    async def handler(call: Call) -> Response:
        return json_answer(_shaped(call.workspace, await resources.job_lineage(call.workspace, call.params["id"])))

    return handler


def _shaped(workspace: Workspace, found: dict[str, list[Related]]) -> dict[str, list[dict[str, str]]]:
    return {side: [_related(workspace, one) for one in related] for side, related in found.items()}


def _related(workspace: Workspace, one: Related) -> dict[str, str]:
    parent, _, name = one.name.rpartition("/")
    id_ = shape.resource_id(workspace, f"workspaces/{one.type}", parent, name)
    return {"type": one.type, "name": one.name, "role": one.role, "id": id_}
