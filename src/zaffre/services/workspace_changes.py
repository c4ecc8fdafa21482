"""What is done to a workspace as a whole: made, changed, listed, deleted. What ends its work is the workspace controller."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput, NotFound
from zaffre.services import workspaces as ws
from zaffre.services.kinds import workspaces as kind_of
from zaffre.services.kinds.base import Document, Kind
from zaffre.services.resources import PAGE
from zaffre.services.workspaces import DELETING, TYPE, Workspace, Workspaces, scope_of, workspace_of
from zaffre.store import crashpoint, operations, resources
from zaffre.store.database import Database
from zaffre.store.resources import Cursor, Row
from zaffre.store.unit import Actor, Unit

DEPLOYMENT = "deployments"
"""What ARM calls a template that was carried out; its rows lie beside those of the workspaces."""


class WorkspaceChanges:
    def __init__(self, database: Database, kind: Kind, workspaces: Workspaces) -> None:
        self._database = database
        self._workspaces = workspaces
        self.kind = kind

    def now(self) -> int:
        return self._database.runtime.now()

    async def row(self, subscription: str, group: str, name: str) -> Row:
        """The workspace's row, in whatever state it is. Raises NotFound."""
        found = await self._database.read(lambda conn: resources.get(conn, scope_of(subscription, group), TYPE, name))
        if found is None:
            raise NotFound(f"There is no workspace '{name}' in resource group '{group}'.")
        return found

    async def put(self, actor: Actor, subscription: str, group: str, name: str, body: Document) -> tuple[Row, bool]:
        """Make the workspace, or change the one that is there by what `body` says; whether it was made."""
        self.kind.check_name(name)
        check_place(subscription, group)
        accepted = kind_of.accept(self.kind, body)
        if accepted["kind"] == "Project":
            accepted["properties"]["hubResourceId"] = await self._hub(accepted["properties"]["hubResourceId"])
        made, new = await self._workspaces.make(actor, subscription, group, name, accepted)
        return (await self.row(subscription, group, name) if new else await self.update(actor, made, body)), new

    async def update(self, actor: Actor, workspace: Workspace, given: Document) -> Row:
        """Change the workspace by the fields that `given` has; see `kinds.workspaces.change`."""

        def work(unit: Unit) -> Row:
            row = _locked(unit, workspace)
            body = kind_of.change(self.kind, row.body, given)
            if body != row.body:
                resources.update(unit, actor, row.pk, body=body)
                if ws.credentials(body) != ws.credentials(row.body):
                    _set_credentials(unit, actor, workspace, body)
                unit.audit(actor, "workspaces/write", workspace.path)
                unit.emit(workspace.id, TYPE, workspace.name)
            return _locked(unit, workspace)

        return await self._database.write(work)

    async def begin_delete(self, actor: Actor, workspace: Workspace) -> str:
        """From now on nobody works in the workspace; the operation ends when nothing of it is left.

        Raises Conflict for a hub that has projects. Asking again gives the operation that runs.
        """
        fresh = self._database.runtime.guid()

        def work(unit: Unit) -> str:
            row = resources.get(
                unit.conn, scope_of(workspace.subscription, workspace.resource_group), TYPE, workspace.name, lock=True
            )
            if row is None:
                raise NotFound(f"There is no workspace '{workspace.name}'.")
            if row.state == DELETING:
                return str(row.server["operation"])
            projects = [other.name for other in _projects(unit.conn, workspace.path)]
            if projects:
                raise Conflict(
                    f"Hub '{workspace.name}' has the projects {', '.join(projects)}. Delete them first.",
                    code="WorkspaceHubHasProjects",
                )
            operations.begin(unit, fresh, operation_scope(workspace.subscription), f"{TYPE}/{workspace.id}")
            resources.update(unit, actor, row.pk, state=DELETING, server={**row.server, "operation": fresh})
            unit.audit(actor, "workspaces/delete", workspace.path)
            unit.emit(workspace.id, TYPE, workspace.name, {"state": DELETING})
            crashpoint.reach(unit, f"workspaces/{workspace.name}/{row.state}>{DELETING}")
            return fresh

        return await self._database.write(work)

    async def operation(self, subscription: str, id_: str) -> operations.Operation:
        """A deletion, while it runs and after. Raises NotFound."""
        found = await self._database.read(lambda conn: operations.get(conn, operation_scope(subscription), id_))
        if found is None:
            raise NotFound(f"There is no operation '{id_}' in subscription '{subscription}'.")
        return found

    async def page(
        self, subscription: str, group: str | None, words: Collection[str], after: Cursor | None, limit: int
    ) -> tuple[list[Row], Cursor | None]:
        """Workspaces of a group, or of all groups of a subscription, of these kinds or of all; oldest first."""
        scope = scope_of(subscription, group) if group is not None else subscription.lower()

        def work(conn: sa.Connection) -> tuple[list[Row], Cursor | None]:
            found: list[Row] = []
            last = after.pk if after else None
            while True:
                rows = resources.below(conn, scope, TYPE, after=last, limit=PAGE)
                for row in rows:
                    if not words or row.body.get("kind", kind_of.DEFAULT) in words:
                        if len(found) == limit:
                            return found, Cursor(pk=found[-1].pk)
                        found.append(row)
                if len(rows) < PAGE:
                    return found, None
                last = rows[-1].pk

        return await self._database.read(work)

    # ---- templates

    async def deployed(
        self, actor: Actor, subscription: str, group: str, name: str, workspace: Workspace, began: int
    ) -> Row:
        """Remember that the deployment `name` made the workspace; the one of that name before it is forgotten."""
        scope = scope_of(subscription, group)
        took = self._database.runtime.now() - began
        server = {"workspace": workspace.name, "path": workspace.path, "began": began, "took": took}

        def work(unit: Unit) -> Row:
            if not resources.insert(unit, actor, scope, DEPLOYMENT, name, {}, server):
                row = resources.get(unit.conn, scope, DEPLOYMENT, name, lock=True)
                assert row is not None, "it was there a moment ago"
                resources.update(unit, actor, row.pk, server=server)
            unit.audit(actor, "deployments/write", f"{scope}/deployments/{name}", detail={"workspace": workspace.path})
            row = resources.get(unit.conn, scope, DEPLOYMENT, name)
            assert row is not None, "it was written in this transaction"
            return row

        return await self._database.write(work)

    async def deployment(self, subscription: str, group: str, name: str) -> Row:
        found = await self._database.read(
            lambda conn: resources.get(conn, scope_of(subscription, group), DEPLOYMENT, name)
        )
        if found is None:
            raise NotFound(f"There is no deployment '{name}' in resource group '{group}'.", code="DeploymentNotFound")
        return found

    async def _hub(self, id_: str) -> str:
        """The hub's own id. Raises InvalidInput unless there is such a hub."""
        parts = id_.strip("/").split("/")
        field = "properties.hubResourceId"
        if len(parts) == 8 and parts[6].lower() == "workspaces":
            scope = scope_of(parts[1], parts[3])
            row = await self._database.read(lambda conn: resources.get(conn, scope, TYPE, parts[7]))
            if row is not None and row.state != DELETING and row.body.get("kind") == "Hub":
                return workspace_of(row).path
        raise InvalidInput(f"Field '{field}': there is no hub '{id_[:300]}'.", code="InvalidField", target=field)


def check_place(subscription: str, group: str) -> None:
    """Subscriptions and groups are only names here, and any may be taken that ARM would take."""
    for value, what, form in (
        (subscription, "subscription", _SUBSCRIPTION),
        (group, "resource group", _GROUP),
    ):
        if not form.fullmatch(value):
            raise InvalidInput(
                f"'{value[:100]}' is not a valid name for a {what}; expected the form {form.pattern}.",
                code="InvalidName",
                target=what,
            )


def check_deployment_name(name: str) -> None:
    if not _DEPLOYMENT.fullmatch(name):
        raise InvalidInput(
            f"'{name[:100]}' is not a valid name for a deployment; expected the form {_DEPLOYMENT.pattern}.",
            code="InvalidName",
            target="deploymentName",
        )


def operation_scope(subscription: str) -> str:
    """Where operations on workspaces are kept: a workspace's own scope goes with it."""
    return subscription.lower()


_DEPLOYMENT = re.compile(r"[\w.()-]{1,64}")
_SUBSCRIPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_GROUP = re.compile(r"[\w()-][\w(). -]{0,89}(?<!\.)")


def _locked(unit: Unit, workspace: Workspace) -> Row:
    scope = scope_of(workspace.subscription, workspace.resource_group)
    row = resources.get(unit.conn, scope, TYPE, workspace.name, lock=True)
    if row is None:
        raise NotFound(f"There is no workspace '{workspace.name}'.")
    if row.state == DELETING:
        raise ws.being_deleted(row.name)
    return row


def _projects(conn: sa.Connection, hub: str) -> list[Row]:
    rows = resources.in_states(conn, TYPE, (ws.SUCCEEDED,))
    return [row for row in rows if row.body["properties"].get("hubResourceId", "").lower() == hub.lower()]


def _set_credentials(unit: Unit, actor: Actor, workspace: Workspace, body: Document) -> None:
    for name in (ws.BLOB_STORE, ws.ARTIFACT_STORE):
        row = resources.get(unit.conn, workspace.id, ws.DATASTORE, name, lock=True)
        if row is not None:
            properties: dict[str, Any] = {**row.body["properties"], "credentials": ws.credentials(body)}
            resources.update(unit, actor, row.pk, body={**row.body, "properties": properties})
            unit.emit(workspace.id, ws.DATASTORE, name)
