"""Datastores outside this server, as one job reads and writes them. Their secrets stay in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from zaffre.errors import NotFound
from zaffre.execution.data.sources import Source
from zaffre.execution.data.stage import Fetch
from zaffre.execution.data.stores import Store, open_store
from zaffre.execution.plan import FileRef, Tree
from zaffre.services.datastores import Datastores
from zaffre.services.workspaces import Workspace


class Outside:
    """Opens each datastore once. Raises StoreError for what is wrong there, StoreUnavailable for what may pass."""

    def __init__(self, datastores: Datastores, workspace: Workspace, bundle: Path) -> None:
        self._datastores = datastores
        self._workspace = workspace
        self._bundle = bundle
        self._open: dict[str, Store] = {}

    async def tree(self, datastore: str, path: str, dest: str, what: str, *, writable: bool) -> Tree:
        """What lies at `path` of a datastore: one file of exactly that name, or all below it."""
        store = await self._store(datastore)
        bare = path.strip("/")
        found = await asyncio.to_thread(store.list, bare)
        for file in found:
            if file.path == bare and not path.endswith("/"):
                name = bare.rpartition("/")[2]
                one = FileRef(path=name, size=file.size, key=file.path)
                return Tree(dest=dest, files=(one,), single=True, writable=writable)
        prefix = f"{bare}/" if bare else ""
        files = tuple(
            FileRef(path=file.path.removeprefix(prefix), size=file.size, key=file.path)
            for file in found
            if file.path.startswith(prefix) and not file.path.endswith("/")
        )
        if not files:
            raise NotFound(
                f"There is nothing at '{path}' of datastore '{datastore}', where {what} should lie.",
                code="DataNotFound",
            )
        return Tree(dest=dest, files=files, writable=writable)

    async def fetch(self, datastore: str) -> Fetch:
        """What lays a file of the datastore into the job's folder."""
        store = await self._store(datastore)
        return lambda file, dest: store.fetch(file.key, dest)

    async def put(self, datastore: str, path: str, source: Path) -> None:
        await asyncio.to_thread((await self._store(datastore)).put, path, source)

    async def _store(self, name: str) -> Store:
        if name not in self._open:
            source: Source = msgspec.convert(await self._datastores.source(self._workspace, name), Source)
            self._open[name] = await asyncio.to_thread(open_store, source, name, self._bundle)
        return self._open[name]
