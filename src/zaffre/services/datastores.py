"""Datastores: their secrets, and places to upload code to."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from zaffre.errors import Conflict, NotFound
from zaffre.services import sas
from zaffre.services.blobs import Blobs
from zaffre.services.kinds.base import Kind
from zaffre.services.resources import Resources
from zaffre.services.workspaces import STORAGE_SUFFIX, Workspace, Workspaces
from zaffre.store.unit import Actor

SAS_HOURS = 12


class Datastores:
    def __init__(self, resources: Resources, workspaces: Workspaces, blobs: Blobs) -> None:
        self._resources = resources
        self._blobs = blobs
        self._workspaces = workspaces

    async def secrets(self, workspace: Workspace, name: str) -> dict[str, Any]:
        """What `listSecrets` answers. Our own stores give a SAS for the whole account: the SDK uses it for sister containers."""
        kind: Kind = self._resources.kinds["workspaces/datastores"]
        row = await self._resources.get(workspace, kind, "", name)
        properties = row.body["properties"]
        if properties.get("accountName") == workspace.account:
            token = await self._sas(workspace, "racwdl")
            return {"secretsType": "Sas", "sasToken": token}
        key = f"datastores/{row.name.lower()}/secrets"
        sealed = await self._resources.database.read(lambda conn: self._resources.vault.get(conn, workspace.id, key))
        if sealed is None:
            raise NotFound(
                f"Datastore '{row.name}' has no secrets: its credential is of type '{properties['credentials'].get('credentialsType')}'."
            )
        found: dict[str, Any] = msgspec.json.decode(sealed)
        return {"secretsType": properties["credentials"].get("credentialsType"), **found}

    async def pending_upload(self, actor: Actor, workspace: Workspace, name: str, version: str) -> tuple[str, str]:
        """Path (without host) of a container for one code version, and a SAS that may write there.

        Every version has a container of its own: the SDK uploads to the container's root, so two folders of one name would mix.
        """
        kind = self._resources.kinds["workspaces/codes"]
        kind.check_name(name)
        kind.check_name(version)
        container = "code-" + hashlib.sha256(f"{name.lower()}/{version.lower()}".encode()).hexdigest()[:32]
        try:
            await self._blobs.create_container(workspace.account, container, actor)
        except Conflict:
            pass  # the same version is uploaded again, after a failure for instance
        return f"/{workspace.account}{STORAGE_SUFFIX}/{container}", await self._sas(workspace, "racwdl")

    async def _sas(self, workspace: Workspace, permissions: str) -> str:
        now = self._resources.database.runtime.now()
        key = await self._workspaces.account_key(workspace)
        return sas.account_sas(workspace.account, key, permissions=permissions, expiry=now + SAS_HOURS * 3_600_000)
