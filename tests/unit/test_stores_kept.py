"""What datastores and connections ask of the store, on both databases; and how a datastore's body is understood."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.databases import database, postgres_url  # noqa: F401  (fixtures)
from zaffre.errors import InvalidInput, NotServed
from zaffre.protocols.history.data import datastore_answer
from zaffre.services import kinds
from zaffre.services.connections import CONNECTION, Connections
from zaffre.services.datastore_sources import below_address, root_of, source_of
from zaffre.services.datastores import Opened
from zaffre.services.resources import ListQuery, Resources
from zaffre.services.workspaces import Workspace
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.seal import Vault
from zaffre.store.unit import PLATFORM

KINDS = kinds.load()
WORKSPACE = Workspace(id="w", subscription="s", resource_group="g", name="n", location="l")


def test_connections_that_stand_for_data_are_listed_when_asked(database: Database, tmp_path: Path) -> None:  # noqa: F811
    connections = Connections(Resources(database, Vault(tmp_path / "key"), KINDS))

    async def work() -> list[list[str]]:
        for category in ("AzureBlob", "Git", "ADLSGen2", "S3"):
            body = {"properties": {"category": category, "authType": "None", "target": f"https://{category}"}}
            await connections.put(PLATFORM, WORKSPACE, KINDS[CONNECTION], "", category, body)
        found = []
        for query in (
            ListQuery(descending=False),
            ListQuery(descending=False, include_all=True),
            ListQuery(fields=(("category", "azure_blob"),)),
            ListQuery(fields=(("category", "azure_data_lake_gen2"),)),
            ListQuery(fields=(("target", "HTTPS://git"),)),
        ):
            rows, _ = await connections.page(WORKSPACE, KINDS[CONNECTION], "", query)
            found.append([row.name for row in rows])
        return found

    assert asyncio.run(work()) == [
        ["Git", "S3"],
        ["AzureBlob", "Git", "ADLSGen2", "S3"],
        ["AzureBlob"],
        ["ADLSGen2"],
        ["Git"],
    ]


def test_a_deleted_connection_takes_its_secret_and_no_other(database: Database, tmp_path: Path) -> None:  # noqa: F811
    connections = Connections(Resources(database, Vault(tmp_path / "key"), KINDS))

    async def work() -> None:
        for name in ("a_b", "a-b", "axb"):
            body = {"properties": {"category": "Git", "authType": "PAT", "target": "t", "credentials": {"pat": "p"}}}
            await connections.put(PLATFORM, WORKSPACE, KINDS[CONNECTION], "", name, body)
        await connections.delete(PLATFORM, WORKSPACE, KINDS[CONNECTION], "", "a_b")

    asyncio.run(work())
    with database.engine.connect() as conn:
        left = sorted(conn.execute(sa.select(tables.secrets.c.name)).scalars())
    assert left == ["connections/a-b/credentials", "connections/axb/credentials"]


def accepted(**properties: Any) -> dict[str, Any]:
    found: dict[str, Any] = KINDS["workspaces/datastores"].accept({"properties": properties})["properties"]
    return found


BLOB = {"datastoreType": "AzureBlob", "accountName": "acct", "containerName": "c"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"endpoint": "https://acct.blob.core.windows.net", "account": "acct", "container": "c"}),
        ({"endpoint": "example.org:1", "protocol": "http"}, {"endpoint": "http://acct.blob.example.org:1"}),
        ({"endpoint": "http://127.0.0.1:10000/acct/"}, {"endpoint": "http://127.0.0.1:10000/acct"}),
        (
            {"protocol": "S3", "containerName": "bucket/a/b"},
            {"bucket": "bucket", "prefix": "a/b", "region": "us-east-1"},
        ),
        (
            {"protocol": "s3", "containerName": "bucket", "endpoint": "s3.eu-west-3.amazonaws.com"},
            {"region": "eu-west-3", "endpoint": "https://s3.eu-west-3.amazonaws.com"},
        ),
        (
            {"protocol": "s3", "containerName": "bucket", "endpoint": "minio:9000?region=here"},
            {"region": "here", "endpoint": "https://minio:9000"},
        ),
        (
            {"protocol": "s3", "containerName": "bucket", "properties": {"zaffre.region": "there"}},
            {"region": "there", "endpoint": "https://s3.there.amazonaws.com"},
        ),
    ],
)
def test_where_a_datastore_lies(given: dict[str, Any], expected: dict[str, str]) -> None:
    source = source_of("d", accepted(**{**BLOB, **given}), None, ())
    assert source | expected == source
    assert "secret_access_key" not in source and "key" not in source


def test_secrets_go_to_the_source_alone() -> None:
    key = {"credentialsType": "AccountKey"}
    blob = source_of("d", accepted(**BLOB, credentials=key), '{"key":"a2V5"}', ())
    assert (blob["type"], blob["key"]) == ("azure", "a2V5")
    s3 = accepted(datastoreType="S3", bucketName="bucket", path="pre", accessKeyId="id", credentials=key)
    bucket = source_of("d", s3, '{"key":"x"}', ())
    assert (bucket["access_key_id"], bucket["secret_access_key"], bucket["prefix"]) == ("id", "x", "pre")
    lake = accepted(
        datastoreType="OneLake", oneLakeWorkspaceName="w", artifact={"artifactType": "lakehouse", "artifactName": "a"}
    )
    assert source_of("d", lake, None, ()) == {
        "type": "azure", "account": "onelake", "container": "w", "prefix": "a/Files",
        "endpoint": "https://onelake.blob.fabric.microsoft.com",
    }  # fmt: skip


@pytest.mark.parametrize("injected", [{"zaffreType": "S3"}, {"zaffreType": "LocalFolder", "path": "/etc"}])
def test_what_is_ours_to_say_is_not_taken_from_a_client(injected: dict[str, str]) -> None:
    assert "zaffreType" not in accepted(**BLOB, **injected)


@pytest.mark.parametrize("kind", ["AzureFile", "AzureDataLakeGen1"])
def test_records_are_not_opened(kind: str) -> None:
    names = {"accountName": "a", "fileShareName": "f"} if kind == "AzureFile" else {"storeName": "s"}
    with pytest.raises(NotServed, match="'d' is kept as a record only"):
        source_of("d", accepted(datastoreType=kind, **names), None, ())


def test_a_folder_must_lie_in_one_of_the_operators(tmp_path: Path) -> None:
    (tmp_path / "open" / "in").mkdir(parents=True)
    (tmp_path / "open" / "out").symlink_to(tmp_path)
    roots = (tmp_path / "open",)
    assert root_of(roots, str(tmp_path / "open" / "in")) == roots[0]
    for path in (tmp_path, tmp_path / "open" / "out", tmp_path / "opened"):
        with pytest.raises(InvalidInput, match="ZAFFRE_DATA_FOLDERS"):
            root_of(roots, str(path))
    with pytest.raises(InvalidInput, match="none of the folders"):
        root_of((), str(tmp_path / "open"))


@pytest.mark.parametrize(
    ("properties", "address", "below"),
    [
        (BLOB, ("acct", "c", "a/b"), "a/b"),
        (BLOB, ("other", "c", "a/b"), None),
        (BLOB, ("acct", "d", "a/b"), None),
        ({"datastoreType": "AzureDataLakeGen2", "accountName": "acct", "filesystem": "fs"}, ("acct", "fs", "a"), "a"),
        ({"datastoreType": "S3", "bucketName": "bucket"}, (None, "bucket", "a/b"), "a/b"),
        ({"datastoreType": "S3", "bucketName": "bucket", "path": "pre"}, (None, "bucket", "pre/b"), "b"),
        ({"datastoreType": "S3", "bucketName": "bucket", "path": "pre"}, (None, "bucket", "prefix/b"), None),
        ({"datastoreType": "S3", "bucketName": "bucket"}, ("anonymous", "bucket", "a"), None),
        (BLOB, (None, "c", "a"), None),
    ],
)
def test_an_address_is_found_in_a_datastore(
    properties: dict[str, Any], address: tuple[str | None, str, str], below: str | None
) -> None:
    assert below_address(accepted(**properties), *address) == below


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({}, ("https", "acct", "core.windows.net")),
        ({"endpoint": "core.chinacloudapi.cn", "protocol": "http"}, ("http", "acct", "core.chinacloudapi.cn")),
        ({"endpoint": "https://h:1/zf1.blob.core.windows.net"}, ("https", "h:1/zf1", "core.windows.net")),
        ({"endpoint": "http://127.0.0.1:10000/acct"}, None),
    ],
)
def test_what_the_engine_of_fsspec_is_told(properties: dict[str, str], told: tuple[str, str, str] | None) -> None:
    opened = Opened("d", accepted(**BLOB, **properties), {"sasToken": "sig=x"})
    if told is None:
        with pytest.raises(NotServed, match="azureml-fsspec"):
            datastore_answer(opened, "https://here")
        return
    section = datastore_answer(opened, "https://here")["azureStorageSection"]
    assert (section["protocol"], section["accountName"], section["endpoint"]) == told
    assert (section["containerName"], section["credentialType"], section["credential"]) == ("c", "Sas", "sig=x")


def test_credentials_in_the_words_of_the_engine() -> None:
    lake = {"datastoreType": "AzureDataLakeGen2", "accountName": "a", "filesystem": "fs"}
    guid = "11111111-2222-3333-4444-555555555555"
    principal = {"credentialsType": "ServicePrincipal", "clientId": guid, "tenantId": guid}
    opened = Opened("d", accepted(**lake, credentials=principal), {"clientSecret": "s"})
    section = datastore_answer(opened, "https://here")["azureStorageSection"]
    assert (section["credentialType"], section["clientCredentials"]["clientSecret"]) == ("ClientCredentials", "s")
    public = datastore_answer(Opened("d", accepted(**lake), {}), "https://here")["azureStorageSection"]
    assert public["credentialType"] == "None"
    with pytest.raises(NotServed, match="shut"):
        datastore_answer(Opened("d", accepted(datastoreType="AzureDataLakeGen1", storeName="s"), {}), "https://here")
