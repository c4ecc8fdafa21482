"""Workspaces: looked up on nearly every request, so remembered; made with their storage and default datastores.

What is done to a workspace as a whole is in `workspace_changes`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, NotFound
from zaffre.services import urls
from zaffre.store import resources, tables
from zaffre.store.database import Database
from zaffre.store.resources import Row
from zaffre.store.seal import Vault
from zaffre.store.unit import Actor, Unit

TYPE = "workspaces"
DATASTORE = "workspaces/datastores"
BLOB_STORE = "workspaceblobstore"
ARTIFACT_STORE = "workspaceartifactstore"
ARTIFACT_CONTAINER = "azureml"
STORAGE_SUFFIX = urls.STORAGE_SUFFIX
SUCCEEDED, DELETING = "Succeeded", "Deleting"
TOMB_SCOPE, TOMB_TYPE = "deleted", "deletedWorkspaces"
"""Where the row of a workspace lies, under its id, for a while after its end."""
KEY, RETIRING_KEY = "storage-account-key", "storage-account-key-retiring"
RETIRES_MS = 12 * 3_600_000
"""How long a replaced storage key is good: as long as a signature that was made with it may be."""


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """What the rest of the house needs to know of a workspace. `id` is its GUID and the scope of all its rows."""

    id: str
    subscription: str
    resource_group: str
    name: str
    location: str

    @property
    def path(self) -> str:
        """Its ARM id, in the one capitalisation the clients' parsers accept."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )

    @property
    def uri(self) -> str:
        """The workspace in an `azureml://` address."""
        return f"subscriptions/{self.subscription}/resourcegroups/{self.resource_group}/workspaces/{self.name}"

    @property
    def account(self) -> str:
        """Its storage account, one a workspace."""
        return urls.account_of(self.id)

    @property
    def container(self) -> str:
        """The container behind `workspaceblobstore`; unique on the server, so a URL that lost its account is still ours."""
        return f"azureml-blobstore-{self.id}"

    @property
    def storage_id(self) -> str:
        """The ARM id its storage account goes by."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.Storage/storageAccounts/{self.account}"
        )


class Workspaces:
    """`find` for requests, `create` for whoever may make one."""

    def __init__(self, database: Database, vault: Vault, location: str) -> None:
        self._database = database
        self._vault = vault
        self._location = location
        self._known: dict[tuple[str, str, str], Workspace] = {}
        self._by_id: dict[str, Workspace] = {}
        self._changes = 0
        database.bells.listen(TYPE, lambda _key: self._forget())

    async def find(self, subscription: str, group: str, name: str) -> Workspace:
        """The workspace. Raises NotFound that names the command which makes it."""
        known = self._known.get((subscription.lower(), group.lower(), name.lower()))
        if known is not None:
            return known
        changes = self._changes
        row = await self._database.read(lambda conn: resources.get(conn, scope_of(subscription, group), TYPE, name))
        if row is None:
            raise NotFound(
                f"There is no workspace '{name}' in resource group '{group}' of subscription '{subscription}' on this server. "
                f"Make it with: zaffre env --subscription {subscription} --resource-group {group} --workspace {name}",
            )
        if row.state == DELETING:
            raise being_deleted(row.name)
        return self._remember(row, changes)

    async def by_id(self, id_: str) -> Workspace:
        """The workspace, even while it is deleted: what runs in it has to be brought to an end."""
        known = self._by_id.get(id_)
        if known is not None:
            return known
        changes = self._changes
        rows = await self._database.read(lambda conn: resources.in_states(conn, TYPE, (SUCCEEDED, DELETING)))
        found = {row.server["workspaceId"]: workspace_of(row) for row in rows}
        if changes == self._changes:  # else what was read may be older than the change
            self._by_id = found
        if id_ not in found:
            raise NotFound(f"There is no workspace with the id '{id_}'.")
        return found[id_]

    async def all(self) -> list[Workspace]:
        """Every workspace that can be worked in."""
        rows = await self._database.read(lambda conn: resources.in_states(conn, TYPE, (SUCCEEDED,)))
        return [workspace_of(row) for row in rows]

    async def create(self, actor: Actor, subscription: str, group: str, name: str, body: dict[str, Any]) -> Workspace:
        """Make the workspace with its storage, or answer the one that exists. `body` is as its kind accepted it."""
        return (await self.make(actor, subscription, group, name, body))[0]

    async def make(
        self, actor: Actor, subscription: str, group: str, name: str, body: dict[str, Any]
    ) -> tuple[Workspace, bool]:
        """The same, and whether it was made now. Raises Conflict while one of that name is deleted."""
        id_ = self._database.runtime.guid()
        key = self._database.runtime.storage_key()

        def work(unit: Unit) -> Row:
            row = create(unit, actor, subscription, group, name, body, id_, self._location)
            made = workspace_of(row)
            if made.id == id_:
                self._vault.put(unit, made.id, KEY, key)
            elif row.state == DELETING:
                raise being_deleted(row.name)
            return row

        made = workspace_of(await self._database.write(work))
        return made, made.id == id_

    async def account_key(self, workspace: Workspace) -> str:
        """The storage account's key, which signs and verifies SAS."""
        found = await self._database.read(lambda conn: self._vault.get(conn, workspace.id, KEY))
        if found is None:
            raise NotFound(f"The storage key of workspace '{workspace.name}' is gone from the vault.")
        return found

    async def retiring_key(self, workspace: Workspace) -> tuple[str, int] | None:
        """The key before this one and until when it still verifies what it signed, if it was replaced lately."""
        sealed = await self._database.read(lambda conn: self._vault.get(conn, workspace.id, RETIRING_KEY))
        until, _, key = (sealed or "").partition(" ")
        return (key, int(until)) if until and int(until) > self._database.runtime.now() else None

    async def rotate_key(self, actor: Actor, workspace: Workspace) -> None:
        """A new storage key. What the old one signed is good for `RETIRES_MS` more, or until the next rotation.

        So an upload that runs goes on, and a key that leaked is worth nothing after two rotations.
        """
        fresh = self._database.runtime.storage_key()

        def work(unit: Unit) -> None:
            old = self._vault.get(unit.conn, workspace.id, KEY)
            if old is not None:
                self._vault.put(unit, workspace.id, RETIRING_KEY, f"{unit.now + RETIRES_MS} {old}")
            self._vault.put(unit, workspace.id, KEY, fresh)
            unit.audit(actor, "workspaces/resyncKeys", workspace.path)
            unit.emit(workspace.id, TYPE, workspace.name)

        await self._database.write(work)

    def _remember(self, row: Row, changes: int) -> Workspace:
        """`changes` is how many there were before the row was read: one that is older than a change is not kept."""
        made = workspace_of(row)
        if changes == self._changes:
            self._known[(made.subscription.lower(), made.resource_group.lower(), made.name.lower())] = made
            self._by_id[made.id] = made
        return made

    def _forget(self) -> None:
        self._changes += 1
        self._known, self._by_id = {}, {}


def create(
    unit: Unit, actor: Actor, subscription: str, group: str, name: str, body: dict[str, Any], id_: str, location: str
) -> Row:
    """Insert the workspace, its containers and its two datastores; the existing row when there is one."""
    scope = scope_of(subscription, group)
    server = {
        "workspaceId": id_,
        "subscription": subscription,
        "resourceGroup": group,
        "location": body.get("location") or location,
    }
    if resources.insert(unit, actor, scope, TYPE, name, body, server):
        made = Workspace(
            id=id_, subscription=subscription, resource_group=group, name=name, location=server["location"]
        )
        for container in (made.container, ARTIFACT_CONTAINER):
            unit.conn.execute(
                sa.insert(tables.blob_containers).values(account=made.account, name=container, created_at=unit.now)
            )
        for store, container, default in (
            (BLOB_STORE, made.container, True),
            (ARTIFACT_STORE, ARTIFACT_CONTAINER, False),
        ):
            resources.insert(
                unit, actor, id_, DATASTORE, store, _datastore(made, container, default, body), {"builtin": True}
            )
        unit.audit(actor, "workspaces/write", made.path)
        unit.emit(id_, TYPE, name)
    row = resources.get(unit.conn, scope, TYPE, name)
    assert row is not None, "the row was inserted or found in this transaction"
    return row


def workspace_of(row: Row) -> Workspace:
    server = row.server
    return Workspace(
        id=server["workspaceId"],
        subscription=server["subscription"],
        resource_group=server["resourceGroup"],
        name=row.name,
        location=server["location"],
    )


def run_folder(run_id: str) -> str:
    """Where a run's or a logged model's artifacts lie in the artifact container."""
    return f"ExperimentRun/dcid.{run_id}"


def output_folder(run_id: str, name: str) -> str:
    """Where a named output without a path of its own lies in the workspace's container."""
    return f"azureml/{run_id}/{name}"


def scope_of(subscription: str, group: str) -> str:
    """The scope of the workspaces' own rows."""
    return f"{subscription}/{group}".lower()


def ensure_open(unit: Unit, workspace: Workspace) -> None:
    """Raise Conflict when the workspace's deletion has begun since the request came in, NotFound when it has ended."""
    row = resources.get(unit.conn, scope_of(workspace.subscription, workspace.resource_group), TYPE, workspace.name)
    if row is not None and row.state == DELETING:
        raise being_deleted(workspace.name)
    if resources.get(unit.conn, TOMB_SCOPE, TOMB_TYPE, workspace.id) is not None:
        raise NotFound(f"There is no workspace '{workspace.name}' any more.")


def being_deleted(name: str) -> Conflict:
    return Conflict(
        f"Workspace '{name}' is being deleted. Repeat the request when that is done.", code="WorkspaceDeleting"
    )


def credentials(body: dict[str, Any]) -> dict[str, str]:
    """How clients reach the workspace's own datastores: by signatures that they ask for, or by their own token."""
    by_token = (body.get("properties") or {}).get("systemDatastoresAuthMode") == "Identity"
    return {"credentialsType": "None" if by_token else "Sas"}


def _datastore(workspace: Workspace, container: str, default: bool, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "properties": {
            "datastoreType": "AzureBlob",
            "accountName": workspace.account,
            "containerName": container,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "isDefault": default,
            "credentials": credentials(body),
            "serviceDataAccessAuthIdentity": "None",
            "description": None,
            "tags": {},
            "properties": {},
        }
    }
