"""A start on a home that came from elsewhere: restored from a backup, moved to another folder, or short of its environments.

After a restore what ran on the machine of the backup runs no more: jobs that waited begin again from the beginning, those that
ran have failed. Deployments whose servers could not be started as they were get them anew. May be cut short and repeated: the note
that asks for it goes last.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import secrets
from pathlib import Path

import sqlalchemy as sa

from zaffre.control import outcomes
from zaffre.control.serving_plan import recall
from zaffre.services.endpoints import DEPLOYMENT
from zaffre.settings import Settings
from zaffre.store import jobs, resources, tables
from zaffre.store.database import Database
from zaffre.store.jobs import JobRow
from zaffre.store.keyfile import made_once
from zaffre.store.resources import Row
from zaffre.store.unit import PLATFORM, Unit

NOTE = "restored"
_LOST = "The server was restored from a backup taken while this job ran; what it did after that is not known."
_ALL = ("Creating", "Updating", "Deleting", "Succeeded", "Failed")
_OF_THE_OLD = ("current", "release", "plan", "out", "down", "fell", "revivals")

_log = logging.getLogger("zaffre.adoption")


async def adopt(settings: Settings, database: Database, node: str) -> bool:
    """Settle what came with a restore or a move; whether it was a restore."""
    note = settings.run / NOTE
    if not note.exists():
        await _claim(settings, database, node)
        await _replant(settings, database, node)
        return False
    active = await database.read(jobs.every_active)
    for job in active:
        folder = settings.jobs / job.scope / job.id
        await asyncio.to_thread(folder.mkdir, 0o700, True, True)  # where the end of a job looks for what it left
    await database.write(lambda unit: _settle(unit, active, node, note.read_text()))
    note.unlink()
    _log.info("adopted what a restore brought", extra={"jobs": len(active)})
    return True


def name_of_home(home: Path) -> str:
    """What tells the jobs and deployments of this home from those of others on the same database; the first call makes it."""
    return made_once(home / "node", lambda: f"{platform.node()}-{secrets.token_hex(4)}".encode()).decode()


async def _claim(settings: Settings, database: Database, node: str) -> None:
    """Jobs and deployments of a home from before it had a name of its own: until then one database had one home."""
    old = await database.read(lambda conn: jobs.active(conn, platform.node()))
    if not database.is_sqlite:  # another home may have made them, on this machine
        old = [job for job in old if job.status == jobs.NOT_STARTED or (settings.jobs / job.scope / job.id).exists()]
    rows = await database.read(lambda conn: resources.in_states(conn, DEPLOYMENT, _ALL))
    unnamed = [row for row in rows if "node" not in row.server]
    if not old and not unnamed:
        return

    def claim(unit: Unit) -> None:
        for job in old:
            jobs.update(unit, job.run, node=node)
        for row in unnamed:
            fresh = resources.by_pk(unit.conn, row.pk, lock=True)
            if fresh is not None and "node" not in fresh.server:
                resources.update(unit, None, row.pk, server={**fresh.server, "node": node})

    await database.write(claim)


async def _replant(settings: Settings, database: Database, node: str) -> None:
    """Deployments whose files lie in a folder that this home had before, or whose environment is gone, are made anew."""
    rows = await database.read(lambda conn: resources.in_states(conn, DEPLOYMENT, _ALL))
    own = [row for row in rows if row.server.get("node") == node]
    lost = await asyncio.to_thread(lambda: [row for row in own if _lost(settings, row)])
    if not lost:
        return

    def replant(unit: Unit) -> None:
        for row in lost:
            _anew(unit, row.pk)

    await database.write(replant)
    _log.warning("deployments are made anew", extra={"deployments": [f"{row.parent}/{row.name}" for row in lost]})


def _lost(settings: Settings, row: Row) -> bool:
    release = recall(row)
    return release is not None and any(
        not Path(plan.folder).is_relative_to(settings.deployments) or not Path(plan.interpreter).exists()
        for plan in release.plans
    )


def _anew(unit: Unit, pk: int, node: str | None = None) -> None:
    row = resources.by_pk(unit.conn, pk, lock=True)
    if row is None:
        return  # deleted meanwhile: requests are answered before everything is adopted
    server = {name: value for name, value in row.server.items() if name not in _OF_THE_OLD}
    if node is not None:
        server["node"] = node
    resources.update(unit, None, row.pk, server=server)
    unit.transition(tables.resources, tables.resources.c.pk == row.pk, "state", ("Succeeded",), "Updating")


def _settle(unit: Unit, active: list[JobRow], node: str, snapshot: str) -> None:
    for job in active:
        if job.status in (jobs.NOT_STARTED, jobs.PREPARING, jobs.QUEUED):
            jobs.begin_anew(unit, job, node)
            continue
        outcome = outcomes.failed("Restored", _LOST)
        if job.status == jobs.CANCEL_REQUESTED:
            outcome = {"status": jobs.CANCELED, "error": None}
        if job.status == jobs.FINALIZING or jobs.move(unit, job, (job.status,), jobs.FINALIZING):
            jobs.update(unit, job.run, node=node, server={**job.server, "outcome": outcome})
    for row in resources.in_states(unit.conn, DEPLOYMENT, _ALL):
        _anew(unit, row.pk, node)
    unit.conn.execute(sa.update(tables.jobs).values(node=node))
    unit.audit(PLATFORM, "server/restored", snapshot)
