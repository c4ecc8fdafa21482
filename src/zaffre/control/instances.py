"""The instances of deployments kept at work: adopted, probed, taken out of rotation, started again when they died."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from zaffre.control.edge import EdgeController
from zaffre.control.leavings import GRACE_S
from zaffre.control.serving_plan import recall
from zaffre.control.whole import whole
from zaffre.errors import ZaffreError
from zaffre.processes import Identity
from zaffre.serving import server, watch
from zaffre.serving.backoff import STEADY_S, next_delay
from zaffre.serving.errors import ServingError
from zaffre.serving.plan import DeploymentPlan
from zaffre.serving.release import Release
from zaffre.store import resources, tables
from zaffre.store.database import Database
from zaffre.store.resources import Row
from zaffre.store.unit import Unit

Key = tuple[int, int]

_log = logging.getLogger("zaffre.endpoints")


class Instances:
    """One task an instance. `keep` says which there shall be, `let_go` that they are somebody else's business now.

    What became of them stands in the deployment's row: `out` of rotation, `down` and not come back yet, and how often
    each was `revived`.
    """

    def __init__(self, database: Database, edge: EdgeController) -> None:
        self._database = database
        self._edge = edge
        self._kept: dict[Key, tuple[DeploymentPlan, asyncio.Task[None]]] = {}

    def keep(self, pk: int, release: Release) -> None:
        """Keep exactly these of the deployment; those that are kept already go on undisturbed."""
        self._drop(pk, release.plans)
        for number, plan in enumerate(release.plans):
            known = self._kept.get((pk, number))
            if known is None or known[1].done():
                self._kept[pk, number] = (plan, asyncio.create_task(self._keep((pk, number), plan)))

    async def let_go(self, pk: int, but: Release | None = None) -> None:
        """Nobody starts these again from now on; they themselves go on. Those of `but` are kept."""
        dropped = self._drop(pk, but.plans if but is not None else ())
        await asyncio.gather(*dropped, return_exceptions=True)

    async def stop(self) -> None:
        tasks = [task for _, task in self._kept.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drop(self, pk: int, but: tuple[DeploymentPlan, ...]) -> list[asyncio.Task[None]]:
        keys = [key for key, (plan, _) in self._kept.items() if key[0] == pk and but[key[1] : key[1] + 1] != (plan,)]
        tasks = [self._kept.pop(key)[1] for key in keys]
        for task in tasks:
            task.cancel()
        return tasks

    async def _keep(self, key: Key, plan: DeploymentPlan) -> None:
        while True:
            try:
                await self._one_life_after_another(key, plan)
                return
            except Exception:  # noqa: BLE001  a bug of ours must not leave a deployment that nobody looks after
                _log.exception("an instance's keeper failed", extra={"instance": plan.id})
                await asyncio.sleep(next_delay(5, 0.0))

    async def _one_life_after_another(self, key: Key, plan: DeploymentPlan) -> None:
        """A living server is watched; one that ended or is sick is started again, after a pause that grows."""
        deaths, pause_s = 0, 0.0
        while True:
            identity = await asyncio.to_thread(server.identity, plan.folder)
            if identity is None or not server.in_place(plan):  # an application that died may have left it half way
                await asyncio.sleep(pause_s)
                if not await self._start(key, plan):
                    deaths += 1
                    pause_s = next_delay(deaths, 0.0)
                continue
            began = time.monotonic()
            why = await self._watch(key, plan, identity)
            _log.warning("model server down", extra={"instance": plan.id, "why": why or "it ended"})
            if why is not None:
                # No more requests for it, then the end of those it has
                await self._rotate(key, plan, out=True)
                await whole(server.stop, plan.folder, GRACE_S)
            await self._database.write(lambda unit: _change(unit, key, plan, _revived))
            uptime = time.monotonic() - began
            deaths = 0 if uptime >= STEADY_S else deaths + 1
            pause_s = next_delay(deaths, uptime)

    async def _watch(self, key: Key, plan: DeploymentPlan, identity: Identity) -> str | None:
        row = await self._database.read(lambda conn: resources.by_pk(conn, key[0]))
        out = row is not None and key[1] in (row.server.get("out") or ())

        async def turned(ready: bool) -> None:
            _log.warning("model server's readiness", extra={"instance": plan.id, "ready": ready})
            await self._rotate(key, plan, out=not ready)

        return await watch.until_down(plan, identity, in_rotation=not out, turned=turned)

    async def _start(self, key: Key, plan: DeploymentPlan) -> bool:
        try:
            await whole(server.start, plan)
            await server.ready(plan)
        except (ServingError, OSError) as error:
            problem = str(error)
            _log.error("model server did not come back", extra={"instance": plan.id, "error": problem})
            await whole(server.stop, plan.folder, GRACE_S)
            await self._database.write(lambda unit: _fall(unit, key, plan, problem))
            return False
        await self._database.write(lambda unit: _rise(unit, key, plan))
        await self._rotate(key, plan, out=False)
        return True

    async def _rotate(self, key: Key, plan: DeploymentPlan, *, out: bool) -> None:
        def change(server_: dict[str, Any]) -> dict[str, Any]:
            known: list[int] = server_.get("out") or []
            if (key[1] in known) == out:
                return {}
            return {"out": sorted([*known, key[1]]) if out else [number for number in known if number != key[1]]}

        if await self._database.write(lambda unit: _change(unit, key, plan, change)):
            try:
                await self._edge.apply()
            except ZaffreError as error:
                _log.error(
                    "the edge did not take a change of rotation", extra={"instance": plan.id, "error": str(error)}
                )


def _revived(server_: dict[str, Any]) -> dict[str, Any]:
    return {"revivals": int(server_.get("revivals") or 0) + 1}


def _change(unit: Unit, key: Key, plan: DeploymentPlan, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bool:
    """Merge what `change` makes of the row's server document; False where nothing changed or the plan is not in use."""
    row = _row(unit, key, plan)
    if row is None:
        return False
    made = {**row.server, **change(row.server)}
    if made == row.server:
        return False
    resources.update(unit, None, row.pk, server=made)
    return True


def _fall(unit: Unit, key: Key, plan: DeploymentPlan, problem: str) -> None:
    """An instance did not come back. When it was the last one, the deployment has failed and says so."""
    row = _row(unit, key, plan)
    release = recall(row) if row is not None else None
    if row is None or release is None:
        return
    down = sorted({*(row.server.get("down") or ()), key[1]})
    made = {**row.server, "down": down}
    if len(down) == len(release.plans) and unit.transition(
        tables.resources, _this(row), "state", ("Succeeded",), "Failed"
    ):
        made |= {"fell": True, "error": {"code": "DeploymentFailed", "message": problem}}
        unit.emit(row.scope, row.type, row.name, {"state": "Failed"})
    resources.update(unit, None, row.pk, server=made)


def _rise(unit: Unit, key: Key, plan: DeploymentPlan) -> None:
    """An instance is back; a deployment that had failed for want of any is well again."""
    row = _row(unit, key, plan)
    if row is None:
        return
    made = {**row.server, "down": [number for number in row.server.get("down") or () if number != key[1]]}
    if row.server.get("fell") and unit.transition(tables.resources, _this(row), "state", ("Failed",), "Succeeded"):
        made |= {"fell": False, "error": None}
        unit.emit(row.scope, row.type, row.name, {"state": "Succeeded"})
    if made != row.server:
        resources.update(unit, None, row.pk, server=made)


def _row(unit: Unit, key: Key, plan: DeploymentPlan) -> Row | None:
    """The deployment's row while this plan is what its instance runs by."""
    row = resources.by_pk(unit.conn, key[0], lock=True)
    release = recall(row) if row is not None else None
    if release is None or release.plans[key[1] : key[1] + 1] != (plan,):
        return None
    return row


def _this(row: Row) -> sa.ColumnElement[bool]:
    return tables.resources.c.pk == row.pk
