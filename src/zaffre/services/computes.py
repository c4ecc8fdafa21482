"""Computes as the control plane knows them: what is kept, what runs on them now, and what is asked of instances.

What brings an instance to rest, and what its schedules want, is done by the compute controller.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput, NotFound
from zaffre.services.kinds import attached_computes, computes, vm_sizes
from zaffre.services.kinds.attached_computes import ATTACHED
from zaffre.services.kinds.base import Document, Kind
from zaffre.services.kinds.computes import ANYWHERE, INSTANCE, TYPE
from zaffre.services.kinds.vm_sizes import Size
from zaffre.services.quotas import Quotas
from zaffre.services.resources import ListQuery, Resources, Written, missing
from zaffre.services.workspaces import Workspace
from zaffre.store import jobs, operations, resources
from zaffre.store.database import Database
from zaffre.store.jobs import ActiveJob
from zaffre.store.resources import Cursor, Row
from zaffre.store.seal import Vault
from zaffre.store.unit import Actor, Unit

PREPARING = (jobs.STARTING,)
RUNNING = (jobs.RUNNING, jobs.CANCEL_REQUESTED, jobs.FINALIZING)
ACTIONS = {"start": "Start", "stop": "Stop", "restart": "Restart"}


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A share of this machine that a job has."""

    id: str
    state: str
    run: str


class Computes(Resources):
    """The generic service, and what only computes have. `machine` is this machine as a size."""

    def __init__(self, database: Database, vault: Vault, kinds: dict[str, Kind], machine: Size) -> None:
        super().__init__(database, vault, kinds)
        self.machine = machine
        self.quotas = Quotas(database)

    async def get(self, workspace: Workspace, kind: Kind, parent: str, name: str) -> Row:
        """The compute with what runs on it now."""
        return (await self._live(workspace, [await super().get(workspace, kind, parent, name)]))[0]

    async def page(
        self, workspace: Workspace, kind: Kind, parent: str, query: ListQuery
    ) -> tuple[list[Row], Cursor | None]:
        rows, following = await super().page(workspace, kind, parent, query)
        return await self._live(workspace, rows), following

    async def put(  # type: ignore[override]
        self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str, body: Document
    ) -> Written:
        """Make or change it. Raises Conflict for what a compute keeps for life, InvalidInput beyond a quota.

        It is done at once, yet answered as an operation that a client polls: SDKs before 1.34 read the first answer twice and
        lose the type of the compute the first time, as they never would from Azure.
        """
        if name.lower() in ANYWHERE:
            raise InvalidInput(
                f"'{name}' cannot be the name of a compute: in a job it means this machine.",
                code="InvalidName",
                target="name",
            )
        _, plain = kind.take_secrets(body)
        accepted = kind.accept(plain)
        size = accepted["properties"]["properties"].get("vmSize")
        server: Document = {"note": vm_sizes.note(size, self.machine) if size else None}
        operation = self.database.runtime.guid()

        def guard(unit: Unit, row: Row | None) -> None:
            if row is not None:
                computes.keep_what_is_fixed(row, accepted)
            self.quotas.check(unit, workspace, name, accepted)
            before = row.body["properties"]["properties"].get("schedules") if row is not None else None
            if row is None or before != accepted["properties"]["properties"].get("schedules"):
                server["acted_at"] = unit.now  # new schedules have missed nothing
            operations.begin(unit, operation, workspace.id, f"{TYPE}//put/{resources.key(name)}")
            operations.end(unit, operation, operations.SUCCEEDED)

        written = await super().put(actor, workspace, kind, parent, name, body, server=server, guard=guard)
        row = (await self._live(workspace, [written.row]))[0]
        row = msgspec.structs.replace(row, state="Creating" if written.created else "Updating")
        return Written(row=row, created=written.created, operation=operation)

    def may_delete(self, unit: Unit, workspace: Workspace, row: Row) -> None:
        super().may_delete(unit, workspace, row)
        using = [
            job.id for job in jobs.active_in(unit.conn, workspace.id) if target(job.compute) == resources.key(row.name)
        ]
        if using:
            raise Conflict(
                f"Compute '{row.name}' has jobs that are not over: {', '.join(using[:10])}"
                f"{' and others' if len(using) > 10 else ''}. Cancel them, or wait for them.",
                code="ComputeInUse",
            )
        gone = {"code": "ComputeDeleted", "message": f"Compute '{row.name}' was deleted meanwhile."}
        operations.end_all(unit, workspace.id, f"{TYPE}//{row.name}", operations.CANCELED, gone)

    async def remove(self, actor: Actor, workspace: Workspace, name: str, *, detach: bool) -> None:
        """Delete a cluster or an instance, or detach what was attached; nothing of somebody else's is ever deleted."""
        kind = self.kinds[TYPE]
        row = await self.database.read(lambda conn: resources.get(conn, workspace.id, TYPE, name))
        if row is None:
            return
        attached = row.body["properties"]["computeType"] in ATTACHED
        if attached != detach:
            action, instead = ("Detach", "Delete") if detach else ("Delete", "Detach")
            what = "was attached, and what lies behind it is not Zaffre's" if attached else "was made here"
            raise InvalidInput(
                f"Query 'underlyingResourceAction': {action} is not for compute '{row.name}', which {what}; use {instead}.",
                code="InvalidField",
                target="underlyingResourceAction",
            )
        await self.delete(actor, workspace, kind, "", name)

    # ---- what runs

    async def nodes(self, workspace: Workspace, name: str) -> list[Node]:
        """The shares of this machine that jobs of the compute have, oldest first."""
        row = await super().get(workspace, self.kinds[TYPE], "", name)
        active = await self.database.read(lambda conn: jobs.active_in(conn, workspace.id))
        return [
            Node(id=f"{row.name}-{job.run}", state="preparing" if job.status in PREPARING else "running", run=job.id)
            for job in active
            if target(job.compute) == resources.key(row.name) and job.status in (*PREPARING, *RUNNING)
        ]

    async def usage(self, subscription: str) -> dict[str, tuple[int, int]]:
        """What is used and how much of it there is: cores by running jobs, and clusters and instances there are."""

        def work(conn: sa.Connection) -> dict[str, tuple[int, int]]:
            busy = clusters = instances = 0
            for home in resources.below(conn, subscription.lower(), "workspaces"):
                scope = home.server["workspaceId"]
                busy += sum(job.status in (*PREPARING, *RUNNING) for job in jobs.active_in(conn, scope))
                for row in resources.listing(conn, scope, TYPE):
                    clusters += row.body["properties"]["computeType"] == computes.CLUSTER
                    instances += row.body["properties"]["computeType"] == INSTANCE
            return {
                "Total Cluster Dedicated Regional vCPUs": (busy, self.machine.vcpus),
                "Clusters": (clusters, -1),
                "Compute Instances": (instances, -1),
            }

        return await self.database.read(work)

    def sizes(self) -> list[Size]:
        """This machine first, then the table."""
        return [self.machine, *vm_sizes.table().values()]

    # ---- what is asked of instances

    async def power(self, actor: Actor, workspace: Workspace, name: str, action: str, trigger: str = "User") -> str:
        """Start, stop or restart an instance; the id of the operation. Stopping ends the jobs that run on it."""
        operation = self.database.runtime.guid()

        def work(unit: Unit) -> str:
            row = resources.get(unit.conn, workspace.id, TYPE, name, lock=True)
            if row is None:
                raise missing(workspace, self.kinds[TYPE], "", name)
            self.change_power(unit, actor, workspace, row, action, trigger, operation)
            return operation

        return await self.database.write(work)

    def change_power(
        self, unit: Unit, actor: Actor, workspace: Workspace, row: Row, action: str, trigger: str, operation: str
    ) -> None:
        """The same, in the caller's transaction, with the row as it is locked there."""
        kind = row.body["properties"]["computeType"]
        if kind != INSTANCE:
            raise InvalidInput(f"Compute '{row.name}' is a {kind}; only a compute instance can be asked to {action}.")
        now = computes.state(row)
        if now in ("Stopping", "Restarting"):
            raise Conflict(f"Compute instance '{row.name}' is {now}. Repeat the request when that is done.")
        if action == "restart" and now == "Stopped":
            raise Conflict(f"Compute instance '{row.name}' is Stopped; start it.")
        operations.begin(unit, operation, workspace.id, f"{TYPE}//{row.name}")
        at_once = action == "start" or now == "Stopped"
        power = {"start": "Running", "stop": "Stopped", "restart": "Running"}[action]
        last = {
            "name": ACTIONS[action],
            "at": unit.now,
            "status": "Succeeded" if at_once else "InProgress",
            "trigger": trigger,
        }
        server = {**row.server, "power": power, "last": last, "operation": None if at_once else operation}
        passing = {"stop": "Stopping", "restart": "Restarting"}.get(action, "Succeeded")
        resources.update(unit, None, row.pk, state="Succeeded" if at_once else passing, server=server)
        if at_once:
            operations.end(unit, operation, operations.SUCCEEDED)
        unit.audit(actor, f"{TYPE}/{action}", f"{workspace.path}/computes/{row.name}", detail={"trigger": trigger})
        unit.emit(workspace.id, TYPE, row.name, {"power": power})

    async def set_sso(self, actor: Actor, workspace: Workspace, name: str, wanted: bool) -> None:
        """Keep whether an instance signs its users in by themselves; it has no applications that would ask."""

        def work(unit: Unit) -> None:
            row = resources.get(unit.conn, workspace.id, TYPE, name, lock=True)
            if row is None:
                raise missing(workspace, self.kinds[TYPE], "", name)
            properties = row.body["properties"]
            if properties["computeType"] != INSTANCE:
                raise InvalidInput(f"Compute '{row.name}' is a {properties['computeType']}; only an instance has SSO.")
            inner = {**properties["properties"], "enableSSO": wanted}
            resources.update(unit, actor, row.pk, body={**row.body, "properties": {**properties, "properties": inner}})
            unit.audit(actor, f"{TYPE}/enableSso", f"{workspace.path}/computes/{row.name}")
            unit.emit(workspace.id, TYPE, row.name)

        await self.database.write(work)

    async def keys(self, workspace: Workspace, name: str) -> Document:
        """The secrets an attached compute was given. Raises NotFound for one that has none."""
        row = await super().get(workspace, self.kinds[TYPE], "", name)
        kind = row.body["properties"]["computeType"]
        prefix = f"{self.kinds[TYPE].segment}/{resources.key(row.name)}/"

        def work(conn: sa.Connection) -> dict[str, str]:
            names = [name for name in self.vault.names(conn, workspace.id) if name.startswith(prefix)]
            found = {name.removeprefix(prefix): self.vault.get(conn, workspace.id, name) for name in names}
            return {name: value for name, value in found.items() if value is not None}

        secrets = await self.database.read(work)
        if not secrets or kind not in ATTACHED:
            raise NotFound(f"Compute '{row.name}' is a {kind} and has no keys.", code="ComputeHasNoKeys")
        return {
            "computeType": kind,
            **attached_computes.with_secrets(row.body["properties"]["properties"], secrets),
        }

    async def _live(self, workspace: Workspace, rows: list[Row]) -> list[Row]:
        """The rows with the counts of jobs that are shown of a compute."""
        active = await self.database.read(lambda conn: jobs.active_in(conn, workspace.id)) if rows else []
        return [
            msgspec.structs.replace(row, server={**row.server, "live": _counts(resources.key(row.name), active)})
            for row in rows
        ]


def target(compute_id: str | None) -> str:
    """The compute that a job's `computeId` names, in lower case; empty for this machine."""
    name = (compute_id or "").rpartition("/")[2].lower()
    return "" if name in ANYWHERE else name


def _counts(name: str, active: Iterable[ActiveJob]) -> dict[str, int]:
    mine = [job for job in active if target(job.compute) == name]
    return {
        "running": sum(job.status in RUNNING for job in mine),
        "preparing": sum(job.status in PREPARING for job in mine),
        "waiting": sum(job.status == jobs.QUEUED for job in mine),
        "since": max((job.since for job in mine), default=0),
    }
