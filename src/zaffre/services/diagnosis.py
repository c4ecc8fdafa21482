"""Whether a workspace can be worked in: each part is really used once, and what fails is said (wire.md §5.1, diagnose)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import sqlalchemy as sa
from cryptography.exceptions import InvalidTag

from zaffre.errors import NotFound, ZaffreError
from zaffre.services import workspaces as ws
from zaffre.services.blobs import Blobs
from zaffre.services.workspaces import Workspace, Workspaces, scope_of
from zaffre.store import resources
from zaffre.store.database import Database
from zaffre.store.seal import Vault

STORAGE, VAULT, NAMES, OTHER = "storageAccountResults", "keyVaultResults", "dnsResolutionResults", "otherResults"
AREAS = (
    "userDefinedRouteResults",
    "networkSecurityRuleResults",
    "resourceLockResults",
    NAMES,
    STORAGE,
    VAULT,
    "containerRegistryResults",
    "applicationInsightsResults",
    OTHER,
)
"""What a diagnosis answers, in the contract's words; most are of things that only a cloud has."""

LEAST_FREE = 2 * 1024**3
LITTLE_FREE = 10 * 1024**3
ANSWER_S = 20.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`level` is Error, Warning or Information."""

    area: str
    level: str
    code: str
    message: str


Probe = Callable[[], Awaitable[list[Finding]]]


class Diagnosis:
    """`open_datastore` tells why one does not open, or None. `probes` look at what services know nothing of: the edge, and what
    environments are built with.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        workspaces: Workspaces,
        blobs: Blobs,
        home: Path,
        open_datastore: Callable[[Workspace, str], Awaitable[str | None]],
        probes: Sequence[Probe],
    ) -> None:
        self._database = database
        self._vault = vault
        self._workspaces = workspaces
        self._blobs = blobs
        self._home = home
        self._open_datastore = open_datastore
        self._probes = tuple(probes)

    async def examine(self, workspace: Workspace) -> list[Finding]:
        """What is wrong, and last of all what was looked at."""
        parts = (
            self._storage(workspace),
            self._own_datastores(workspace),
            self._named_compute(workspace),
            self._other_datastores(workspace),
            self._secrets(workspace),
            self._disk(),
        )
        done = await asyncio.gather(*parts, *(probe() for probe in self._probes))
        found = [one for part in done for one in part]
        summary = Finding(
            area=OTHER,
            level="Information",
            code="Examined",
            message="Looked at the database, storage, datastores, secrets, disk, edge and environments of the workspace: "
            + (f"{len(found)} finding{'s' if len(found) > 1 else ''}." if found else "nothing is wrong."),
        )
        return [*found, summary]

    async def _storage(self, workspace: Workspace) -> list[Finding]:
        """A blob written, read again and deleted, which needs database and disk as well."""
        name = f"diagnose/{self._database.runtime.guid()}"
        place = (workspace.account, ws.ARTIFACT_CONTAINER, name)
        data = name.encode()
        try:
            await self._blobs.put_bytes(*place, data)
            same = await self._blobs.get_bytes(*place) == data
            await self._blobs.delete(*place)
        except (ZaffreError, OSError) as error:
            return [_error(STORAGE, "StorageNotUsable", f"A blob could not be written and read again: {error}")]
        return (
            [] if same else [_error(STORAGE, "StorageDamaged", "A blob was read with other bytes than were written.")]
        )

    async def _own_datastores(self, workspace: Workspace) -> list[Finding]:
        found = []
        for name in (ws.BLOB_STORE, ws.ARTIFACT_STORE):
            row = await self._database.read(
                lambda conn, name=name: resources.get(conn, workspace.id, ws.DATASTORE, name)  # type: ignore[misc]
            )
            if row is None:
                found.append(
                    _error(STORAGE, "DatastoreMissing", f"The datastore '{name}' is gone; clients count on it.")
                )
                continue
            container = row.body["properties"].get("containerName", "")
            try:
                await self._blobs.container(workspace.account, container)
            except NotFound:
                message = f"The container '{container}' behind the datastore '{name}' is gone."
                found.append(_error(STORAGE, "ContainerMissing", message))
        return found

    async def _other_datastores(self, workspace: Workspace) -> list[Finding]:
        """Those that lie elsewhere, each tried once, all at the same time."""
        rows = await self._database.read(lambda conn: resources.listing(conn, workspace.id, ws.DATASTORE))

        async def look(name: str) -> list[Finding]:
            try:
                trouble = await asyncio.wait_for(self._open_datastore(workspace, name), ANSWER_S)
            except TimeoutError:
                trouble = f"The datastore '{name}' did not answer within {ANSWER_S:.0f} s."
            except (ZaffreError, InvalidTag) as error:
                trouble = f"The datastore '{name}' cannot be opened: {error}"
            return [_error(STORAGE, "DatastoreNotReachable", trouble)] if trouble else []

        done = await asyncio.gather(*(look(row.name) for row in rows if not row.server.get("builtin")))
        return [one for part in done for one in part]

    async def _named_compute(self, workspace: Workspace) -> list[Finding]:
        def work(conn: sa.Connection) -> str | None:
            row = resources.get(
                conn, scope_of(workspace.subscription, workspace.resource_group), ws.TYPE, workspace.name
            )
            name = row.body["properties"].get("imageBuildCompute") if row is not None else None
            known = name and resources.get(conn, workspace.id, "workspaces/computes", name.rpartition("/")[2])
            return None if known or not name else str(name)

        missing = await self._database.read(work)
        if missing is None:
            return []
        message = (
            f"imageBuildCompute names the compute '{missing}', which is not there. Environments are built all the same."
        )
        return [Finding(area=OTHER, level="Warning", code="ImageBuildComputeMissing", message=message)]

    async def _secrets(self, workspace: Workspace) -> list[Finding]:
        """Every secret opened once; none is told."""

        def work(conn: sa.Connection) -> list[str]:
            closed = []
            for name in self._vault.names(conn, workspace.id):
                try:
                    self._vault.get(conn, workspace.id, name)
                except InvalidTag:
                    closed.append(name)
            return closed

        found = [
            _error(
                VAULT, "SecretUnreadable", f"The secret '{name}' does not open with this server's key; set it again."
            )
            for name in await self._database.read(work)
        ]
        try:
            await self._workspaces.account_key(workspace)
        except NotFound as error:
            found.append(_error(VAULT, "StorageKeyMissing", error.message))
        except InvalidTag:
            pass  # told above
        return found

    async def _disk(self) -> list[Finding]:
        free = (await asyncio.to_thread(shutil.disk_usage, self._home)).free
        text = f"{free / 1024**3:.1f} GiB are free for the server's data; environments, models and jobs need room."
        if free < LEAST_FREE:
            return [_error(STORAGE, "DiskFull", f"Only {text}")]
        if free < LITTLE_FREE:
            return [Finding(area=STORAGE, level="Warning", code="DiskNearlyFull", message=f"Only {text}")]
        return []


def _error(area: str, code: str, message: str) -> Finding:
    return Finding(area=area, level="Error", code=code, message=message)
