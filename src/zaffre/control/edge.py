"""The edge as a controller: what the store wishes becomes nginx's files, and the supervisor puts them to work."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from zaffre.edge.binary import NginxBinary
from zaffre.edge.config import write_edge
from zaffre.edge.errors import EdgeError
from zaffre.edge.plan import Deployment, EdgePlan, Endpoint, upstream_name
from zaffre.errors import Unavailable
from zaffre.services.durations import seconds
from zaffre.services.endpoints import DEPLOYMENT, ENDPOINT, KEY_NAMES
from zaffre.store import resources
from zaffre.store.database import Database
from zaffre.store.resources import Row
from zaffre.store.seal import Vault

# A change on its way to nginx: told its number, answers the error of its test or None.
Announce = Callable[[int], Awaitable[str | None]]
LIVING = ("Creating", "Updating", "Succeeded", "Failed")


class EdgeController:
    """`apply` writes all of nginx's files from the store. Callers at the same time share one reload."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        folder: Path,
        listen: tuple[str, ...],
        nginx: NginxBinary | None,
        announce: Announce,
    ) -> None:
        self._database = database
        self._vault = vault
        self._folder = folder
        self._listen = listen
        self._nginx = nginx
        self._announce = announce
        self._numbers = itertools.count(1)
        self._lock = asyncio.Lock()
        self._announced = False

    async def apply(self) -> None:
        """Raises Unavailable with nginx's own words when it refuses the files; the old ones then go on."""
        if self._nginx is None:
            return
        async with self._lock:
            plan = await self._database.read(self._plan)
            try:
                changed = await asyncio.to_thread(write_edge, self._folder, plan, self._nginx)
            except EdgeError as problem:
                raise Unavailable(f"nginx's files cannot be written, the old ones go on: {problem}") from problem
            if not changed and self._announced:
                return
            error = await self._announce(next(self._numbers))
            self._announced = error is None
            if error is not None:
                raise Unavailable(f"nginx refuses its new files, the old ones go on: {error}")

    def _plan(self, conn: sa.Connection) -> EdgePlan:
        below: dict[tuple[str, str], list[Row]] = {}
        for row in resources.in_states(conn, DEPLOYMENT, LIVING):
            if row.server.get("current"):
                below.setdefault((row.scope, row.parent), []).append(row)
        endpoints = []
        for row in resources.in_states(conn, ENDPOINT, LIVING):
            deployments = below.get((row.scope, resources.key(row.name)), [])
            endpoints.append(self._endpoint(conn, row, deployments))
        return EdgePlan(listen=self._listen, endpoints=tuple(endpoints))

    def _endpoint(self, conn: sa.Connection, row: Row, deployments: list[Row]) -> Endpoint:
        keys = [
            self._vault.get(conn, row.scope, f"onlineEndpoints/{resources.key(row.name)}/{name}")
            for name in KEY_NAMES.values()
        ]
        names = {resources.key(deployment.name): deployment.name for deployment in deployments}
        traffic: dict[str, int] = row.body["properties"].get("traffic") or {}
        weights = [
            (names[resources.key(name)], share)
            for name, share in traffic.items()
            if share > 0 and resources.key(name) in names
        ]
        return Endpoint(
            name=row.name,
            auth="key",
            keys=tuple(key for key in keys if key),
            weights=tuple(weights),
            deployments=tuple(_deployment(row.name, deployment) for deployment in deployments),
        )


def _deployment(endpoint: str, row: Row) -> Deployment:
    settings: dict[str, Any] = row.body["properties"]["requestSettings"]
    return Deployment(
        name=row.name,
        upstream=upstream_name(endpoint, row.name),
        sockets=(f"d/{row.server['slug']}-0.sock",),
        timeout_ms=int(seconds(settings["requestTimeout"], "requestTimeout") * 1000),
    )
