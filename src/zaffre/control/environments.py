"""From an environment's definition to a Python that is ready: contexts staged and read, indexes signed in to, built where need be."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from zaffre.control.inputs import place_of, tree
from zaffre.execution.data.stage import copy_object, stage
from zaffre.execution.environments.builder import IndexLogin, ensure_async
from zaffre.execution.environments.context import BuildContext, read_context
from zaffre.execution.environments.spec import EnvironmentSpec, Recipe, resolve
from zaffre.services.blobs import Blobs
from zaffre.services.connections import PythonFeed
from zaffre.services.workspaces import Workspace

CONTEXT = "context"


class ReadyEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """An interpreter with all packages, and the variables that the environment itself sets."""

    python: Path
    variables: dict[str, str]


class ReadyEnvironments:
    """`feeds` tells the package indexes that a workspace has credentials for."""

    def __init__(self, home: Path, blobs: Blobs, feeds: Callable[[Workspace], Awaitable[Sequence[PythonFeed]]]) -> None:
        self._home = home
        self._blobs = blobs
        self._feeds = feeds

    async def get(self, workspace: Workspace, definition: dict[str, Any], folder: Path, log: Path) -> ReadyEnvironment:
        """`definition` is what services.jobs.environment made of the asset; a context is laid into `folder`.

        Raises EnvironmentSpecError and EnvironmentBuildError, NotFound where a context has no files.
        """
        context = await self._read(definition, folder)
        recipe = await asyncio.to_thread(resolve, context.spec)
        logins = _logins(recipe, await self._feeds(workspace)) if recipe.options else ()
        if logins:  # what was fetched with a workspace's credentials is that workspace's alone
            key = hashlib.sha256(f"{recipe.key} {workspace.id}".encode()).hexdigest()
            recipe = msgspec.structs.replace(recipe, key=key)
        python = await ensure_async(recipe, self._home, log, logins)
        return ReadyEnvironment(python=python, variables=context.variables)

    async def _read(self, definition: dict[str, Any], folder: Path) -> BuildContext:
        found = definition.get("context")
        if not found:
            return BuildContext(spec=EnvironmentSpec(**definition), variables={})
        files = await tree(self._blobs, place_of(found), CONTEXT, "the build context")
        await asyncio.to_thread(stage, [files], folder, copy_object(self._blobs.objects.local_path))
        return await asyncio.to_thread(read_context, folder / CONTEXT, found["dockerfile"])


def _logins(recipe: Recipe, feeds: Sequence[PythonFeed]) -> tuple[IndexLogin, ...]:
    """Those of the feeds that the recipe's own options name; a feed that nobody asked for is not told to the builder."""
    wanted = {urlsplit(option.partition("=")[2]).hostname for option in recipe.options}
    found = []
    for feed in feeds:
        host = urlsplit(feed.url).hostname
        if host and host in wanted and feed.secret:
            found.append(IndexLogin(host, feed.username, feed.secret))
    return tuple(found)
