"""The first start after a restore: what ran on the machine that the backup was taken from runs no more, and is settled.

Jobs that waited begin again from the beginning, those that ran have failed, deployments get their servers anew. May be
cut short and repeated: the note that asks for it goes last.
"""

from __future__ import annotations

import asyncio
import logging

import sqlalchemy as sa

from zaffre.control import outcomes
from zaffre.services.endpoints import DEPLOYMENT
from zaffre.settings import Settings
from zaffre.store import jobs, resources, tables
from zaffre.store.database import Database
from zaffre.store.jobs import JobRow
from zaffre.store.unit import PLATFORM, Unit

NOTE = "restored"
_LOST = "The server was restored from a backup taken while this job ran; what it did after that is not known."
_OF_THE_OLD = ("current", "release", "plan", "out", "down", "fell", "revivals")

_log = logging.getLogger("zaffre.adoption")


async def adopt(settings: Settings, database: Database, node: str) -> bool:
    """Settle what came with a restore; whether there was anything of the kind."""
    note = settings.run / NOTE
    if not note.exists():
        return False
    active = await database.read(jobs.every_active)
    for job in active:
        folder = settings.jobs / job.scope / job.id
        await asyncio.to_thread(folder.mkdir, 0o700, True, True)  # where the end of a job looks for what it left
    await database.write(lambda unit: _settle(unit, active, node, note.read_text()))
    note.unlink()
    _log.info("adopted what a restore brought", extra={"jobs": len(active)})
    return True


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
    for row in resources.in_states(unit.conn, DEPLOYMENT, ("Creating", "Updating", "Deleting", "Succeeded", "Failed")):
        server = {name: value for name, value in row.server.items() if name not in _OF_THE_OLD}
        resources.update(unit, None, row.pk, server=server)
        unit.transition(tables.resources, tables.resources.c.pk == row.pk, "state", ("Succeeded",), "Updating")
    unit.conn.execute(sa.update(tables.jobs).values(node=node))
    unit.audit(PLATFORM, "server/restored", snapshot)
