"""Online endpoints and deployments: model servers started, replaced, watched and ended; the edge told in the right order.

A deployment's server runs before the edge knows it, and the edge has forgotten it before it ends, so no request is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from zaffre.control.edge import EdgeController
from zaffre.control.serving_plan import ServingPlans
from zaffre.errors import ZaffreError
from zaffre.runtime import Runtime
from zaffre.services.endpoints import DEPLOYMENT, ENDPOINT
from zaffre.serving import process, server
from zaffre.serving.backoff import next_delay
from zaffre.serving.errors import ServingError
from zaffre.serving.plan import DeploymentPlan
from zaffre.store import crashpoint, operations, resources, tables
from zaffre.store.database import Database
from zaffre.store.resources import Row
from zaffre.store.unit import PLATFORM, Unit

GRACE_S = 10.0
# nginx keeps an idle connection to a server for at most this long; before that the old one must not close it.
KEEPALIVE_S = 6.0
PENDING = ("Creating", "Updating", "Deleting")

_log = logging.getLogger("zaffre.endpoints")


class EndpointController:
    """One task a deployment that is not at rest or runs; endpoints themselves are only the edge's files."""

    def __init__(
        self, database: Database, runtime: Runtime, edge: EdgeController, plans: ServingPlans, folder: Path
    ) -> None:
        self._database = database
        self._runtime = runtime
        self._edge = edge
        self._plans = plans
        self._folder = folder
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._news: dict[int, asyncio.Event] = {}
        self._retiring: set[asyncio.Task[None]] = set()
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
        self._hear()
        self._loop_task = asyncio.create_task(self._run())

    async def stop(self, *, servers: bool) -> None:
        """End the tasks; with `servers` the model servers too, as a clean stop does."""
        tasks = [task for task in (self._loop_task, *self._tasks.values(), *self._retiring) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if servers and self._folder.is_dir():
            folders = [path.parent for path in self._folder.glob("*/server.json")]
            await asyncio.gather(*(asyncio.to_thread(server.stop, folder, GRACE_S) for folder in folders))

    def _hear(self) -> None:
        self._wake.set()
        for news in self._news.values():
            news.set()

    async def _run(self) -> None:
        """Whenever something changed: a task for each deployment that has none, and the endpoints settled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            rows = await self._database.read(
                lambda conn: resources.in_states(conn, DEPLOYMENT, (*PENDING, "Succeeded", "Failed"))
            )
            for row in rows:
                task = self._tasks.get(row.pk)
                wanted = row.state in PENDING or row.server.get("current")
                if wanted and (task is None or task.done()):
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
                if row.state in PENDING:
                    await self._deploy(row)
                elif row.server.get("current"):
                    await self._watch(row)
                else:
                    break
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

    async def _deploy(self, row: Row) -> None:
        """Environment, files, server; then the edge; then the old server. Given up when a later wish comes."""
        work = asyncio.create_task(self._bring_up(row))
        if not await self._while_wished(row, work):
            await self._stop_server(self._plans.folder(row))
            return
        try:
            plan = await work
        except (ServingError, ZaffreError, OSError) as error:
            await self._stop_server(self._plans.folder(row))
            message = error.message if isinstance(error, ZaffreError) else str(error)
            await self._finish(row, "Failed", {"code": "DeploymentFailed", "message": message})
            return
        previous = row.server.get("current")
        await self._database.write(lambda unit: _note(unit, row, current=plan.id, plan=self._plans.remember(plan)))
        try:
            await self._edge.apply()
        except ZaffreError as error:
            await self._finish(row, "Failed", {"code": error.code, "message": error.message})
            return
        await self._finish(row, "Succeeded", ready=True)
        if previous and previous != plan.id:
            task = asyncio.create_task(self._retire(self._folder / previous, KEEPALIVE_S + plan.request_timeout_s))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _bring_up(self, row: Row) -> DeploymentPlan:
        plan = await self._plans.make(row)
        await asyncio.to_thread(server.start, plan)
        await server.ready(plan)
        return plan

    async def _watch(self, row: Row) -> None:
        """A living server is left alone; one that died is started again, after a pause that grows with each death."""
        plan = self._plans.recall(row)
        news = self._news[row.pk]
        identity = await asyncio.to_thread(server.identity, plan.folder)
        if identity is not None:
            began = self._runtime.now()
            ended = asyncio.create_task(process.ended(identity))
            heard = asyncio.create_task(news.wait())
            await asyncio.wait({ended, heard}, return_when=asyncio.FIRST_COMPLETED)
            heard.cancel()
            if not ended.done():
                ended.cancel()
                return
            uptime = (self._runtime.now() - began) / 1000
            restarts = 0 if uptime > 600 else row.server.get("restarts", 0) + 1
            _log.warning("model server died", extra={"deployment": row.name, "restarts": restarts})
            await self._database.write(lambda unit: _note(unit, row, restarts=restarts))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), next_delay(restarts, uptime))
            if news.is_set():
                return
        try:
            await asyncio.to_thread(server.start, plan)
            await server.ready(plan)
        except ServingError as error:
            _log.error("model server did not come back", extra={"deployment": row.name, "error": str(error)})
            await self._stop_server(Path(plan.folder))
            restarts = row.server.get("restarts", 0) + 1
            await self._database.write(lambda unit: _note(unit, row, restarts=restarts))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), next_delay(restarts, 0.0))

    async def _delete(self, row: Row) -> None:
        await self._edge.apply()
        for folder in self._plans.all_folders(row):
            await self._retire(folder, 0.0)
        await self._database.write(lambda unit: _gone(unit, row))

    async def _retire(self, folder: Path, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._stop_server(folder)
        await asyncio.to_thread(shutil.rmtree, folder, True)

    async def _stop_server(self, folder: Path) -> None:
        await asyncio.to_thread(server.stop, folder, GRACE_S)

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
    fresh = resources.by_pk(unit.conn, row.pk)
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


def _note(unit: Unit, row: Row, **values: Any) -> None:
    fresh = resources.by_pk(unit.conn, row.pk)
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
