"""Compute instances: brought to rest when somebody, a schedule or idleness wants it, and started by their schedules.

What an instance is stopped for is in its row, so a server that dies in the middle goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from zaffre.errors import ZaffreError
from zaffre.services import durations
from zaffre.services.computes import Computes, target
from zaffre.services.kinds import compute_schedules, computes
from zaffre.services.kinds.computes import INSTANCE, TYPE
from zaffre.services.workspaces import Workspace, Workspaces
from zaffre.store import jobs, operations, resources
from zaffre.store.database import Database
from zaffre.store.jobs import ActiveJob
from zaffre.store.resources import Row
from zaffre.store.unit import PLATFORM, Unit

LOOK_AGAIN_S = 1.0
TICK_S = 20.0
MISSED_MS = 8 * 24 * 3_600_000
"""How far back a schedule is made up for after the server was away: a week and a day."""

_log = logging.getLogger("zaffre.computes")


class ComputeController:
    """One task. `cancel_job` asks for the end of a job by its name, and may be asked again and again."""

    def __init__(
        self,
        service: Computes,
        workspaces: Workspaces,
        cancel_job: Callable[[Workspace, str], Awaitable[object]],
    ) -> None:
        self._service = service
        self._database: Database = service.database
        self._workspaces = workspaces
        self._cancel_job = cancel_job
        self._used: dict[int, int] = {}  # when an instance was last seen with a job
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()

        def hear(_key: str) -> None:
            loop.call_soon_threadsafe(self._wake.set)

        self._database.bells.listen(TYPE, hear)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def once(self) -> float | None:
        """Do what is due; seconds until the next look, None when nothing but news can make one necessary."""
        passing = await self._database.read(lambda conn: resources.in_states(conn, TYPE, ("Stopping", "Restarting")))
        waiting = False
        for row in passing:
            waiting |= not await self._rest(row)
        settled = await self._database.read(lambda conn: resources.in_states(conn, TYPE, ("Succeeded",)))
        timed = [row for row in settled if _is_timed(row)]
        for row in timed:
            await self._look(row)
        return LOOK_AGAIN_S if waiting else TICK_S if timed else None

    async def _run(self) -> None:
        pause: float | None = 0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
            self._wake.clear()
            try:
                pause = await self.once()
            except Exception:  # noqa: BLE001  one row that cannot be handled must not stop the clock of the others
                _log.exception("computes could not be looked at")
                pause = TICK_S

    async def _rest(self, row: Row) -> bool:
        """End what runs on an instance, then say that it has come to rest; whether it has."""
        active = await self._active(row)
        workspace = await self._workspaces.by_id(row.scope)
        for job in active:
            if job.status in jobs.CANCELABLE:
                await self._cancel_job(workspace, job.id)
        if active:
            return False

        def apply(unit: Unit) -> bool:
            fresh = resources.by_pk(unit.conn, row.pk)
            if fresh is None or fresh.state != row.state:
                return True
            if any(target(job.compute) == resources.key(row.name) for job in jobs.active_in(unit.conn, row.scope)):
                return False
            last = {**fresh.server["last"], "status": "Succeeded"}
            server = {**fresh.server, "last": last, "operation": None}
            resources.update(unit, None, row.pk, state="Succeeded", server=server)
            operations.end(unit, fresh.server.get("operation"), operations.SUCCEEDED)
            unit.emit(row.scope, TYPE, row.name, {"power": server["power"]})
            return True

        return await self._database.write(apply)

    async def _look(self, row: Row) -> None:
        """What its schedules want of an instance since they were last followed, and whether it idles."""
        now = self._database.runtime.now()
        due = await asyncio.to_thread(_due, row, now)
        if due is not None:
            await self._follow(row, *due)
            return
        idle = row.body["properties"]["properties"].get("idleTimeBeforeShutdown")
        if not idle or computes.state(row) != "Running":
            return
        if await self._active(row):
            self._used[row.pk] = now
            return
        last = (row.server.get("last") or {}).get("at", row.created_at)
        since = max(self._used.setdefault(row.pk, now), last, row.modified_at)
        if now - since >= durations.seconds(idle, "idleTimeBeforeShutdown") * 1000:
            await self._act(row, "stop", "IdleShutdown", None)

    async def _follow(self, row: Row, action: str, at: int) -> None:
        wanted = {"start": "Running", "stop": "Stopped"}[action]
        await self._act(row, action if computes.state(row) != wanted else None, "Schedule", at)

    async def _act(self, row: Row, action: str | None, trigger: str, at: int | None) -> None:
        """Ask for `action`, and remember up to when the schedules were followed, in one transaction."""
        workspace = await self._workspaces.by_id(row.scope)
        operation = self._database.runtime.guid()

        def apply(unit: Unit) -> None:
            fresh = resources.by_pk(unit.conn, row.pk, lock=True)
            if fresh is None or fresh.generation != row.generation or fresh.state != row.state:
                return
            if at is not None:
                resources.update(unit, None, row.pk, server={**fresh.server, "acted_at": at})
                fresh = resources.by_pk(unit.conn, row.pk)
                assert fresh is not None, "it was read in this transaction"
            if action is not None:
                self._service.change_power(unit, PLATFORM, workspace, fresh, action, trigger, operation)

        try:
            await self._database.write(apply)
        except ZaffreError as error:
            _log.warning("instance not changed", extra={"compute": row.name, "error": error.message})

    async def _active(self, row: Row) -> list[ActiveJob]:
        found = await self._database.read(lambda conn: jobs.active_in(conn, row.scope))
        return [job for job in found if target(job.compute) == resources.key(row.name)]


def _is_timed(row: Row) -> bool:
    properties = row.body["properties"]
    if properties["computeType"] != INSTANCE:
        return False
    inner = properties["properties"]
    return bool(inner.get("idleTimeBeforeShutdown") or compute_schedules.enabled(inner))


def _due(row: Row, now: int) -> tuple[str, int] | None:
    """The latest of what the schedules wanted since they were followed last, as (start or stop, when)."""
    after = max(int(row.server.get("acted_at") or row.created_at), now - MISSED_MS)
    found: tuple[str, int] | None = None
    for schedule in compute_schedules.enabled(row.body["properties"]["properties"]):
        at = compute_schedules.trigger(schedule, row.created_at).last(after, now)
        if at is not None and (found is None or at >= found[1]):
            found = (schedule["action"].lower(), at)
    return found
