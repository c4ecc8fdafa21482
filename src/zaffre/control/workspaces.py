"""The end of workspaces: their jobs and endpoints are ended, then all that is theirs goes, bit by bit.

Every step looks at what is still there and may be repeated, so a server that dies in the middle goes on where it was. The
last step leaves a tombstone: a request that came in before the deletion may write a row after it, and that goes later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import sqlalchemy as sa

from zaffre.execution.files import remove_tree
from zaffre.services.endpoints import DEPLOYMENT as ONLINE_DEPLOYMENT
from zaffre.services.endpoints import ENDPOINT
from zaffre.services.workspace_changes import DEPLOYMENT
from zaffre.services.workspaces import DELETING, TOMB_SCOPE, TOMB_TYPE, TYPE, Workspace, workspace_of
from zaffre.store import crashpoint, jobs, operations, resources, scopes
from zaffre.store.database import Database
from zaffre.store.resources import Row
from zaffre.store.unit import PLATFORM, Unit

LOOK_AGAIN_S = 2.0
"""Bells wake the controller; this is the safety net, and the pause after a failure."""

TOMB_MS = 15 * 60_000
"""Longer than any request that writes rows may last."""

_log = logging.getLogger("zaffre.workspaces")
End = Callable[[Workspace, str], Awaitable[object]]


class WorkspaceController:
    """One task. `cancel_job` and `delete_endpoint` ask for an end by name; both may be asked again and again."""

    def __init__(self, database: Database, jobs_folder: Path, cancel_job: End, delete_endpoint: End) -> None:
        self._database = database
        self._jobs_folder = jobs_folder
        self._cancel_job = cancel_job
        self._delete_endpoint = delete_endpoint
        self._wake = asyncio.Event()
        self._waiting = True
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()

        def hear(_key: str) -> None:
            loop.call_soon_threadsafe(self._wake.set)

        def hear_of_work(key: str) -> None:
            if self._waiting:
                hear(key)

        self._database.bells.listen(TYPE, hear)
        for topic in ("jobs", ENDPOINT, ONLINE_DEPLOYMENT):
            self._database.bells.listen(topic, hear_of_work)
        self._wake.set()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def once(self) -> bool:
        """Bring every deletion as far as it goes now; whether one still waits for something."""
        waiting = False
        for row in await self._database.read(lambda conn: resources.in_states(conn, TYPE, (DELETING,))):
            try:
                waiting |= not await self._delete(row)
            except Exception:  # noqa: BLE001  one that cannot be deleted now must not stand in the way of others
                _log.exception("workspace deletion is repeated", extra={"workspace": row.name})
                waiting = True
        return waiting

    async def bury(self, older_ms: int = TOMB_MS) -> int:
        """Take away what was written into workspaces after their end, and their tombstones; how many there were."""
        before = self._database.runtime.now() - older_ms
        tombs = await self._database.read(lambda conn: resources.listing(conn, TOMB_SCOPE, TOMB_TYPE))
        due = [tomb for tomb in tombs if tomb.modified_at <= before]
        for tomb in due:
            await self._purge(workspace_of(tomb))
            await self._database.write(lambda unit, pk=tomb.pk: resources.delete(unit, pk))  # type: ignore[misc]
        return len(due)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_AGAIN_S if self._waiting else TOMB_MS / 1000)
            self._wake.clear()
            try:
                self._waiting = await self.once()
                await self.bury()
            except Exception:  # noqa: BLE001  the database itself, say: its disk is full, or another program holds it
                _log.exception("workspaces could not be looked at")
                self._waiting = True

    async def _delete(self, row: Row) -> bool:
        """Whether the workspace is gone."""
        workspace = workspace_of(row)
        if await self._end_work(workspace):
            return False
        await self._purge(workspace)
        await asyncio.to_thread(remove_tree, self._jobs_folder / workspace.id)
        return await self._database.write(lambda unit: _gone(unit, row, workspace))

    async def _end_work(self, workspace: Workspace) -> bool:
        """Ask whatever runs in it to end; whether anything does."""
        running, endpoints = await self._database.read(lambda conn: _work(conn, workspace))
        for job in running:
            if job.status in jobs.CANCELABLE:
                await self._cancel_job(workspace, job.id)
        for endpoint in endpoints:
            if endpoint.type == ENDPOINT and endpoint.state != DELETING:
                await self._delete_endpoint(workspace, endpoint.name)
        return bool(running or endpoints)

    async def _purge(self, workspace: Workspace) -> None:
        while await self._database.write(lambda unit: scopes.purge(unit, workspace.id, workspace.account)):
            pass


def _work(conn: sa.Connection, workspace: Workspace) -> tuple[list[jobs.ActiveJob], list[Row]]:
    below = [row for type_ in (ENDPOINT, ONLINE_DEPLOYMENT) for row in resources.listing(conn, workspace.id, type_)]
    return jobs.active_in(conn, workspace.id), below


def _gone(unit: Unit, row: Row, workspace: Workspace) -> bool:
    """The workspace's own row becomes its tombstone; False when something was written meanwhile."""
    if any(_work(unit.conn, workspace)) or scopes.purge(unit, workspace.id, workspace.account):
        return False
    fresh = resources.by_pk(unit.conn, row.pk)
    if fresh is None or fresh.state != DELETING:
        return True
    for made in resources.listing(unit.conn, row.scope, DEPLOYMENT):
        if made.server["workspace"] == row.name:
            resources.delete(unit, made.pk)
    resources.update(unit, PLATFORM, row.pk, state="Deleted", body={})
    resources.move(unit, row.pk, TOMB_SCOPE, TOMB_TYPE, workspace.id)
    operations.end(unit, fresh.server.get("operation"), operations.SUCCEEDED)
    unit.audit(PLATFORM, "workspaces/removed", workspace.path)
    unit.emit(workspace.id, TYPE, row.name, {"state": "Deleted"})
    crashpoint.reach(unit, f"workspaces/{row.name}/{DELETING}>Deleted")
    return True
