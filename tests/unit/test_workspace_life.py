"""Workspaces below the wire: what is kept of a body, the end of one on both databases, the rotation of its key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.databases import Clock, database, postgres_url
from zaffre.control.workspaces import TOMB_MS, WorkspaceController
from zaffre.errors import Conflict, InvalidInput, NotFound, NotServed
from zaffre.services import kinds
from zaffre.services.blobs import Blobs
from zaffre.services.collection import Collector
from zaffre.services.diagnosis import Diagnosis
from zaffre.services.kinds import workspace_template
from zaffre.services.kinds import workspaces as kind_of
from zaffre.services.tracking import Tracking
from zaffre.services.workspace_changes import WorkspaceChanges, check_place
from zaffre.services.workspaces import RETIRES_MS, Workspace, Workspaces
from zaffre.store import jobs, operations, resources, tables
from zaffre.store.database import Database
from zaffre.store.objects import Objects
from zaffre.store.seal import Vault
from zaffre.store.unit import PLATFORM

__all__ = ["database", "postgres_url"]

KIND = kinds.load()["workspaces"]


class House:
    """The services a workspace needs, on one database."""

    def __init__(self, store: Database, folder: Path) -> None:
        self.database = store
        self.folder = folder
        self.vault = Vault(folder / "vault.key")
        self.workspaces = Workspaces(store, self.vault, "local")
        self.changes = WorkspaceChanges(store, KIND, self.workspaces)
        self.objects = Objects(folder / "objects", store.runtime)
        self.blobs = Blobs(store, self.objects, self.workspaces)
        self.asked: list[str] = []
        self.controller = WorkspaceController(store, folder / "jobs", self._cancel, self._delete)

    async def make(self, name: str, **body: Any) -> Workspace:
        await self.changes.put(PLATFORM, "s", "g", name, {"properties": {}, **body})
        return await self.workspaces.find("s", "g", name)

    async def _cancel(self, workspace: Workspace, name: str) -> None:
        self.asked.append(f"cancel {name}")

    async def _delete(self, workspace: Workspace, name: str) -> None:
        self.asked.append(f"delete {name}")


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path)


async def fill(house: House, workspace: Workspace) -> None:
    """Something in every table that belongs to a workspace."""
    tracking = Tracking(house.database)

    def work(unit: Any) -> None:
        experiment = tracking.ensure_experiment(unit, workspace.id, "e")
        for number in range(3):
            run = tracking.create_run(
                unit, workspace.id, f"r{number}", experiment.pk, origin="job", status=jobs.COMPLETED, display_name="r",
                description=None, user="u", properties={}, tags={},
            )  # fmt: skip
            body = {"properties": {"jobType": "Command"}}
            jobs.insert(unit, PLATFORM, run.pk, workspace.id, f"r{number}", "node", body, {})
            points = [{"run": run.pk, "key": "m", "step": step, "timestamp": step, "value": 1.0} for step in range(50)]
            unit.conn.execute(sa.insert(tables.metrics), points)
        resources.insert(unit, PLATFORM, workspace.id, "workspaces/data", "d", {"properties": {}}, {})
        house.vault.put(unit, workspace.id, "datastores/x/key", "secret")

    await house.database.write(work)
    for number in range(5):
        await house.blobs.put_bytes(workspace.account, "azureml", f"b{number}", f"{workspace.id}{number}".encode())


def left(house: House, workspace: Workspace) -> dict[str, int]:
    """How many rows of the workspace each table has, but for the audit and what tells of its end."""

    def count(conn: sa.Connection) -> dict[str, int]:
        found = {}
        for table in tables.metadata.sorted_tables:
            if "scope" in table.c and table.name not in ("audit", "events"):
                where = table.c.scope == workspace.id
            elif table.name == "blob_containers":
                where = table.c.account == workspace.account
            elif table.name in ("metrics", "blobs"):
                where = sa.true()
            else:
                continue
            found[table.name] = conn.execute(sa.select(sa.func.count()).select_from(table).where(where)).scalar_one()
        return {name: number for name, number in found.items() if number}

    return house.database.read_now(count)


def test_nothing_of_a_deleted_workspace_is_left(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from zaffre.store import scopes

    monkeypatch.setattr(scopes, "BATCH", 2)  # many small steps, as a large workspace takes

    async def go() -> None:
        kept, gone = await house.make("kept"), await house.make("gone")
        await fill(house, gone)
        assert set(left(house, gone)) >= {"resources", "runs", "jobs", "experiments", "metrics", "secrets", "blobs"}
        operation = await house.changes.begin_delete(PLATFORM, gone)
        with pytest.raises(Conflict, match="being deleted"):
            await house.workspaces.find("s", "g", "gone")
        with pytest.raises(Conflict, match="being deleted"):
            await house.make("gone")
        with pytest.raises(NotFound):
            await house.blobs.account(gone.account)
        assert (await house.workspaces.by_id(gone.id)).name == "gone"
        assert await house.controller.once() is False
        assert left(house, gone) == {}
        assert left(house, kept) == {"resources": 2, "secrets": 1, "blob_containers": 2}
        assert (await house.changes.operation("S", operation)).status == operations.SUCCEEDED
        with pytest.raises(NotFound):
            await house.workspaces.find("s", "g", "gone")
        assert (await house.make("gone")).id != gone.id

    asyncio.run(go())


def test_what_arrives_late_is_taken_away_with_the_tombstone(house: House) -> None:
    """A request that was let in before the deletion may write its row after it."""

    async def go() -> None:
        gone = await house.make("gone")
        await house.changes.begin_delete(PLATFORM, gone)
        await house.controller.once()
        await house.database.write(
            lambda unit: resources.insert(unit, PLATFORM, gone.id, "workspaces/data", "late", {"properties": {}}, {})
        )
        assert await house.controller.bury() == 0
        clock = house.database.runtime
        assert isinstance(clock, Clock)
        clock.time += TOMB_MS
        assert await house.controller.bury() == 1 and left(house, gone) == {}
        assert await house.controller.bury() == 0

    asyncio.run(go())


def test_a_request_that_came_in_before_the_end_writes_nothing_after_it(house: House) -> None:
    from zaffre.services.resources import Resources

    service = Resources(house.database, house.vault, kinds.load())

    async def go() -> None:
        gone = await house.make("gone")
        body = {"properties": {"image": "python:3.11"}}
        put = (PLATFORM, gone, service.kinds["workspaces/environments/versions"], "e", "1", body)
        assert (await service.put(*put)).created
        await house.changes.begin_delete(PLATFORM, gone)
        with pytest.raises(Conflict, match="being deleted"):
            await service.put(*put)
        await house.controller.once()
        with pytest.raises(NotFound, match="any more"):
            await service.put(*put)
        assert left(house, gone) == {}

    asyncio.run(go())


def test_work_is_ended_first_and_bytes_are_freed(house: House) -> None:
    async def go() -> None:
        gone = await house.make("gone")
        await fill(house, gone)
        await house.database.write(
            lambda unit: unit.conn.execute(
                sa.update(tables.runs).where(tables.runs.c.id == "r1").values(status=jobs.RUNNING)
            )
        )
        await house.database.write(
            lambda unit: resources.insert(
                unit, PLATFORM, gone.id, "workspaces/onlineEndpoints", "e", {"properties": {}}, {}, state="Succeeded"
            )
        )
        await house.changes.begin_delete(PLATFORM, gone)
        assert await house.controller.once() is True
        assert house.asked == ["cancel r1", "delete e"] and left(house, gone)["blobs"] == 5
        await house.database.write(lambda unit: unit.conn.execute(sa.update(tables.runs).values(status=jobs.CANCELED)))
        await house.database.write(
            lambda unit: unit.conn.execute(
                sa.delete(tables.resources).where(tables.resources.c.type == "workspaces/onlineEndpoints")
            )
        )
        assert await house.controller.once() is False and left(house, gone) == {}
        clock = house.database.runtime
        assert isinstance(clock, Clock)
        clock.time += 2**41  # far beyond the real time that the files have
        collector = Collector(house.database, house.objects)
        for _ in range(2):  # what two looks found unreferenced goes
            await collector.collect(0)
        assert not [path for path in (house.folder / "objects").rglob("*") if len(path.name) > 32]

    asyncio.run(go())


def test_a_hub_stays_while_it_has_projects(house: House) -> None:
    async def go() -> None:
        hub = await house.make("hub", kind="hub")
        project = await house.make("project", kind="project", properties={"hubResourceId": hub.path.lower()})
        row = await house.changes.row("s", "g", "project")
        assert row.body["properties"]["hubResourceId"] == hub.path
        with pytest.raises(Conflict, match="project"):
            await house.changes.begin_delete(PLATFORM, hub)
        with pytest.raises(InvalidInput, match="no hub"):
            await house.make("other", kind="project", properties={"hubResourceId": project.path})
        await house.changes.begin_delete(PLATFORM, project)
        await house.changes.begin_delete(PLATFORM, hub)

    asyncio.run(go())


def test_a_replaced_key_retires(house: House) -> None:
    async def go() -> None:
        workspace = await house.make("ws")
        first = await house.workspaces.account_key(workspace)
        assert await house.blobs.accounts.keys(workspace) == (first,)
        await house.workspaces.rotate_key(PLATFORM, workspace)
        second = await house.workspaces.account_key(workspace)
        assert second != first and await house.blobs.accounts.keys(workspace) == (second, first)
        clock = house.database.runtime
        assert isinstance(clock, Clock)
        clock.time += RETIRES_MS
        assert await house.blobs.accounts.keys(workspace) == (second,)
        await house.workspaces.rotate_key(PLATFORM, workspace)
        await house.workspaces.rotate_key(PLATFORM, workspace)
        assert second not in await house.blobs.accounts.keys(workspace)

    asyncio.run(go())


def test_a_diagnosis_tells_what_does_not_work(house: House) -> None:
    async def codes() -> set[str]:
        parts = (house.database, house.vault, house.workspaces, house.blobs, house.folder)
        examined = Diagnosis(*parts, trouble, ())
        return {one.code for one in await examined.examine(workspace)} - {"DiskNearlyFull", "DiskFull"}

    async def trouble(_workspace: Workspace, name: str) -> str | None:
        return f"{name} is far away" if name == "far" else None

    async def go() -> None:
        assert await codes() == {"Examined"}
        for name in ("far", "near"):
            await house.database.write(
                lambda unit, name=name: resources.insert(  # type: ignore[misc]
                    unit, PLATFORM, workspace.id, "workspaces/datastores", name, {"properties": {}}, {}
                )
            )
        assert await codes() == {"DatastoreNotReachable", "Examined"}
        await house.database.write(
            lambda unit: unit.conn.execute(sa.delete(tables.resources).where(tables.resources.c.name == "far"))
        )
        house.vault = Vault(house.folder / "another.key")
        house.workspaces = Workspaces(house.database, house.vault, "local")
        assert await codes() == {"SecretUnreadable", "Examined"}
        await house.database.write(lambda unit: unit.conn.execute(sa.delete(tables.blob_containers)))
        assert await codes() >= {"StorageNotUsable", "ContainerMissing"}
        await house.database.write(
            lambda unit: unit.conn.execute(sa.delete(tables.resources).where(tables.resources.c.scope == workspace.id))
        )
        assert "DatastoreMissing" in await codes()

    workspace = asyncio.run(house.make("ws"))
    asyncio.run(go())


def test_datastores_follow_the_way_in(house: House) -> None:
    async def kinds_of_credentials(workspace: Workspace) -> set[str]:
        rows = await house.database.read(lambda conn: resources.listing(conn, workspace.id, "workspaces/datastores"))
        return {row.body["properties"]["credentials"]["credentialsType"] for row in rows}

    async def go() -> None:
        workspace = await house.make("ws")
        assert await kinds_of_credentials(workspace) == {"Sas"}
        await house.changes.update(PLATFORM, workspace, {"properties": {"systemDatastoresAuthMode": "identity"}})
        assert await kinds_of_credentials(workspace) == {"None"}
        await house.changes.update(PLATFORM, workspace, {"properties": {"systemDatastoresAuthMode": "accesskey"}})
        assert await kinds_of_credentials(workspace) == {"Sas"}

    asyncio.run(go())


@pytest.mark.parametrize(
    "place", [("s/x", "g"), ("", "g"), ("s", "a/b"), ("s", "ends."), ("s", "a" * 91), ("s\n", "g")]
)
def test_places_that_are_none(place: tuple[str, str]) -> None:
    with pytest.raises(InvalidInput, match="not a valid name"):
        check_place(*place)


def test_the_words_of_a_template() -> None:
    name, body = workspace_template.wish(
        {
            "properties": {
                "mode": "incremental",
                "parameters": {
                    "workspaceName": {"value": "w"},
                    "kind": {"value": "default"},
                    "description": {"value": "d"},
                    "publicNetworkAccess": {"value": "PublicNetworkAccessType.ENABLED"},
                    "confidential_data": {"value": "true"},
                    "imageBuildCompute": {"value": ""},
                    "containerRegistryOption": {"value": "none"},
                    "tagValues": {"value": {"a": "b"}},
                },
            }
        }
    )
    assert name == "w" and body["tags"] == {"a": "b"}
    kept = kind_of.accept(KIND, body)
    assert kept["kind"] == "Default" and kept["properties"]["hbiWorkspace"] is True
    assert kept["properties"]["publicNetworkAccess"] == "Enabled" and "imageBuildCompute" not in kept["properties"]
    wish = {"workspaceName": {"value": "w"}, "storageAccountOption": {"value": "existing"}}
    with pytest.raises(NotServed, match="storageAccount"):
        kind_of.accept(KIND, workspace_template.wish({"properties": {"parameters": wish}})[1])
