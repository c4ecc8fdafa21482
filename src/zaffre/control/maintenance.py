"""What has to be done now and then: bytes nobody names are freed, logs are kept short, left-over folders go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import sqlalchemy as sa

from zaffre.control.garbage import Garbage
from zaffre.errors import ZaffreError
from zaffre.services.tokens import Tokens
from zaffre.serving import server
from zaffre.settings import Settings
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.unit import Unit

EVERY_S = 30 * 60
BODIES_KEPT_S = 2 * 3600
EVENTS_KEPT_MS = 7 * 24 * 3_600_000

_log = logging.getLogger("zaffre.maintenance")


def _remove_old(folder: Path, before: float) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()


class Maintenance:
    """One task; a chore that fails is logged and tried again the next time."""

    def __init__(
        self, settings: Settings, database: Database, garbage: Garbage, tokens: Tokens, every_s: float = EVERY_S
    ) -> None:
        self._settings = settings
        self._database = database
        self._garbage = garbage
        self._tokens = tokens
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def once(self) -> None:
        chores: tuple[Callable[[], Awaitable[object]], ...] = (
            self._garbage.collect,
            self._trim_logs,
            self._forget_events,
            self._forget_bodies,
            self._tend_keys,
        )
        for chore in chores:
            try:
                await chore()
            except (ZaffreError, OSError) as error:
                _log.warning("chore failed", extra={"chore": chore.__name__, "error": str(error)})
            except Exception:  # noqa: BLE001  no failure may end them all: nothing would be collected any more
                _log.exception("chore failed", extra={"chore": chore.__name__})

    async def _trim_logs(self) -> None:
        for folder in server.folders(self._settings.deployments):
            await asyncio.to_thread(server.trim_logs, folder)

    async def _forget_events(self) -> None:
        """Listeners catch up from the table within seconds; a week is for those that were away."""

        def work(unit: Unit) -> None:
            unit.conn.execute(sa.delete(tables.events).where(tables.events.c.at < unit.now - EVENTS_KEPT_MS))

        await self._database.write(work)

    async def _forget_bodies(self) -> None:
        """What an nginx that was killed left of uploads; one that is under way grows, and is adopted as soon as it is whole."""
        if self._settings.kept_bodies is not None:
            await asyncio.to_thread(_remove_old, self._settings.kept_bodies, time.time() - BODIES_KEPT_S)

    async def _tend_keys(self) -> None:
        if await asyncio.to_thread(self._tokens.tend):
            _log.info("tokens are signed with a new key, as the last one was old")

    async def _run(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(self._every_s)
