"""Datastores: kept with their secrets sealed, told to whoever stages data, and places to upload code to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from zaffre.errors import Conflict, InvalidInput, NotFound, NotServed, ZaffreError
from zaffre.services import sas
from zaffre.services.blobs import Blobs
from zaffre.services.datastore_sources import LOCAL_FOLDER, is_own, root_of, source_of
from zaffre.services.kinds.base import Document, Kind
from zaffre.services.kinds.datastore_credentials import secret_field
from zaffre.services.kinds.datastores import account_of, container_of, hidden_container
from zaffre.services.resources import Guard, Resources, Written
from zaffre.services.workspaces import BLOB_STORE, DATASTORE, STORAGE_SUFFIX, Workspace, Workspaces
from zaffre.store import resources
from zaffre.store.resources import Row
from zaffre.store.unit import Actor, Unit

SAS_HOURS = 12
MOST_HOURS = 7 * 24
_MUTABLE = ("description", "tags", "properties", "isDefault")
_FIXED = ("datastoreType", "accountName", "containerName", "protocol")


class Opened(NamedTuple):
    """`secret` is as `listSecrets` answers it; `account` is set where this server itself speaks for the storage."""

    name: str
    properties: Document
    secret: Document
    account: str = ""


class Datastores(Resources):
    """The generic service, with the rules for defaults and secrets.

    `folders` are the operator's: a datastore of the server's own disk must lie in one of them. `probe` looks whether a
    source, as `source` answers it, opens; it is handed in, since services reach no network.
    """

    def __init__(
        self,
        generic: Resources,
        workspaces: Workspaces,
        blobs: Blobs,
        folders: tuple[Path, ...],
        probe: Callable[[str, Document], None],
    ) -> None:
        super().__init__(generic.database, generic.vault, generic.kinds)
        self._blobs = blobs
        self._workspaces = workspaces
        self._folders = folders
        self._probe = probe

    async def put(
        self,
        actor: Actor,
        workspace: Workspace,
        kind: Kind,
        parent: str,
        name: str,
        body: Document,
        *,
        server: Document | None = None,
        guard: Guard | None = None,
        secrets_once: Document | None = None,
        validate: bool = False,
    ) -> Written:
        """Make or change one; with `validate` only if it opens. A body without a secret keeps the one there is."""
        kind.check_name(name)
        row = await self.database.read(lambda conn: resources.get(conn, workspace.id, DATASTORE, name))
        body = _inward(workspace, row, body)
        secrets, bare = kind.take_secrets(body)
        properties = kind.accept(bare)["properties"]
        if properties.get("zaffreType") == LOCAL_FOLDER:
            root_of(self._folders, properties["path"])
        if validate:
            secret = secrets.get("secrets") or await self._sealed(workspace, name)
            await self._check_opens(workspace, name, properties, secret)

        def check(unit: Unit, row: Row | None) -> None:
            resources.get(
                unit.conn, workspace.id, DATASTORE, BLOB_STORE, lock=True
            )  # one change at a time: see _settled
            if row is not None and row.server.get("builtin"):
                _refuse_change(row, properties)
            self._check_secret(unit, workspace, name, row, properties, given=bool(secrets))

        return await super().put(actor, workspace, kind, parent, name, body, guard=check)

    async def secrets(self, workspace: Workspace, name: str, *, expirable: bool, hours: int = 1) -> Document:
        """What `listSecrets` answers. Our own stores give a SAS for the whole account: the SDK uses it for sister containers.

        An `expirable` secret of a storage account is a SAS made with its key, as Azure does it.
        """
        if not 1 <= hours <= MOST_HOURS:
            raise InvalidInput(
                f"Field 'expireAfterHours': {hours}; expected 1 to {MOST_HOURS}.",
                code="InvalidField",
                target="expireAfterHours",
            )
        row = await self.get(workspace, self.kinds[DATASTORE], "", name)
        properties = row.body["properties"]
        if properties.get("accountName") == workspace.account:
            return {"secretsType": "Sas", "sasToken": await self.own_sas(workspace)}
        type_ = properties["credentials"]["credentialsType"]
        sealed = await self._sealed(workspace, name)
        if sealed is None:
            raise NotFound(f"Datastore '{row.name}' has no secrets: its credential is of type '{type_}'.")
        found: Document = msgspec.json.decode(sealed)
        if expirable and properties.get("zaffreType"):
            return {"secretsType": "Sas", "sasToken": await self.own_sas(workspace, account=account_of(row.pk))}
        if expirable and type_ == "AccountKey" and "accountName" in properties:
            expiry = self.database.runtime.now() + hours * 3_600_000
            token = sas.account_sas(properties["accountName"], found["key"], permissions="racwdl", expiry=expiry)
            return {"secretsType": "Sas", "sasToken": token}
        return {"secretsType": type_, **found}

    async def opened(self, workspace: Workspace, name: str) -> Opened:
        """A datastore and what opens it, for an engine that reads storage by itself. An account's key is given as a SAS."""
        row = await self.get(workspace, self.kinds[DATASTORE], "", name)
        properties = row.body["properties"]
        if is_own(workspace, properties):
            return Opened(row.name, properties, {"sasToken": await self.own_sas(workspace)}, workspace.account)
        if properties.get("zaffreType"):
            account = account_of(row.pk)
            shown = {**properties, "containerName": container_of(properties)}
            return Opened(row.name, shown, {"sasToken": await self.own_sas(workspace, account=account)}, account)
        if await self._sealed(workspace, name) is None:
            return Opened(row.name, properties, {})
        return Opened(row.name, properties, await self.secrets(workspace, name, expirable=True, hours=SAS_HOURS))

    async def source(self, workspace: Workspace, name: str) -> Document:
        """Where a datastore outside lies and with which secret, as execution's `Source` reads it. For memory only.

        Raises NotFound, and NotServed for one that Zaffre keeps and cannot reach.
        """
        row = await self.get(workspace, self.kinds[DATASTORE], "", name)
        return source_of(row.name, row.body["properties"], await self._sealed(workspace, name), self._folders)

    async def trouble(self, workspace: Workspace, name: str) -> str | None:
        """Why the datastore does not open now, as a PUT would find; None for one that does, or cannot be looked at."""
        row = await self.get(workspace, self.kinds[DATASTORE], "", name)
        try:
            await self._check_opens(workspace, row.name, row.body["properties"], await self._sealed(workspace, name))
        except InvalidInput as error:
            return error.message.partition(" It was not kept")[0]
        return None

    async def own_sas(self, workspace: Workspace, permissions: str = "racwdl", account: str = "") -> str:
        """A SAS for the workspace's own account, or one that stands for a datastore; both have the same key."""
        now = self.database.runtime.now()
        key = await self._workspaces.account_key(workspace)
        return sas.account_sas(
            account or workspace.account, key, permissions=permissions, expiry=now + SAS_HOURS * 3_600_000
        )

    async def pending_upload(self, actor: Actor, workspace: Workspace, name: str, version: str) -> tuple[str, str]:
        """Path (without host) of a container for one code version, and a SAS that may write there.

        Every version has a container of its own: the SDK uploads to the container's root, so two folders of one name would mix.
        """
        kind = self.kinds["workspaces/codes"]
        kind.check_name(name)
        kind.check_name(version)
        container = "code-" + hashlib.sha256(f"{name.lower()}/{version.lower()}".encode()).hexdigest()[:32]
        try:
            await self._blobs.create_container(workspace.account, container, actor)
        except Conflict:
            pass  # the same version is uploaded again, after a failure for instance
        return f"/{workspace.account}{STORAGE_SUFFIX}/{container}", await self.own_sas(workspace)

    async def delete(self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str) -> str | None:
        row = await self.database.read(lambda conn: resources.get(conn, workspace.id, DATASTORE, name))
        operation = await super().delete(actor, workspace, kind, parent, name)
        if row is not None and row.body["properties"].get("zaffreType"):
            try:  # what was remembered of its files (zaffre.services.outside_blobs)
                await self._blobs.delete_container(workspace.account, hidden_container(row.pk), actor)
            except NotFound:
                pass
        return operation

    def may_delete(self, unit: Unit, workspace: Workspace, row: Row) -> None:
        super().may_delete(unit, workspace, row)
        if row.body["properties"].get("isDefault"):
            raise Conflict(
                f"Datastore '{row.name}' is the workspace's default, where data goes that names no other. Make another the default first."
            )

    def _upsert(
        self,
        unit: Unit,
        actor: Actor,
        workspace: Workspace,
        kind: Kind,
        parent: str,
        name: str,
        body: Document,
        server: Document,
        operation: str | None,
    ) -> tuple[Row, bool]:
        row = resources.get(unit.conn, workspace.id, DATASTORE, name, lock=True)
        if row is not None and row.server.get("builtin"):
            kept = row.body["properties"]
            given = {field: body["properties"].get(field) for field in _MUTABLE}
            body = {**row.body, "properties": {**kept, **given}}
        body = {
            **body,
            "properties": {**body["properties"], "isDefault": self._settled(unit, actor, workspace, row, body)},
        }
        return super()._upsert(unit, actor, workspace, kind, parent, name, body, server, operation)

    def _settled(self, unit: Unit, actor: Actor, workspace: Workspace, row: Row | None, body: Document) -> bool:
        """Whether it is the default from now on. There is always exactly one: a wish moves the flag, nothing else does."""
        was = bool(row is not None and row.body["properties"].get("isDefault"))
        wish = body["properties"].get("isDefault")
        if wish is None or wish == was:
            return was
        if not wish and row is not None and row.server.get("builtin") and row.name == BLOB_STORE:
            raise Conflict(f"'{BLOB_STORE}' stays the default until another is made it.", target="properties.isDefault")
        for other in resources.listing(unit.conn, workspace.id, DATASTORE):
            default = not wish and other.name == BLOB_STORE
            if (row is None or other.pk != row.pk) and other.body["properties"].get("isDefault") != default:
                changed = {**other.body["properties"], "isDefault": default}
                resources.update(unit, actor, other.pk, body={**other.body, "properties": changed})
        return bool(wish)

    def _check_secret(
        self, unit: Unit, workspace: Workspace, name: str, row: Row | None, properties: Document, *, given: bool
    ) -> None:
        """Raise InvalidInput when credentials come without their secret and there is none; forget one that fits no more."""
        if properties.get("accountName") == workspace.account:
            return
        type_ = properties["credentials"]["credentialsType"]
        if row is not None and row.body["properties"]["credentials"]["credentialsType"] != type_:
            self.vault.delete(unit, workspace.id, _key(name))
        field = secret_field(properties)
        if field and not given and self.vault.get(unit.conn, workspace.id, _key(name)) is None:
            target = f"properties.credentials.secrets.{field}"
            raise InvalidInput(
                f"Field '{target}': credentials of type {type_} need it.", code="InvalidField", target=target
            )

    async def _check_opens(self, workspace: Workspace, name: str, properties: Document, secret: str | None) -> None:
        known = properties.get("zaffreType") or properties["credentials"]["credentialsType"] != "None"
        if properties.get("accountName") == workspace.account or not known:
            return  # ours, or Azure's by an identity that is the caller's and not ours
        try:
            source = source_of(name, properties, secret, self._folders)
        except NotServed:
            return  # a record: there is nothing to look at
        try:
            await asyncio.to_thread(self._probe, name, source)
        except ZaffreError as error:
            raise InvalidInput(
                f"{error.message} It was not kept; PUT it with skipValidation=true to keep it all the same.",
                code="DatastoreValidationFailed",
            ) from None

    async def _sealed(self, workspace: Workspace, name: str) -> str | None:
        return await self.database.read(lambda conn: self.vault.get(conn, workspace.id, _key(name)))


def _inward(workspace: Workspace, row: Row | None, body: Document) -> Document:
    """The body with the account's name as it is kept: an answer spelled it as an address of this server."""
    properties = body.get("properties")
    told = properties.get("accountName") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(told, str):
        return body
    account = told.rpartition("/")[2]
    changed: dict[str, Any] = dict(properties)
    if row is not None and account == account_of(row.pk):
        kept = row.body["properties"]
        account = kept["accountName"]
        if properties.get("containerName") == container_of(kept):
            changed["containerName"] = kept["containerName"]
    elif account != workspace.account:
        return body
    changed["accountName"] = account
    if row is not None and row.server.get("builtin") and isinstance(properties.get("credentials"), dict):
        changed["credentials"] = row.body["properties"]["credentials"]  # what the SDK was given goes back with it
    return {**body, "properties": changed}


def _refuse_change(row: Row, properties: Document) -> None:
    for field in _FIXED:
        if properties.get(field) != row.body["properties"].get(field):
            raise Conflict(
                f"'{row.name}' belongs to the workspace itself; of it only {', '.join(_MUTABLE)} can be changed.",
                target=f"properties.{field}",
            )


def _key(name: str) -> str:
    return f"datastores/{resources.key(name)}/secrets"
