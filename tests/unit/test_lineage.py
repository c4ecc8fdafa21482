"""Who names what, on both databases: kept with the change, asked by either end, and what a delete may take."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tests.support.databases import database, postgres_url  # noqa: F401  (fixtures)
from tests.support.zaffre_server import eventually
from zaffre.errors import Conflict, InvalidInput
from zaffre.protocols.arm.listing import pairs
from zaffre.services import assets, kinds, lineage, references
from zaffre.services.kinds.base import Kind
from zaffre.services.lineage import Related
from zaffre.services.resources import Resources
from zaffre.services.tracking import Tracking
from zaffre.services.urls import account_of, inward, outward
from zaffre.services.workspaces import Workspace
from zaffre.store import blobs, links, resources, tables
from zaffre.store.database import Database
from zaffre.store.filters import Pair
from zaffre.store.resources import Cursor
from zaffre.store.seal import Vault
from zaffre.store.unit import PLATFORM, Unit

SCOPE = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
IDS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
WORKSPACE = Workspace(id=SCOPE, subscription="s", resource_group="g", name="w", location="here")
STORE = "azureml://datastores/workspaceblobstore/paths"
DEPLOYMENT = "workspaces/onlineEndpoints/deployments"
CONTAINER = f"azureml-blobstore-{SCOPE}"


def put(database: Database, kind: str, name: str, version: str, **properties: Any) -> None:  # noqa: F811
    body = {"properties": properties}
    database.write_now(
        lambda unit: assets.put_version(unit, PLATFORM, SCOPE, f"workspaces/{kind}", name, version, body, {}, "f")
    )


def delete(database: Database, kind: str, name: str, version: str) -> None:  # noqa: F811
    def work(unit: Unit) -> None:
        row = resources.get(unit.conn, SCOPE, f"workspaces/{kind}/versions", version, name)
        assert row is not None
        assets.delete_version(unit, PLATFORM, SCOPE, row)

    database.write_now(work)


def upload(database: Database, *names: str, container: str = CONTAINER) -> None:  # noqa: F811
    def work(unit: Unit) -> None:
        blobs.make_container(unit, account_of(SCOPE), container)
        found = blobs.container(unit.conn, account_of(SCOPE), container)
        assert found is not None
        for name in names:
            blobs.insert(
                unit, found.pk, name, sha256="0", size=1, md5=None, etag="e", content_type="x", headers={}, metadata={}
            )

    database.write_now(work)


def left(database: Database, container: str = CONTAINER) -> list[str] | None:  # noqa: F811
    """Names of the blobs there are; None without the container."""
    found = database.read_now(lambda conn: blobs.container(conn, account_of(SCOPE), container))
    if found is None:
        return None
    return [blob.name for blob in database.read_now(lambda conn: blobs.tree(conn, found.pk, ""))]


def note(database: Database, type_: str, subject: str, document: Any) -> None:  # noqa: F811
    database.write_now(lambda unit: lineage.note(unit, SCOPE, type_, subject, document))


def test_both_ends_know(database: Database) -> None:  # noqa: F811
    put(database, "models", "Net", "1", modelUri=f"{STORE}/x")
    note(
        database,
        DEPLOYMENT,
        "e/blue",
        {"model": f"azureml:{IDS}/models/NET/versions/1", "tags": {"a": f"{IDS}/data/no/versions/1"}},
    )
    about = database.read_now(lambda conn: lineage.about_version(conn, SCOPE, "workspaces/models/versions", "net", "1"))
    assert about == {
        "madeBy": [],
        "usedBy": [Related(type="onlineEndpoints/deployments", name="e/blue", role="model")],
        "uses": [],
    }


def test_models_of_mlflow_know_their_run(database: Database) -> None:  # noqa: F811
    """The files may lie under the run or under a logged model, whose id names no run."""
    tracking = Tracking(database)

    def make(unit: Unit) -> None:
        experiment = tracking.ensure_experiment(unit, SCOPE, "e")
        about: Any = {"status": "Running", "display_name": "r", "description": None, "user": "u"}
        tracking.create_run(unit, SCOPE, "r1", experiment.pk, origin="mlflow", properties={}, tags={}, **about)

    database.write_now(make)
    folder = "azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid."
    put(database, "models", "m", "1", modelUri=f"{folder}r1/model")
    put(database, "models", "m", "2", modelUri=f"{folder}m-0123/artifacts", jobName="r1")
    put(database, "models", "m", "3", modelUri=f"{folder}nobody/model")
    made = []
    for version in ("1", "2", "3"):
        about = database.read_now(
            lambda conn, version=version: lineage.about_version(conn, SCOPE, "workspaces/models/versions", "m", version)  # type: ignore[misc]
        )
        made.append(about["madeBy"])
    assert made == [[Related(type="runs", name="r1", role="artifacts")]] * 2 + [[]]
    makes = database.read_now(lambda conn: lineage.about_job(conn, SCOPE, "r1"))["makes"]
    assert [one.name for one in makes] == ["m/1", "m/2"]


def test_a_label_names_the_version_of_its_time(database: Database) -> None:  # noqa: F811
    put(database, "data", "d", "1", dataUri=f"{STORE}/1")
    note(database, lineage.JOBS, "old", {"inputs": {"x": {"uri": f"{IDS}/data/d/labels/latest"}}})
    put(database, "data", "d", "2", dataUri=f"{STORE}/2")
    note(database, lineage.JOBS, "new", {"inputs": {"x": {"uri": "azureml:d@latest"}}})
    for version, job in (("1", "old"), ("2", "new")):
        about = database.read_now(
            lambda conn, version=version: lineage.about_version(conn, SCOPE, "workspaces/data/versions", "d", version)  # type: ignore[misc]
        )
        assert [one.name for one in about["usedBy"]] == [job]


def test_what_a_resource_named_before_is_forgotten(database: Database) -> None:  # noqa: F811
    for version in ("1", "2"):
        put(database, "models", "m", version, modelUri=f"{STORE}/{version}")
        note(database, DEPLOYMENT, "e/b", {"model": f"{IDS}/models/m/versions/{version}"})
    delete(database, "models", "m", "1")
    with pytest.raises(Conflict, match="onlineEndpoints/deployments 'e/b'"):
        delete(database, "models", "m", "2")


def test_a_resource_that_goes_takes_its_links_along(database: Database) -> None:  # noqa: F811
    put(database, "models", "m", "1", modelUri=f"{STORE}/1")

    def work(unit: Unit) -> None:
        resources.insert(unit, PLATFORM, SCOPE, DEPLOYMENT, "B", {"properties": {}}, {}, parent="E")
        lineage.note(unit, SCOPE, DEPLOYMENT, resources.subject_of("E", "B"), {"model": f"{IDS}/models/m/versions/1"})
        row = resources.get(unit.conn, SCOPE, DEPLOYMENT, "b", "e")
        assert row is not None
        resources.delete(unit, row.pk)

    database.write_now(work)
    delete(database, "models", "m", "1")
    assert database.read_now(lambda conn: links.to(conn, SCOPE, ["models/m/1"])) == []


def test_uploads_go_with_the_last_who_names_them(database: Database) -> None:  # noqa: F811
    upload(database, "LocalUpload/ab/x/1", "LocalUpload/ab/x/2", "LocalUpload/abc/x", "mine/1")
    put(database, "data", "d", "1", dataUri=f"{STORE}/LocalUpload/ab/x/")
    put(database, "models", "m", "1", modelUri=f"azureml:/{IDS}/datastores/workspaceblobstore/paths/LocalUpload/ab/x/1")
    put(database, "data", "own", "1", dataUri=f"{STORE}/mine/")
    delete(database, "data", "d", "1")
    assert len(left(database) or []) == 4
    note(database, lineage.JOBS, "j", {"inputs": {"x": {"uri": f"{STORE}/LocalUpload/ab/x/1"}}})
    delete(database, "models", "m", "1")
    delete(database, "data", "own", "1")
    assert len(left(database) or []) == 4, "a job names them still"
    database.write_now(lambda unit: lineage.forget(unit, SCOPE, lineage.JOBS, "j"))
    assert left(database) == ["LocalUpload/abc/x", "mine/1"]


def test_an_upload_that_goes_while_a_version_of_it_arrives(database: Database, tmp_path: Path) -> None:  # noqa: F811
    upload(database, "LocalUpload/ab/x")
    put(database, "data", "old", "1", dataUri=f"{STORE}/LocalUpload/ab/x")

    class Meanwhile(Resources):
        async def arrive(self, workspace: Workspace, kind: Kind, body: Any) -> Any:
            delete(database, "data", "old", "1")
            return body

    service = Meanwhile(database, Vault(tmp_path / "key"), kinds.load())
    properties = {"dataUri": f"{STORE}/LocalUpload/ab/x", "dataType": "uri_file"}
    arguments = (service.kinds["workspaces/data/versions"], "new", "1", {"properties": properties})
    with pytest.raises(InvalidInput, match="Upload it again"):
        asyncio.run(service.put(PLATFORM, WORKSPACE, *arguments))
    assert left(database) == []
    type_ = "workspaces/data/versions"
    assert database.read_now(lambda conn: resources.get(conn, SCOPE, type_, "1", "new")) is None


def test_an_upload_stays_with_a_version_that_is_being_written(postgres_url: str) -> None:  # noqa: F811
    """Two transactions at once: each would see the upload as the other one's to keep or to take."""
    made = Database(postgres_url)
    tables.metadata.create_all(made.engine)
    upload(made, "LocalUpload/ab/x")
    put(made, "data", "old", "1", dataUri=f"{STORE}/LocalUpload/ab/x")
    written, go = threading.Event(), threading.Event()

    def slowly(unit: Unit) -> None:
        properties = {"dataUri": f"{STORE}/LocalUpload/ab/x"}
        body = {"properties": properties}
        assets.put_version(unit, PLATFORM, SCOPE, "workspaces/data", "new", "1", body, {}, "f")
        lineage.refuse_if_lost(unit, SCOPE, lineage.seen(unit.conn, SCOPE, properties))
        written.set()
        assert go.wait(60)

    def waits(conn: sa.Connection) -> bool:
        return bool(conn.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())

    with ThreadPoolExecutor() as threads:
        putting = threads.submit(made.write_now, slowly)
        assert written.wait(60)
        deleting = threads.submit(delete, made, "data", "old", "1")
        eventually(lambda: deleting.done() or made.read_now(waits), bool, seconds=60, what="the delete")
        go.set()
        putting.result()
        deleting.result()
    assert left(made) == ["LocalUpload/ab/x"]
    made.close()


def test_who_names_the_whole_store_holds_every_upload(database: Database) -> None:  # noqa: F811
    upload(database, "LocalUpload/ab/x")
    put(database, "data", "all", "1", dataUri=f"{STORE}/")
    put(database, "data", "d", "1", dataUri=f"{STORE}/LocalUpload/ab/x")
    delete(database, "data", "d", "1")
    assert left(database) == ["LocalUpload/ab/x"]


def test_code_has_a_container_of_its_own(database: Database) -> None:  # noqa: F811
    container = "code-" + "0" * 32
    upload(database, "src/main.py", container=container)
    put(database, "codes", "c", "1", codeUri=f"/{account_of(SCOPE)}.blob.core.windows.net/{container}/src")
    delete(database, "codes", "c", "1")
    assert left(database, container) is None


def test_no_alias_names_a_version_that_is_gone(database: Database) -> None:  # noqa: F811
    for version in ("1", "2"):
        put(database, "models", "m", version, modelUri=f"{STORE}/{version}")

    def alias(unit: Unit) -> None:
        row = resources.get(unit.conn, SCOPE, "workspaces/models", "m")
        assert row is not None
        resources.update(unit, None, row.pk, server={"mlflow": {"user": "u", "aliases": {"a": "1", "b": "2"}}})

    database.write_now(alias)
    delete(database, "models", "m", "1")
    row = database.read_now(lambda conn: resources.get(conn, SCOPE, "workspaces/models", "m"))
    assert row is not None and row.server == {"mlflow": {"user": "u", "aliases": {"b": "2"}}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{STORE}/LocalUpload/ab12/x.csv", "ab12"),
        (f"https://h/zfabc.blob.core.windows.net/{CONTAINER}/LocalUpload/ab12", "ab12"),
        (f"/zfabc.blob.core.windows.net/code-{'a' * 32}/src", "code-" + "a" * 32),
        (f"{STORE}/", "*"),
        (f"{STORE}", "*"),
        (f"{STORE}/LocalUpload/", "*"),
        (f"/zfabc.blob.core.windows.net/{CONTAINER}/", "*"),
        (f"{STORE}/mine/", None),
        ("azureml://datastores/other/paths/", None),
        (f"/x/code-{'a' * 31}/src", None),
        (f"/x/code-{'a' * 33}/src", None),
        ("LocalUpload", None),
    ],
)
def test_uploads_are_known_by_their_address(text: str, expected: str | None) -> None:
    assert references.upload(text) == expected


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (
            f"https://h:1/zfab.blob.core.windows.net/{CONTAINER}/a/b?sig=x",
            f"/zfab.blob.core.windows.net/{CONTAINER}/a/b",
        ),
        (f"https://h:1/{CONTAINER}/a/b", f"/{account_of(SCOPE)}.blob.core.windows.net/{CONTAINER}/a/b"),
        (f"/{CONTAINER}/a/b", f"/{account_of(SCOPE)}.blob.core.windows.net/{CONTAINER}/a/b"),
        ("https://real.blob.core.windows.net/c/p?sas=1", "https://real.blob.core.windows.net/c/p?sas=1"),
        ("https://github.com/a/b.git#main", "https://github.com/a/b.git#main"),
        ("azureml://datastores/d/paths/p", "azureml://datastores/d/paths/p"),
        ("/etc/passwd", "/etc/passwd"),
    ],
)
def test_our_own_addresses_are_kept_without_a_host(url: str, kept: str) -> None:
    assert inward(url) == kept
    assert inward(inward(url)) == kept
    assert inward(outward(kept, "https://elsewhere:2")) == kept or not kept.startswith("/zf")


_WORD = st.text(
    st.characters(blacklist_characters=",=", blacklist_categories=("Cs", "Zs", "Cc", "Zl", "Zp")),
    min_size=1,
    max_size=20,
)


@given(st.lists(st.tuples(_WORD, st.none() | _WORD)))
def test_what_is_written_as_pairs_is_read_as_them(found: list[tuple[str, str | None]]) -> None:
    text = ",".join(key if value is None else f"{key}={value}" for key, value in found)
    assert pairs(text, "tags") == tuple(Pair(key, value) for key, value in found)


@given(st.integers(0, 10**18 - 1), st.none() | st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1))
def test_a_cursor_comes_back_from_its_token(pk: int, value: str | None) -> None:
    assert Cursor.of(Cursor(pk=pk, value=value).token) == Cursor(pk=pk, value=value)
