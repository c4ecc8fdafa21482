"""Workspaces: the one kind that lies in a resource group, not in a workspace."""

from __future__ import annotations

import sqlalchemy as sa
from starlette.responses import Response

from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.arm import shape
from zaffre.services.kinds.base import Kind, Show
from zaffre.services.workspaces import TYPE, Workspaces, scope_of, workspace_of
from zaffre.settings import Settings
from zaffre.store import resources
from zaffre.store.database import Database
from zaffre.store.resources import Row


class WorkspaceProvider:
    def __init__(self, settings: Settings, database: Database, kind: Kind, workspaces: Workspaces) -> None:
        self._settings = settings
        self._database = database
        self._kind = kind
        self._workspaces = workspaces

    async def get(self, call: Call) -> Response:
        found = call.workspace
        scope = scope_of(found.subscription, found.resource_group)
        row = await self._database.read(lambda conn: resources.get(conn, scope, TYPE, found.name))
        assert row is not None, "the gateway found it a moment ago, and a workspace cannot be deleted yet"
        return json_answer(self._shaped(call, row))

    async def put(self, call: Call) -> Response:
        """Make the workspace; the one that exists is answered as it is."""
        params = call.params
        self._kind.check_name(params["workspaceName"])
        body = self._kind.accept(await call.document())
        made = await self._workspaces.create(
            call.actor, params["subscriptionId"], params["resourceGroupName"], params["workspaceName"], body
        )
        scope = scope_of(made.subscription, made.resource_group)
        row = await self._database.read(lambda conn: resources.get(conn, scope, TYPE, made.name))
        assert row is not None, "it was made a moment ago"
        return json_answer(self._shaped(call, row))

    async def list_in_group(self, call: Call) -> Response:
        scope = scope_of(call.params["subscriptionId"], call.params["resourceGroupName"])
        rows = await self._database.read(lambda conn: resources.listing(conn, scope, TYPE))
        return shape.page(call, public_address(call, self._settings), [self._shaped(call, row) for row in rows], None)

    async def list_in_subscription(self, call: Call) -> Response:
        wanted = call.params["subscriptionId"].lower()

        def work(conn: sa.Connection) -> list[Row]:
            rows = resources.in_states(conn, TYPE, ("Succeeded",))
            return [row for row in rows if row.scope.split("/")[0] == wanted]

        rows = await self._database.read(work)
        return shape.page(call, public_address(call, self._settings), [self._shaped(call, row) for row in rows], None)

    def _shaped(self, call: Call, row: Row) -> dict[str, object]:
        address = public_address(call, self._settings)
        return {
            "kind": "Default",
            **shape.envelope(self._kind, row, Show(workspace=workspace_of(row), address=address)),
        }
