"""Storage accounts: every workspace has one, named by the workspace's id, with its key in the vault."""

from __future__ import annotations

from zaffre.errors import NotFound
from zaffre.services import workspaces as ws
from zaffre.services.kinds.datastores import account_pk
from zaffre.services.workspaces import Workspace, Workspaces
from zaffre.store import resources
from zaffre.store.database import Database

MISS_PAUSE_MS = 1000


class StorageAccounts:
    """Asked on every request to a blob, so all is remembered until a workspace changes."""

    def __init__(self, database: Database, workspaces: Workspaces) -> None:
        self._database = database
        self._workspaces = workspaces
        self._known: dict[str, Workspace] = {}
        self._keys: dict[str, tuple[str, tuple[str, int] | None]] = {}
        self._read_at: int | None = None
        self._changes = 0
        database.bells.listen(ws.TYPE, lambda _key: self._forget())

    async def find(self, account: str) -> Workspace:
        """The workspace behind the account, a datastore's too. Raises NotFound."""
        pk = account_pk(account)
        if pk is not None:
            return await self._of_datastore(account, pk)
        if account not in self._known and self._may_look():
            changes = self._changes
            found = {one.account: one for one in await self._workspaces.all()}
            if changes == self._changes:  # else what was read may be older than the change
                self._known, self._read_at = found, self._database.runtime.now()
            elif account in found:
                return found[account]
        if account not in self._known:
            raise NotFound(f"There is no storage account '{account}' on this server.")
        return self._known[account]

    async def _of_datastore(self, account: str, pk: int) -> Workspace:
        row = await self._database.read(lambda conn: resources.by_pk(conn, pk))
        if row is None or row.type != ws.DATASTORE or not row.body["properties"].get("zaffreType"):
            raise NotFound(f"There is no storage account '{account}' on this server.")
        return await self._workspaces.by_id(row.scope)

    async def keys(self, workspace: Workspace) -> tuple[str, ...]:
        """The keys, in base64, whose signatures are good: the account's, and for a while the one before it."""
        known = self._keys.get(workspace.id)
        if known is None:
            changes = self._changes
            retiring = await self._workspaces.retiring_key(workspace)
            known = (await self._workspaces.account_key(workspace), retiring)
            if changes == self._changes:
                self._keys[workspace.id] = known
        key, retiring = known
        if retiring is None or retiring[1] <= self._database.runtime.now():
            return (key,)
        return (key, retiring[0])

    def _may_look(self) -> bool:
        """Unknown names are asked for by anybody, so they cost a query only once in a while."""
        return self._read_at is None or self._database.runtime.now() - self._read_at >= MISS_PAUSE_MS

    def _forget(self) -> None:
        self._changes += 1
        self._known, self._keys, self._read_at = {}, {}, None
