"""The edge as a controller: what the store wishes becomes nginx's files, and the supervisor puts them to work."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import sqlalchemy as sa

from zaffre.control.serving_plan import recall
from zaffre.edge.binary import NginxBinary
from zaffre.edge.config import write_edge
from zaffre.edge.errors import EdgeError
from zaffre.edge.plan import Deployment, EdgePlan, Endpoint, upstream_name
from zaffre.errors import Unavailable
from zaffre.services.endpoints import DEPLOYMENT, ENDPOINT, KEY_NAMES
from zaffre.serving.shadow import Shadow
from zaffre.store import resources
from zaffre.store.database import Database
from zaffre.store.resources import Row
from zaffre.store.seal import Vault

# A change on its way to nginx: told its number, answers the error of its test or None.
Announce = Callable[[int], Awaitable[str | None]]
AUTH: dict[str, Literal["key", "token"]] = {"Key": "key", "AMLToken": "token", "AADToken": "token"}
LIVING = ("Creating", "Updating", "Succeeded", "Failed")


class EdgeController:
    """`apply` writes all of nginx's files from the store. Callers at the same time share one reload."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        folder: Path,
        listen: tuple[str, ...],
        objects: Path,
        nginx: NginxBinary | None,
        announce: Announce,
        node: str,
    ) -> None:
        """`node` names this home: deployments of others have their servers elsewhere."""
        self._database = database
        self._node = node
        self._vault = vault
        self._folder = folder
        self._listen = listen
        self._objects = objects
        self._nginx = nginx
        self._announce = announce
        self._numbers = itertools.count(1)
        self._lock = asyncio.Lock()
        self._announced = False
        self._shadows: dict[str, Shadow] = {}

    def shadow(self, name: str) -> Shadow | None:
        """Where copies for `<endpoint>/<deployment>` go, while the endpoint mirrors to it."""
        return self._shadows.get(name)

    async def apply(self) -> None:
        """Raises Unavailable with nginx's own words when it refuses the files; the old ones then go on."""
        if self._nginx is None:
            return
        async with self._lock:
            plan = await self._database.read(self._plan)
            self._shadows = {f"{one.name}/{shadow.name}": self._lane(shadow) for one, shadow in _shadows(plan)}
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

    def _lane(self, shadow: Deployment) -> Shadow:
        return Shadow(
            sockets=tuple(self._folder / path for path in shadow.sockets),
            timeout_s=shadow.timeout_ms / 1000,
            parallel=max(1, shadow.max_held // 2),
        )

    def _plan(self, conn: sa.Connection) -> EdgePlan:
        below: dict[tuple[str, str], list[Row]] = {}
        for row in resources.in_states(conn, DEPLOYMENT, LIVING):
            below.setdefault((row.scope, row.parent), []).append(row)
        endpoints = []
        for row in resources.in_states(conn, ENDPOINT, LIVING):
            deployments = below.get((row.scope, resources.key(row.name)), [])
            endpoints.append(self._endpoint(conn, row, deployments))
        return EdgePlan(listen=self._listen, objects=str(self._objects), endpoints=tuple(endpoints))

    def _endpoint(self, conn: sa.Connection, row: Row, deployments: list[Row]) -> Endpoint:
        properties = row.body["properties"]
        auth = AUTH[properties["authMode"]]
        keys = [
            self._vault.get(conn, row.scope, f"onlineEndpoints/{resources.key(row.name)}/{name}")
            for name in (KEY_NAMES.values() if auth == "key" else ())
        ]
        names = {resources.key(deployment.name): deployment.name for deployment in deployments}

        def shares(field: str) -> list[tuple[str, int]]:
            given: dict[str, int] = properties.get(field) or {}
            found = ((resources.key(name), share) for name, share in given.items() if share > 0)
            return [(names[key], share) for key, share in found if key in names]

        return Endpoint(
            name=row.name,
            auth=auth,
            keys=tuple(key for key in keys if key),
            weights=tuple(shares("traffic")),
            mark=f"{row.pk}.{row.created_at}.{properties['authMode']}",
            mirror=next(iter(shares("mirrorTraffic")), None),
            deployments=tuple(_deployment(row.name, deployment, self._node) for deployment in deployments),
        )


def _shadows(plan: EdgePlan) -> Iterator[tuple[Endpoint, Deployment]]:
    for endpoint in plan.endpoints:
        for deployment in endpoint.deployments:
            if endpoint.mirror is not None and endpoint.mirror[0] == deployment.name:
                yield endpoint, deployment


def _deployment(endpoint: str, row: Row, node: str) -> Deployment:
    """As it serves, which after a failed change is not as it is asked for."""
    named = Deployment(name=row.name, upstream=upstream_name(endpoint, row.name))
    release = recall(row)
    if release is None or row.server.get("node") != node:
        return named
    out = set(row.server.get("out") or ())
    return msgspec.structs.replace(
        named,
        sockets=tuple(f"d/{Path(p.socket).name}" for number, p in enumerate(release.plans) if number not in out),
        timeout_ms=release.timeout_ms,
        # Azure's rule: as many again may wait as may run
        max_held=min(65535, 2 * release.held * len(release.plans)),
    )
