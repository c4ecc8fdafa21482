"""What nobody needs any more: stored bytes, folders of jobs that are over, environments unused for long.

`zaffre gc` asks for it; maintenance does it by itself, but for the environments: building one again may need a network.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec
import sqlalchemy as sa

from zaffre.execution.environments import cleanup
from zaffre.execution.files import remove_tree
from zaffre.services.collection import GRACE_MS, Collected, Collector
from zaffre.settings import Settings
from zaffre.store import jobs, tables
from zaffre.store.database import Database

DAY_MS = 24 * 3_600_000
_DEPLOYMENTS = "workspaces/onlineEndpoints/deployments"
_DOOMED = ".removing-"


class Removed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An environment that went, or would go. `used` in milliseconds since 1970."""

    key: str
    size: int
    used: int


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`job_folders` are `<workspace id>/<job>`."""

    dry_run: bool
    bytes: Collected
    job_folders: list[str]
    environments: list[Removed]


class Garbage:
    """One collection at a time, whoever asks. It may be cut short anywhere: the next one goes on."""

    def __init__(self, settings: Settings, database: Database, collector: Collector) -> None:
        self._settings = settings
        self._database = database
        self._collector = collector
        self._one = asyncio.Lock()

    async def collect(
        self, *, dry_run: bool = False, grace_ms: int = GRACE_MS, environments_days: int | None = None
    ) -> Report:
        """Remove all of it; with `dry_run` only say what that is. Without days, environments stay."""
        async with self._one:
            folders = await self.remove_job_folders(dry_run=dry_run)
            found = await self._collector.collect(grace_ms, dry_run=dry_run)
            removed = [] if environments_days is None else await self._environments(environments_days, dry_run)
        return Report(dry_run=dry_run, bytes=found, job_folders=folders, environments=removed)

    async def remove_job_folders(self, *, dry_run: bool = False) -> list[str]:
        """Folders of jobs that are over: a server killed between the end of a job and its last step leaves one.

        A job whose files could not be stored keeps its folder: its logs are nowhere else.
        """
        removed: list[str] = []
        for folder in await asyncio.to_thread(lambda: sorted(self._settings.jobs.glob("*/*"))):
            scope, id_ = folder.parts[-2:]
            job = await self._database.read(lambda conn, s=scope, i=id_: jobs.get(conn, s, i))  # type: ignore[misc]
            if job is None or job.logs_stored:
                removed.append(f"{scope}/{id_}")
                if not dry_run:
                    await asyncio.to_thread(_remove, folder)
        return removed

    async def _environments(self, days: int, dry_run: bool) -> list[Removed]:
        before = self._database.runtime.now() - days * DAY_MS
        home = self._settings.home
        needed = await self._database.read(_needed_by_deployments)
        needed |= await asyncio.to_thread(cleanup.needed_by_jobs, self._settings.jobs)
        removed: list[Removed] = []
        for one in await asyncio.to_thread(cleanup.unused, home, before, needed):
            if dry_run or await asyncio.to_thread(cleanup.remove, home, one.key, before):
                removed.append(Removed(key=one.key, size=one.size, used=one.used))
        return removed


def _remove(folder: Path) -> None:
    """Out of the way first: removing takes a while, and the next job of that name may begin."""
    doomed = folder if folder.name.startswith(_DOOMED) else folder.with_name(f"{_DOOMED}{folder.name}")
    if doomed != folder:
        remove_tree(doomed)  # cut short the last time
        with contextlib.suppress(FileNotFoundError):  # its job's controller was faster
            folder.rename(doomed)
    remove_tree(doomed)


def _needed_by_deployments(conn: sa.Connection) -> set[str]:
    """Keys in the plans of deployments, whether their server runs now or not."""
    table = tables.resources
    plans = conn.execute(sa.select(table.c.server).where(table.c.type == _DEPLOYMENTS)).scalars()
    return {key for plan in plans for key in cleanup.named_in(plan)}
