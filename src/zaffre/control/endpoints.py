"""Online endpoints and deployments: model servers started, replaced, watched and ended; the edge told in the right order.

A deployment's server runs before the edge knows it, and the edge has forgotten it before it ends, so no request is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.control.edge import EdgeController
from zaffre.control.instances import Instances
from zaffre.control.leavings import Leavings
from zaffre.control.serving_plan import ServingPlans, recall, release_name
from zaffre.control.whole import whole
from zaffre.errors import ZaffreError
from zaffre.services.endpoints import DEPLOYMENT, ENDPOINT
from zaffre.serving import server
from zaffre.serving.errors import ServingError
from zaffre.serving.release import Release
from zaffre.store import crashpoint, operations, resources, tables
from zaffre.store.database import Database
from zaffre.store.resources import Row
from zaffre.store.unit import PLATFORM, Unit

PENDING = ("Creating", "Updating", "Deleting")
AT_REST = ("Succeeded", "Failed")
LOOK_AGAIN_S = 60.0  # only where a bell was lost

_log = logging.getLogger("zaffre.endpoints")


class EndpointController:
    """One task a deployment that is being made, changed or deleted; what serves is kept by `Instances` all the while.

    Endpoints themselves are only the edge's files.
    """

    def __init__(self, database: Database, edge: EdgeController, plans: ServingPlans, folder: Path, node: str) -> None:
        """`folder` is that of all deployments of this home, whose name is `node`."""
        self._database = database
        self._node = node
        self._leavings = Leavings(folder)
        self._edge = edge
        self._plans = plans
        self._instances = Instances(database, edge)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._news: dict[int, asyncio.Event] = {}
        self._wake = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Write the edge's files, adopt the servers that live, start those that should, then listen."""
        loop = asyncio.get_running_loop()

        def hear(_key: str) -> None:
            loop.call_soon_threadsafe(self._hear)

        for topic in (ENDPOINT, DEPLOYMENT):
            self._database.bells.listen(topic, hear)
        await self._edge.apply()
        await self._sweep()
        self._hear()
        self._loop_task = asyncio.create_task(self._run())

    async def stop(self, *, servers: bool) -> None:
        """End the tasks; with `servers` the model servers too, as a clean stop does."""
        tasks = [task for task in (self._loop_task, *self._tasks.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._instances.stop()
        await self._leavings.stop(servers=servers)

    def _hear(self) -> None:
        self._wake.set()
        for news in self._news.values():
            news.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_AGAIN_S)
            self._wake.clear()
            try:
                await self._look()
            except Exception:  # noqa: BLE001  a database that is away for a while must not end what looks after deployments
                _log.exception("deployments could not be looked at")

    async def _look(self) -> None:
        """What serves is kept, what is pending gets a task, and the endpoints are settled."""
        rows = await self._database.read(lambda conn: resources.in_states(conn, DEPLOYMENT, (*PENDING, *AT_REST)))
        for row in rows:
            task = self._tasks.get(row.pk)
            if row.server.get("node") != self._node or (task is not None and not task.done()):
                continue
            release = recall(row)
            if release is not None and row.state != "Deleting":
                self._instances.keep(row.pk, release)
            if row.state in PENDING:
                self._news[row.pk] = asyncio.Event()
                self._tasks[row.pk] = asyncio.create_task(self._drive(row.pk))
        await self._settle_endpoints()

    async def _settle_endpoints(self) -> None:
        """Endpoints that wait for the edge; one that is deleted goes when its last deployment has gone."""
        rows = await self._database.read(lambda conn: resources.in_states(conn, ENDPOINT, PENDING))
        if not rows:
            return
        try:
            await self._edge.apply()
        except ZaffreError as error:
            problem = {"code": error.code, "message": error.message}

            def refuse(unit: Unit) -> None:
                for row in rows:
                    if row.state != "Deleting":
                        _end(unit, row, "Failed", problem)

            await self._database.write(refuse)
            return

        def apply(unit: Unit) -> None:
            for row in rows:
                if row.state != "Deleting":
                    _end(unit, row, "Succeeded")
                elif not resources.listing(unit.conn, row.scope, DEPLOYMENT, parent=row.name, limit=1):
                    _gone(unit, row)

        await self._database.write(apply)

    # ---- one deployment

    async def _drive(self, pk: int) -> None:
        while True:
            self._news[pk].clear()
            row = await self._database.read(lambda conn: resources.by_pk(conn, pk))
            if row is None:
                break
            try:
                if row.state == "Deleting":
                    await self._delete(row)
                    break
                if row.state not in PENDING:
                    break
                await self._deploy(row)
            except Exception:  # noqa: BLE001  a bug of ours must not leave a deployment in a passing state
                _log.exception("deployment step failed", extra={"deployment": row.name, "state": row.state})
                await self._finish(
                    row,
                    "Failed",
                    {
                        "code": "InternalError",
                        "message": "Zaffre failed; this is a bug. The server's log has the details.",
                    },
                )
                break
        self._tasks.pop(pk, None)
        self._news.pop(pk, None)
        self._wake.set()  # a wish that came while this one ended

    async def _deploy(self, row: Row) -> None:
        """Environment, files, servers; then the edge; then the old servers. Given up when a later wish comes."""
        await self._leavings.hold(row.pk)
        work = asyncio.create_task(self._bring_up(row))
        if not await self._while_wished(row, work):
            await self._give_up(row)
            return
        try:
            release = await work
        except (ServingError, ZaffreError, OSError) as error:
            serving = await self._give_up(row)
            message = error.message if isinstance(error, ZaffreError) else str(error)
            if serving is not None:
                message += "\nThe version before it goes on serving."
            await self._finish(row, "Failed", {"code": "DeploymentFailed", "message": message})
            self._leavings.retire(row.pk, row.server["slug"], serving, log_of=release_name(row))
            return
        # From here on nobody starts a server of the release before again, which would take its socket back
        await self._instances.let_go(row.pk, but=release)
        for plan in release.plans:
            await whole(server.take_place, plan)
        await self._database.write(lambda unit: _note(unit, row, **_in_use(release)))
        self._instances.keep(row.pk, release)
        try:
            await self._edge.apply()
        except ZaffreError as error:
            await self._finish(row, "Failed", {"code": error.code, "message": error.message})
            return
        await self._finish(row, "Succeeded", ready=True)
        self._leavings.retire(row.pk, row.server["slug"], release)

    async def _give_up(self, row: Row) -> Release | None:
        """End the servers that were to be and are not; what serves goes on."""
        fresh = await self._database.read(lambda conn: resources.by_pk(conn, row.pk))
        serving = recall(fresh) if fresh is not None else None
        started = {release_name(row), *((serving.id,) if serving is not None else ())}
        await self._leavings.drop(row.server["slug"], started, serving)
        return serving

    async def _bring_up(self, row: Row) -> Release:
        """All instances answer, none has taken a place yet: what serves now is not touched by one that fails."""
        release = await self._plans.make(row)
        for plan in release.plans:
            await whole(server.start, plan)
        waiting = [asyncio.create_task(server.answering(plan)) for plan in release.plans]
        try:
            await asyncio.gather(*waiting)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return release

    async def _delete(self, row: Row) -> None:
        await self._edge.apply()
        await self._leavings.hold(row.pk)
        await self._instances.let_go(row.pk)
        await self._leavings.remove(row.server["slug"], recall(row))
        await self._database.write(lambda unit: _gone(unit, row))

    async def _sweep(self) -> None:
        """What an application that died left: servers and folders of deployments that are gone or were replaced."""
        rows = await self._database.read(lambda conn: resources.in_states(conn, DEPLOYMENT, (*PENDING, *AT_REST)))
        for row in rows:
            if row.state in AT_REST:
                failed = release_name(row) if row.state == "Failed" else None
                self._leavings.retire(row.pk, row.server["slug"], recall(row), log_of=failed)
        await self._leavings.sweep({row.server["slug"] for row in rows})

    async def _while_wished(self, row: Row, work: asyncio.Task[Any]) -> bool:
        """Wait for `work`; False, with the work cancelled, when the row was changed or deleted meanwhile."""
        news = self._news[row.pk]
        try:
            while not work.done():
                heard = asyncio.create_task(news.wait())
                await asyncio.wait({work, heard}, return_when=asyncio.FIRST_COMPLETED)
                heard.cancel()
                if news.is_set():
                    news.clear()
                    fresh = await self._database.read(lambda conn: resources.by_pk(conn, row.pk))
                    if fresh is None or fresh.state == "Deleting" or fresh.generation != row.generation:
                        return False
            return True
        finally:
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)

    async def _finish(self, row: Row, state: str, error: dict[str, Any] | None = None, **server_values: Any) -> None:
        await self._database.write(lambda unit: _end(unit, row, state, error, **server_values))


def _end(unit: Unit, row: Row, state: str, error: dict[str, Any] | None = None, **server_values: Any) -> None:
    """Settle a row and its operation, unless a later wish has come."""
    fresh = resources.by_pk(unit.conn, row.pk, lock=True)
    if fresh is None or fresh.generation != row.generation:
        return
    moved = unit.transition(tables.resources, tables.resources.c.pk == row.pk, "state", (row.state,), state)
    if not moved:
        return
    operation = fresh.server.get("operation")
    resources.update(unit, None, row.pk, server={**fresh.server, "error": error, "operation": None, **server_values})
    operations.end(unit, operation, operations.FAILED if error else operations.SUCCEEDED, error)
    unit.emit(row.scope, row.type, row.name, {"state": state})
    crashpoint.reach(unit, f"{row.type}/{row.name}/{row.state}>{state}")


def _in_use(release: Release) -> dict[str, Any]:
    """What a row says of the release that serves, and of how its instances are: all ready."""
    kept = msgspec.to_builtins(release)
    return {"current": release.id, "release": kept, "out": [], "down": [], "fell": False, "revivals": 0, "plan": None}


def _note(unit: Unit, row: Row, **values: Any) -> None:
    fresh = resources.by_pk(unit.conn, row.pk, lock=True)
    if fresh is not None:
        resources.update(unit, None, row.pk, server={**fresh.server, **values})


def _gone(unit: Unit, row: Row) -> None:
    fresh = resources.by_pk(unit.conn, row.pk)
    if fresh is None:
        return
    resources.delete(unit, row.pk)
    if row.type == ENDPOINT:
        prefix = f"onlineEndpoints/{resources.key(row.name)}/"
        unit.conn.execute(
            sa.delete(tables.secrets).where(
                tables.secrets.c.scope == row.scope, tables.secrets.c.name.startswith(prefix, autoescape=True)
            )
        )
    operations.end(unit, fresh.server.get("operation"), operations.SUCCEEDED)
    unit.audit(PLATFORM, f"{row.type}/removed", f"{row.scope}/{row.parent}/{row.name}")
    unit.emit(row.scope, row.type, row.name, {"state": "Deleted"})
