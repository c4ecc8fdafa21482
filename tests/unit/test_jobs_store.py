"""Jobs as rows, on both databases: lists by every filter, pages that cost the same, and what a deleted job takes with it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from tests.support.databases import database, postgres_url
from tests.support.steps import steps_of
from tests.support.zaffre_server import eventually
from zaffre.control.jobs import JobController
from zaffre.errors import InvalidInput
from zaffre.services import assets, kinds, lineage
from zaffre.services.job_removal import remove
from zaffre.services.jobs import DELETE, Jobs
from zaffre.services.resources import Resources
from zaffre.services.workspaces import ARTIFACT_CONTAINER, Workspace
from zaffre.store import blobs, jobs, operations, resources, tables
from zaffre.store.database import Database
from zaffre.store.filters import Pair
from zaffre.store.jobs import JobSelection
from zaffre.store.seal import Vault
from zaffre.store.tracking import experiments, models, runs
from zaffre.store.tracking.records import NewRun
from zaffre.store.unit import PLATFORM, Actor, Unit

__all__ = ["database", "postgres_url"]
WORKSPACE = Workspace(id="11111111-2222", subscription="s", resource_group="g", name="w", location="here")


def add(unit: Unit, id_: str, *, actor: Actor = PLATFORM, server: Any = None, job: bool = True, **values: Any) -> int:
    experiments.insert(unit, WORKSPACE.id, "0", "first", None, {})
    experiment = experiments.by_id(unit.conn, WORKSPACE.id, "0")
    assert experiment is not None
    output = {"jobOutputType": "uri_folder", "mode": "Upload", "assetName": values.pop("asset", None)}
    new = NewRun(
        scope=WORKSPACE.id, id=id_, experiment=experiment.pk, origin="job" if job else "mlflow", status="Completed",
        display_name=id_, user="u", **values,
    )  # fmt: skip
    (pk,) = runs.insert(unit, [new])
    assert pk is not None
    if job:
        body = {"properties": {"jobType": "Command", "outputs": {"x": output}}}
        jobs.insert(unit, actor, pk, WORKSPACE.id, id_, "node", body, server or {"resolved": {}})
    return pk


@pytest.fixture
def six(database: Database) -> Database:
    def fill(unit: Unit) -> None:
        for i in range(6):
            add(
                unit,
                f"job{i}",
                actor=Actor(name="eve" if i == 5 else "adam"),
                server={"resolved": {}, **({"schedule": "nightly"} if i == 4 else {})},
                tags={"n": str(i), 'odd"key.%': "x"} if i % 2 else {"n": str(i)},
                properties={"odd.key": "a=b"} if i < 2 else {},
                hidden=i == 3,
                asset="mo_del" if i == 2 else "mo-del" if i == 1 else None,
            )

    database.write_now(fill)
    return database


def listed(database: Database, **wanted: Any) -> str:
    found = database.read_now(lambda conn: jobs.listing(conn, WORKSPACE.id, JobSelection(**{"limit": 10, **wanted})))
    return "".join(job.id.removeprefix("job") for job in found)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "543210"),
        ({"descending": False}, "012345"),
        ({"hidden": False}, "54210"),
        ({"hidden": True}, "3"),
        ({"job_type": "command"}, "543210"),
        ({"job_type": "Sweep"}, ""),
        ({"created_by": "eve"}, "5"),
        ({"tags": (Pair("n"),)}, "543210"),
        ({"tags": (Pair("n", "2"),)}, "2"),
        ({"tags": (Pair('odd"key.%'), Pair("n", "3"))}, "3"),
        ({"properties": (Pair("odd.key"),)}, "10"),
        ({"properties": (Pair("odd.key", "a=b"),)}, "10"),
        ({"properties": (Pair("odd.key", "a"),)}, ""),
        ({"scheduled": True}, "4"),
        ({"scheduled": False}, "53210"),
        ({"schedule": "nightly"}, "4"),
        ({"schedule": "weekly"}, ""),
        ({"asset": "mo_del"}, "2"),
        ({"limit": 2}, "54"),
        ({"limit": 2, "offset": 3}, "21"),
    ],
)
def test_lists(six: Database, wanted: dict[str, Any], expected: str) -> None:
    assert listed(six, **wanted) == expected


def test_pages_meet_without_a_gap(six: Database) -> None:
    for descending in (True, False):
        seen, after = "", None
        while page := six.read_now(
            lambda conn, d=descending, a=after: jobs.listing(  # type: ignore[misc]
                conn, WORKSPACE.id, JobSelection(descending=d, after=a, limit=4)
            )
        ):
            seen += "".join(job.id[3:] for job in page)
            after = page[-1].run
        assert seen == ("543210" if descending else "012345")


def test_a_late_page_of_ten_thousand_jobs_reads_only_its_own_rows(database: Database) -> None:
    """What SQLite does for the last page is what it does for the first."""
    if database.engine.dialect.name != "sqlite":
        pytest.skip("only SQLite tells its steps")

    def fill(unit: Unit) -> None:
        first = add(unit, "first")
        run = dict(unit.conn.execute(sa.select(tables.runs)).mappings().one()) | {"origin": "job"}
        job = dict(unit.conn.execute(sa.select(tables.jobs)).mappings().one())
        numbers = range(first + 1, first + 10_000)
        unit.conn.execute(sa.insert(tables.runs), [{**run, "pk": n, "id": f"j{n}"} for n in numbers])
        unit.conn.execute(sa.insert(tables.jobs), [{**job, "run": n, "id": f"j{n}"} for n in numbers])
        unit.conn.execute(sa.insert(tables.run_tags), [{"run": n, "key": "k", "value": "v"} for n in numbers])

    database.write_now(fill)

    def steps(**wanted: Any) -> int:
        selection = JobSelection(hidden=False, limit=100, **wanted)
        found, count = steps_of(database, lambda conn: jobs.listing(conn, WORKSPACE.id, selection))
        assert len(found) == 100
        return count

    for wanted in ({}, {"tags": (Pair("k", "v"),)}):
        first, last = steps(**wanted), steps(after=105, **wanted)
        assert last <= 2 * first and first < 3000, (first, last)


def blob(unit: Unit, container: str, name: str) -> None:
    found = blobs.container(unit.conn, WORKSPACE.account, container)
    assert found is not None
    values = {"sha256": "0" * 64, "size": 1, "etag": "e", "content_type": "t", "headers": {}, "metadata": {}}
    assert blobs.insert(unit, found.pk, name, **values)


def left(database: Database) -> list[str]:
    return database.read_now(lambda conn: sorted(conn.execute(sa.select(tables.blobs.c.name)).scalars()))


def asset(unit: Unit, type_: str, name: str, **properties: str) -> None:
    resources.insert(
        unit, PLATFORM, WORKSPACE.id, f"workspaces/{type_}/versions", "1", {"properties": properties}, {}, parent=name
    )


def test_a_deleted_job_takes_all_but_what_is_named(database: Database) -> None:
    store = f"azureml://{WORKSPACE.uri}/datastores/workspaceblobstore/paths"

    def fill(unit: Unit) -> None:
        for container in (WORKSPACE.container, ARTIFACT_CONTAINER):
            blobs.make_container(unit, WORKSPACE.account, container)
        add(unit, "doomed", tags={"a": "b"})
        add(unit, "doomed2")
        add(unit, "child", job=False, parent="doomed", root="doomed")
        add(unit, "grandchild", job=False, parent="child", root="doomed")
        add(unit, "child-job", parent="doomed", root="doomed")
        experiment = experiments.by_id(unit.conn, WORKSPACE.id, "0")
        assert experiment is not None
        for model in ("m-kept", "m-gone"):
            models.insert(
                unit, WORKSPACE.id, model, experiment.pk, model, "READY", model_type=None, source_run="child", params={}, tags={}
            )  # fmt: skip
        for name in ("x/kept/a", "x/kept2", "x/gone", "y/z"):
            blob(unit, WORKSPACE.container, f"azureml/doomed/{name}")
        blob(unit, WORKSPACE.container, "azureml/doomed2/x/a")
        blob(unit, WORKSPACE.container, "elsewhere/doomed/a")
        for run in ("doomed", "doomed2", "child", "grandchild", "child-job", "m-kept", "m-gone"):
            blob(unit, ARTIFACT_CONTAINER, f"ExperimentRun/dcid.{run}/model/MLmodel")
        blob(unit, ARTIFACT_CONTAINER, "ExperimentRun/dcid.doomed/outputs/file.bin")
        asset(unit, "data", "d", dataUri=f"{store}/azureml/doomed/x/kept/")
        asset(unit, "models", "m", modelUri="azureml://jobs/doomed/outputs/artifacts/paths/outputs/file.bin")
        asset(unit, "models", "n", modelUri="runs:/grandchild/model")
        asset(
            unit,
            "models",
            "o",
            modelUri=f"azureml://{WORKSPACE.uri}/datastores/workspaceartifactstore/paths/ExperimentRun/dcid.m-kept/",
        )

    database.write_now(fill)

    def delete(unit: Unit) -> None:
        job = jobs.get(unit.conn, WORKSPACE.id, "doomed")
        assert job is not None
        remove(unit, WORKSPACE, job)

    database.write_now(delete)
    assert left(database) == [
        "ExperimentRun/dcid.child-job/model/MLmodel",
        "ExperimentRun/dcid.doomed/outputs/file.bin",
        "ExperimentRun/dcid.doomed2/model/MLmodel",
        "ExperimentRun/dcid.grandchild/model/MLmodel",
        "ExperimentRun/dcid.m-kept/model/MLmodel",
        "azureml/doomed/x/kept/a",
        "azureml/doomed2/x/a",
        "elsewhere/doomed/a",
    ]
    found = database.read_now(lambda conn: sorted(conn.execute(sa.select(tables.runs.c.id)).scalars()))
    assert found == ["child-job", "doomed2"]
    assert database.read_now(lambda conn: models.get(conn, WORKSPACE.id, "m-gone")) is None
    assert database.read_now(lambda conn: models.get(conn, WORKSPACE.id, "m-kept")) is not None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("azureml://jobs/doomed/outputs/x2/paths/a", ["azureml/doomed/x2/a"]),
        ("azureml://jobs/doomed/outputs/x", ["azureml/doomed/x/a"]),
        ("azureml://jobs/doomed/outputs/unsaid/paths/", ["azureml/doomed/unsaid/a"]),
        ("azureml://jobs/doomed/outputs/default/paths/model", ["ExperimentRun/dcid.doomed/model/MLmodel"]),
        ("azureml://datastores/workspaceblobstore/paths/azureml/doomed/x*/*", ["azureml/doomed/x/a", "azureml/doomed/x2/a"]),
    ],
)  # fmt: skip
def test_a_deleted_job_leaves_what_a_table_names(database: Database, text: str, kept: list[str]) -> None:
    def fill(unit: Unit) -> None:
        for container in (WORKSPACE.container, ARTIFACT_CONTAINER):
            blobs.make_container(unit, WORKSPACE.account, container)
        add(unit, "doomed")
        for name in ("x/a", "x2/a", "unsaid/a"):
            blob(unit, WORKSPACE.container, f"azureml/doomed/{name}")
        blob(unit, ARTIFACT_CONTAINER, "ExperimentRun/dcid.doomed/model/MLmodel")
        body = {"properties": {"referencedUris": [text]}}
        resources.insert(unit, PLATFORM, WORKSPACE.id, "workspaces/data/versions", "1", body, {}, parent="table")

    database.write_now(fill)

    def delete(unit: Unit) -> None:
        job = jobs.get(unit.conn, WORKSPACE.id, "doomed")
        assert job is not None
        remove(unit, WORKSPACE, job)

    database.write_now(delete)
    assert set(kept) <= set(left(database))
    assert left(database) == kept or "*" in text


def test_a_job_that_ends_while_it_is_deleted(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the wish nor how it ended is lost: two transactions write the same document."""
    made = Database(postgres_url)
    tables.metadata.create_all(made.engine)

    def fill(unit: Unit) -> None:
        pk = add(unit, "doomed")
        runs.update(unit, pk, status=jobs.RUNNING)

    made.write_now(fill)
    job = made.read_now(lambda conn: jobs.get(conn, WORKSPACE.id, "doomed"))
    assert job is not None
    begin, ends = operations.begin, []

    def waits(conn: sa.Connection) -> bool:
        return bool(conn.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())

    def meanwhile(*args: Any) -> None:
        controller: Any = SimpleNamespace(_database=made)
        ending = JobController._give_up(controller, job, {"status": jobs.FAILED, "error": None})
        ends.append(threads.submit(asyncio.run, ending))
        eventually(lambda: ends[0].done() or made.read_now(waits), bool, seconds=60, what="the end")
        begin(*args)

    service = Jobs(made, Resources(made, Vault(tmp_path / "key"), kinds.load()), *[cast("Any", None)] * 4)
    with ThreadPoolExecutor() as threads:
        monkeypatch.setattr(operations, "begin", meanwhile)
        asyncio.run(service.delete(PLATFORM, WORKSPACE, service.kinds["workspaces/jobs"], "", "doomed"))
        ends[0].result()
    fresh = made.read_now(lambda conn: jobs.get(conn, WORKSPACE.id, "doomed"))
    assert fresh is not None and fresh.status == jobs.FINALIZING
    assert (fresh.server.get(DELETE), "outcome" in fresh.server) == (True, True)
    made.close()


def _outputs_of(database: Database, id_: str) -> str:
    """A job that left a file; the address of it that an asset is made of."""

    def fill(unit: Unit) -> None:
        for container in (WORKSPACE.container, ARTIFACT_CONTAINER):
            blobs.make_container(unit, WORKSPACE.account, container)
        add(unit, id_)
        blob(unit, WORKSPACE.container, f"azureml/{id_}/x/a")

    database.write_now(fill)
    return f"azureml://{WORKSPACE.uri}/datastores/workspaceblobstore/paths/azureml/{id_}/x/"


def _service(database: Database, folder: Path) -> Jobs:
    return Jobs(
        database, Resources(database, Vault(folder / "key"), kinds.load()), *[cast("Any", None)] * 4
    )  # what a delete needs


@pytest.mark.parametrize("form", ["azureml://jobs/doomed/outputs/x", "runs:/doomed/x", ""])
def test_a_job_that_goes_while_an_asset_of_it_arrives(database: Database, tmp_path: Path, form: str) -> None:
    uri, service = _outputs_of(database, "doomed"), _service(database, tmp_path)

    class Meanwhile(Resources):
        async def arrive(self, workspace: Workspace, kind: Any, body: Any) -> Any:
            await service.delete(PLATFORM, WORKSPACE, self.kinds["workspaces/jobs"], "", "doomed")
            return {"properties": {**body["properties"], "dataUri": uri}}

    versions = Meanwhile(database, Vault(tmp_path / "key"), service.kinds)
    body = {"properties": {"dataUri": form or uri, "dataType": "uri_folder"}}
    with pytest.raises(InvalidInput, match="'doomed'"):
        asyncio.run(versions.put(PLATFORM, WORKSPACE, service.kinds["workspaces/data/versions"], "new", "1", body))
    assert left(database) == []


@pytest.mark.parametrize("of", ["doomed", "child"])
def test_a_job_leaves_what_an_asset_is_just_made_of(postgres_url: str, tmp_path: Path, of: str) -> None:
    """Two transactions at once: the one that deletes has to see what the other one names."""
    made = Database(postgres_url)
    tables.metadata.create_all(made.engine)
    uri, service = _outputs_of(made, "doomed"), _service(made, tmp_path)
    name = "azureml/doomed/x/a"
    if of == "child":
        name = "ExperimentRun/dcid.child/model/MLmodel"
        uri = f"azureml://{WORKSPACE.uri}/datastores/workspaceartifactstore/paths/ExperimentRun/dcid.child/model"
        made.write_now(lambda unit: blob(unit, ARTIFACT_CONTAINER, name))
        made.write_now(lambda unit: add(unit, "child", job=False, parent="doomed", root="doomed"))
    written, go = threading.Event(), threading.Event()

    def slowly(unit: Unit) -> None:
        properties = {"dataUri": uri}
        seen = lineage.seen(unit.conn, WORKSPACE.id, properties)
        body = {"properties": properties}
        assets.put_version(unit, PLATFORM, WORKSPACE.id, "workspaces/data", "new", "1", body, {}, "f")
        lineage.refuse_if_lost(unit, WORKSPACE.id, seen)
        written.set()
        assert go.wait(60)

    def waits(conn: sa.Connection) -> bool:
        return bool(conn.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())

    with ThreadPoolExecutor() as threads:
        putting = threads.submit(made.write_now, slowly)
        assert written.wait(60)
        delete = service.delete(PLATFORM, WORKSPACE, service.kinds["workspaces/jobs"], "", "doomed")
        deleting = threads.submit(asyncio.run, delete)
        eventually(lambda: deleting.done() or made.read_now(waits), bool, seconds=60, what="the delete")
        go.set()
        putting.result()
        deleting.result()
    assert left(made) == [name]
    made.close()
