"""Collecting: stored bytes that nothing refers to any more are found and deleted, while everybody goes on working.

An object goes when a look at least `GRACE_MS` ago found it unreferenced, this one does, too, and nobody wrote or touched
it in between; so nobody can be about to refer to it, nor be reading what he just looked up. What was seen is kept in
memory: a restart only makes the collector wait once more. Everything may be cut short anywhere and done again.
"""

from __future__ import annotations

import msgspec

from zaffre.store import blobs as rows
from zaffre.store.database import Database
from zaffre.store.objects import Objects

GRACE_MS = 60 * 60 * 1000
STAGED_MS = 7 * 24 * 60 * 60 * 1000  # Azure, too, forgets blocks that nobody committed for a week
SLICE = 2000  # rows of a deleted container that go in one transaction


class Collected(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a look has found. `waiting` is unreferenced, too, but not for long enough; `held`: a backup runs."""

    deleted: int = 0
    deleted_bytes: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    expired_blocks: int = 0
    held: bool = False


class Collector:
    """One a server: it remembers what it has seen."""

    def __init__(self, database: Database, objects: Objects) -> None:
        self._database = database
        self._objects = objects
        self._seen: dict[str, int] = {}

    async def collect(self, grace_ms: int = GRACE_MS, *, dry_run: bool = False) -> Collected:
        """Delete what may go; with `dry_run` only say what that is."""
        now = self._database.runtime.now()
        expired = await self._forget(now - STAGED_MS, dry_run=dry_run)
        orphans = await self._orphans(now - grace_ms)
        seen = {name: self._seen.get(name, now) for name in orphans}
        ripe = {name for name, at in seen.items() if at <= now - grace_ms}
        deleted = deleted_bytes = 0
        with self._objects.alone() as alone:
            for name in ripe if alone else ():
                size = await self._objects.size(name)
                if dry_run or await self._objects.delete(name, before=now - grace_ms):
                    deleted, deleted_bytes = deleted + 1, deleted_bytes + size
                    if not dry_run:
                        del seen[name]
        self._seen = seen
        waiting = seen.keys() - ripe if dry_run and alone else seen.keys()
        sizes = [await self._objects.size(name) for name in waiting]
        return Collected(
            deleted=deleted,
            deleted_bytes=deleted_bytes,
            waiting=len(waiting),
            waiting_bytes=sum(sizes),
            expired_blocks=expired,
            held=not alone,
        )

    async def _forget(self, before: int, *, dry_run: bool) -> int:
        """Blocks that nobody committed, and what deleted containers still hold."""
        if dry_run:
            return await self._database.read(lambda conn: rows.count_staged(conn, before))
        expired = await self._database.write(lambda unit: rows.unstage_older(unit, before))
        while await self._database.write(lambda unit: rows.purge(unit, SLICE)) == SLICE:
            pass
        return expired

    async def _orphans(self, before: int) -> set[str]:
        """What was last touched before that time and nothing refers to.

        Lists of parts are read after the rows: whoever commits blocks writes the list first and then frees the blocks,
        so a part is seen in one of the two.
        """
        found: set[str] = set()
        async for names in self._objects.untouched(before):
            used = await self._database.read(lambda conn, names=names: rows.referenced(conn, names))  # type: ignore[misc]
            found.update(set(names) - used)
        return found - await self._objects.held()
