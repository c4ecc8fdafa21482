"""What releases leave when others have taken their place, or when they failed: servers to end, folders to remove."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from zaffre.control.whole import whole
from zaffre.execution.files import remove_tree
from zaffre.serving import release as releases
from zaffre.serving import server
from zaffre.serving.release import Release

GRACE_S = 10.0
UNUSED_GRACE_S = 1.0  # nobody's request can be in a server that never took its place
# nginx keeps an idle connection to a server for at most this long; before that the old one must not close it.
KEEPALIVE_S = 6.0


class Leavings:
    """`folder` is that of all deployments. Everything here is read from the disk, so a repeated step misses nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._retiring: dict[int, asyncio.Task[None]] = {}

    def retire(self, pk: int, slug: str, serving: Release | None, *, log_of: str | None = None) -> None:
        """End every server of the deployment but those `serving`, when no request can come to them any more.

        Of the folders that of `serving` stays, and that of the release `log_of`, which failed and says why.
        """
        kept = {one for one in (serving.id if serving is not None else None, log_of) if one is not None}
        task = asyncio.create_task(self._retire(slug, serving, kept))
        self._retiring[pk] = task

    async def hold(self, pk: int) -> None:
        """Stop retiring for now: a new release may want what is on its way out."""
        task = self._retiring.pop(pk, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def drop(self, slug: str, started: Iterable[str], serving: Release | None) -> None:
        """End at once the servers in the folders `started` that do not serve; no request ever came to them."""
        kept = serving.folders if serving is not None else frozenset()
        wanted = set(started)
        unused = [f for f in self._servers(slug) if f not in kept and self._release_of(f) in wanted]
        await self.stop_all(unused, UNUSED_GRACE_S)

    async def remove(self, slug: str, serving: Release | None = None) -> None:
        """Everything that was ever started for the deployment; `serving` may end the requests it has."""
        if serving is not None:
            await self.stop_all(serving.folders)
        for release in releases.folders(self._folder, slug):
            await self._remove(release)

    async def sweep(self, known: set[str]) -> None:
        """Remove what belongs to no deployment of the slugs `known`."""
        for slug in {path.name.rpartition("-")[0] for path in self._folder.glob("*-*")} - known:
            await self.remove(slug)

    async def stop(self, *, servers: bool) -> None:
        """End the tasks; with `servers` all model servers too."""
        tasks = list(self._retiring.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if servers:
            await self.stop_all(server.folders(self._folder))

    async def stop_all(self, folders: Iterable[Path], grace_s: float = GRACE_S) -> None:
        await asyncio.gather(*(whole(server.stop, folder, grace_s) for folder in folders))

    async def _retire(self, slug: str, serving: Release | None, kept: set[str]) -> None:
        in_use = serving.folders if serving is not None else frozenset()
        old = [folder for folder in self._servers(slug) if folder not in in_use]
        if old and serving is not None:
            await asyncio.sleep(KEEPALIVE_S + serving.timeout_ms / 1000)
        await self.stop_all(old)
        for release in releases.folders(self._folder, slug):
            if release.name not in kept:
                await self._remove(release)
        for folder in old:
            if kept == {self._release_of(folder)}:  # an instance too many, and no failure to be read in its log
                await whole(remove_tree, folder)

    async def _remove(self, release: Path) -> None:
        left = [f for f in server.folders(self._folder) if self._release_of(f) == release.name]
        await self.stop_all(left, UNUSED_GRACE_S)
        await whole(remove_tree, release)

    def _servers(self, slug: str) -> list[Path]:
        return [f for f in server.folders(self._folder) if self._release_of(f).rpartition("-")[0] == slug]

    def _release_of(self, server_folder: Path) -> str:
        return server_folder.relative_to(self._folder).parts[0]
