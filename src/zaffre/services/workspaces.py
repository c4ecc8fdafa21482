"""Workspaces: looked up on nearly every request, so remembered; made with their storage and default datastores."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import NotFound
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
STORAGE_SUFFIX = ".blob.core.windows.net"


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
        return "zf" + self.id.replace("-", "")[:20]

    @property
    def container(self) -> str:
        """The container behind `workspaceblobstore`; unique on the server, so a URL that lost its account is still ours."""
        return f"azureml-blobstore-{self.id}"


class Workspaces:
    """`find` for requests, `create` for whoever may make one."""

    def __init__(self, database: Database, vault: Vault, location: str) -> None:
        self._database = database
        self._vault = vault
        self._location = location
        self._known: dict[tuple[str, str, str], Workspace] = {}
        self._by_id: dict[str, Workspace] = {}
        database.bells.listen(TYPE, lambda _key: self._forget())

    async def find(self, subscription: str, group: str, name: str) -> Workspace:
        """The workspace. Raises NotFound that names the command which makes it."""
        known = self._known.get((subscription.lower(), group.lower(), name.lower()))
        if known is not None:
            return known
        row = await self._database.read(lambda conn: resources.get(conn, scope_of(subscription, group), TYPE, name))
        if row is None:
            raise NotFound(
                f"There is no workspace '{name}' in resource group '{group}' of subscription '{subscription}' on this server. "
                f"Make it with: zaffre env --subscription {subscription} --resource-group {group} --workspace {name}",
            )
        return self._remember(row)

    async def by_id(self, id_: str) -> Workspace:
        known = self._by_id.get(id_)
        if known is not None:
            return known
        rows = await self._database.read(_all)
        for row in rows:
            self._remember(row)
        if id_ not in self._by_id:
            raise NotFound(f"There is no workspace with the id '{id_}'.")
        return self._by_id[id_]

    async def all(self) -> list[Workspace]:
        return [workspace_of(row) for row in await self._database.read(_all)]

    async def create(self, actor: Actor, subscription: str, group: str, name: str, body: dict[str, Any]) -> Workspace:
        """Make the workspace with its storage, or answer the one that exists. `body` is as its kind accepted it."""
        id_ = self._database.runtime.guid()
        key = self._database.runtime.storage_key()

        def work(unit: Unit) -> Row:
            row = create(unit, actor, subscription, group, name, body, id_, self._location)
            made = workspace_of(row)
            if made.id == id_:
                self._vault.put(unit, made.id, "storage-account-key", key)
            return row

        return self._remember(await self._database.write(work))

    async def account_key(self, workspace: Workspace) -> str:
        """The storage account's key, which signs and verifies SAS."""
        found = await self._database.read(lambda conn: self._vault.get(conn, workspace.id, "storage-account-key"))
        if found is None:
            raise NotFound(f"The storage key of workspace '{workspace.name}' is gone from the vault.")
        return found

    def _remember(self, row: Row) -> Workspace:
        made = workspace_of(row)
        self._known[(made.subscription.lower(), made.resource_group.lower(), made.name.lower())] = made
        self._by_id[made.id] = made
        return made

    def _forget(self) -> None:
        self._known.clear()
        self._by_id.clear()


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
                unit, actor, id_, DATASTORE, store, _datastore(made, container, default), {"builtin": True}
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


def _all(conn: sa.Connection) -> list[Row]:
    return resources.in_states(conn, TYPE, ("Succeeded",))


def _datastore(workspace: Workspace, container: str, default: bool) -> dict[str, Any]:
    return {
        "properties": {
            "datastoreType": "AzureBlob",
            "accountName": workspace.account,
            "containerName": container,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "isDefault": default,
            "credentials": {"credentialsType": "Sas"},
            "serviceDataAccessAuthIdentity": "None",
            "description": None,
            "tags": {},
            "properties": {},
        }
    }
