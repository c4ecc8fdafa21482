"""A start on a home that came from elsewhere: restored from a backup, moved to another folder, or short of its environments.

After a restore what ran on the machine of the backup runs no more: jobs that waited begin again from the beginning, those that
ran have failed. Deployments whose servers could not be started as they were get them anew. May be cut short and repeated: the note
that asks for it goes last.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import sqlalchemy as sa

from zaffre.control import outcomes
from zaffre.control.serving_plan import recall
from zaffre.services.endpoints import DEPLOYMENT
from zaffre.settings import Settings
from zaffre.store import jobs, resources, tables
from zaffre.store.database import Database
from zaffre.store.jobs import JobRow
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
        await _replant(settings, database)
        return False
    active = await database.read(jobs.every_active)
    for job in active:
        folder = settings.jobs / job.scope / job.id
        await asyncio.to_thread(folder.mkdir, 0o700, True, True)  # where the end of a job looks for what it left
    await database.write(lambda unit: _settle(unit, active, node, note.read_text()))
    note.unlink()
    _log.info("adopted what a restore brought", extra={"jobs": len(active)})
    return True


async def _replant(settings: Settings, database: Database) -> None:
    """Deployments whose files lie in a folder that this home had before, or whose environment is gone, are made anew."""
    rows = await database.read(lambda conn: resources.in_states(conn, DEPLOYMENT, _ALL))
    lost = await asyncio.to_thread(lambda: [row for row in rows if _lost(settings, row)])
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


def _anew(unit: Unit, pk: int) -> None:
    row = resources.by_pk(unit.conn, pk, lock=True)
    if row is None:
        return  # deleted meanwhile: requests are answered before everything is adopted
    server = {name: value for name, value in row.server.items() if name not in _OF_THE_OLD}
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
        _anew(unit, row.pk)
    unit.conn.execute(sa.update(tables.jobs).values(node=node))
    unit.audit(PLATFORM, "server/restored", snapshot)
