"""Datastores by the unmodified SDK: every type and credential, secrets, the default, and jobs that read and write outside."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.s3_server import KEY_ID, SECRET, S3Server, s3_server
from tests.support.zaffre_server import ZaffreServer

GUID = "11111111-2222-3333-4444-555555555555"
KEY = base64.b64encode(b"the key of an account").decode()
ARM = "api-version=2024-10-01-preview"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def make(ml: Any, server: ZaffreServer) -> Iterator[Callable[[Any], Any]]:
    """Creates datastores, which are gone after the test."""
    made: list[str] = []

    def create(datastore: Any) -> Any:
        made.append(datastore.name)
        return ml.datastores.create_or_update(datastore)

    yield create
    for name in made:
        server.request("DELETE", f"{server.scope}/datastores/{name}?{ARM}")


def every_type() -> dict[str, Any]:
    from azure.ai.ml.entities import (
        AccountKeyConfiguration,
        AzureBlobDatastore,
        AzureDataLakeGen1Datastore,
        AzureDataLakeGen2Datastore,
        AzureFileDatastore,
        CertificateConfiguration,
        NoneCredentialConfiguration,
        OneLakeDatastore,
        SasTokenConfiguration,
        ServicePrincipalConfiguration,
    )
    from azure.ai.ml.entities._datastore.one_lake import LakeHouseArtifact

    principal = ServicePrincipalConfiguration(tenant_id=GUID, client_id=GUID, client_secret="a secret of a principal")
    certificate = CertificateConfiguration(
        tenant_id=GUID, client_id=GUID, thumbprint="AB12", certificate="a secret certificate"
    )
    return {
        "blob_key": AzureBlobDatastore(
            name="blob_key", account_name="elsewhere", container_name="c", tags={"a": "b"}, description="by key",
            credentials=AccountKeyConfiguration(account_key=KEY),
        ),
        "blob_sas": AzureBlobDatastore(
            name="blob_sas", account_name="elsewhere", container_name="c", endpoint="core.usgovcloudapi.net",
            credentials=SasTokenConfiguration(sas_token="sv=2021-08-06&sig=a+secret"),
        ),
        "blob_none": AzureBlobDatastore(
            name="blob_none", account_name="elsewhere", container_name="c", credentials=NoneCredentialConfiguration()
        ),
        "files": AzureFileDatastore(
            name="files", account_name="elsewhere", file_share_name="share",
            credentials=AccountKeyConfiguration(account_key=KEY),
        ),
        "gen1": AzureDataLakeGen1Datastore(name="gen1", store_name="lake", credentials=principal),
        "gen2": AzureDataLakeGen2Datastore(name="gen2", account_name="elsewhere", filesystem="fs", credentials=principal),
        "gen2_cert": AzureDataLakeGen2Datastore(
            name="gen2_cert", account_name="elsewhere", filesystem="fs", credentials=certificate
        ),
        "lake": OneLakeDatastore(
            name="lake", one_lake_workspace_name="ws", artifact=LakeHouseArtifact(name="house"),
            endpoint="onelake.dfs.fabric.microsoft.com", credentials=principal,
        ),
    }  # fmt: skip


def test_every_type_and_credential_is_kept_and_read_back(ml: Any, make: Any, server: ZaffreServer) -> None:
    given = every_type()
    for datastore in given.values():
        make(datastore)
    listed = {found.name: found for found in ml.datastores.list()}
    assert set(given) <= set(listed)
    for name, datastore in given.items():
        read = ml.datastores.get(name)
        assert type(read) is type(listed[name]) is type(datastore)
        assert type(read.credentials) is type(datastore.credentials)
        assert (read.description, read.tags) == (datastore.description, datastore.tags or {})
    assert ml.datastores.get("gen2").filesystem == "fs"
    assert ml.datastores.get("files").file_share_name == "share"
    assert ml.datastores.get("lake").artifact.name == "house"
    assert ml.datastores.get("blob_sas").endpoint == "core.usgovcloudapi.net"


def test_secrets_come_by_list_secrets_alone_and_lie_sealed(ml: Any, make: Any, server: ZaffreServer) -> None:
    for datastore in every_type().values():
        make(datastore)
    names = ("blob_key", "blob_sas", "files", "gen1", "gen2", "gen2_cert", "lake")
    shown = [server.request("GET", f"{server.scope}/datastores?{ARM}").body]
    shown += [server.request("GET", f"{server.scope}/datastores/{name}?{ARM}").body for name in names]
    for secret in (KEY, "a secret of a principal", "a secret certificate", "a+secret"):
        assert not any(secret.encode() in text for text in shown)
        assert secret.encode() not in database_bytes(server)
    assert ml.datastores.get("gen2", include_secrets=True).credentials.client_secret == "a secret of a principal"
    assert ml.datastores.get("gen2_cert", include_secrets=True).credentials.certificate == "a secret certificate"
    assert ml.datastores.get("blob_sas", include_secrets=True).credentials.sas_token == "sv=2021-08-06&sig=a+secret"
    assert "sig=" in ml.datastores.get("blob_key", include_secrets=True).credentials.sas_token, "a SAS, as Azure gives"
    asked = server.request("POST", f"{server.scope}/datastores/blob_key/listSecrets?{ARM}", {"expirableSecret": False})
    assert asked.json == {"secretsType": "AccountKey", "key": KEY}
    none = server.request("POST", f"{server.scope}/datastores/blob_none/listSecrets?{ARM}", {})
    assert none.status == 404


def test_what_was_read_can_be_sent_back(ml: Any, make: Any) -> None:
    make(every_type()["gen2"])
    read = ml.datastores.get("gen2")
    assert read.credentials.client_secret is None
    read.description = "changed"
    make(read)
    again = ml.datastores.get("gen2", include_secrets=True)
    assert (again.description, again.credentials.client_secret) == ("changed", "a secret of a principal")


def test_another_credential_takes_the_old_secret_away(ml: Any, make: Any, server: ZaffreServer) -> None:
    from azure.ai.ml.entities import AzureBlobDatastore, NoneCredentialConfiguration, SasTokenConfiguration
    from azure.core.exceptions import HttpResponseError

    make(every_type()["blob_key"])
    place = {"name": "blob_key", "account_name": "elsewhere", "container_name": "c"}
    with pytest.raises(HttpResponseError, match=r"credentials\.secrets\.sasToken"):
        make(AzureBlobDatastore(**place, credentials=SasTokenConfiguration(sas_token=None)))
    assert type(ml.datastores.get("blob_key").credentials).__name__ == "AccountKeyConfiguration", "nothing half-written"
    make(AzureBlobDatastore(**place, credentials=NoneCredentialConfiguration()))
    answer = server.request("POST", f"{server.scope}/datastores/blob_key/listSecrets?{ARM}", {})
    assert answer.status == 404
    assert "no secrets" in answer.json["error"]["message"]


def test_the_default_is_always_one(ml: Any, make: Any, server: ZaffreServer) -> None:
    from azure.ai.ml.entities import AzureBlobDatastore

    def flag(name: str, value: bool) -> Any:
        body = server.request("GET", f"{server.scope}/datastores/{name}?{ARM}").json
        properties = {**body["properties"], "isDefault": value}
        return server.request(
            "PUT", f"{server.scope}/datastores/{name}?{ARM}&skipValidation=true", {"properties": properties}
        )

    def defaults() -> list[str]:
        return [
            found["name"]
            for found in server.request("GET", f"{server.scope}/datastores?{ARM}&isDefault=true").json["value"]
        ]

    make(AzureBlobDatastore(name="other", account_name="elsewhere", container_name="c"))
    assert (ml.datastores.get_default().name, defaults()) == ("workspaceblobstore", ["workspaceblobstore"])
    try:
        assert flag("other", True).status == 200
        assert (ml.datastores.get_default().name, defaults()) == ("other", ["other"])
        make(AzureBlobDatastore(name="other", account_name="elsewhere", container_name="d"))
        assert defaults() == ["other"], "a change that does not speak of it leaves it"
        refused = server.request("DELETE", f"{server.scope}/datastores/other?{ARM}")
        assert refused.status == 409
        assert "default" in refused.json["error"]["message"]
    finally:
        assert flag("other", False).status == 200
    assert defaults() == ["workspaceblobstore"]
    assert flag("workspaceblobstore", False).status == 409


def test_the_workspaces_own_stay_what_they_are(ml: Any, server: ZaffreServer) -> None:
    from azure.core.exceptions import HttpResponseError, ResourceExistsError

    for name in ("workspaceblobstore", "workspaceartifactstore"):
        with pytest.raises((HttpResponseError, ResourceExistsError), match="belongs to the workspace"):
            ml.datastores.delete(name)
    own = ml.datastores.get("workspaceblobstore", include_secrets=True)
    own.description = "told by a test"
    assert ml.datastores.create_or_update(own).description == "told by a test"
    assert ml.datastores.get("workspaceblobstore").account_name == own.account_name
    own.container_name = "another"
    with pytest.raises((HttpResponseError, ResourceExistsError), match="can be changed"):
        ml.datastores.create_or_update(own)


def test_a_deleted_one_leaves_no_secret(ml: Any, server: ZaffreServer) -> None:
    from azure.core.exceptions import ResourceNotFoundError

    ml.datastores.create_or_update(every_type()["gen1"])
    ml.datastores.delete("gen1")
    with pytest.raises(ResourceNotFoundError):
        ml.datastores.get("gen1")
    with contextlib.closing(sqlite3.connect(f"file:{server.home / 'zaffre.db'}?mode=ro", uri=True)) as connection:
        assert connection.execute("SELECT count(*) FROM secrets WHERE name LIKE 'datastores/gen1/%'").fetchone() == (0,)


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({"datastoreType": "AzureBlob", "containerName": "c"}, "accountName"),
        ({"datastoreType": "AzureFile", "accountName": "a"}, "fileShareName"),
        ({"datastoreType": "AzureDataLakeGen2", "accountName": "a"}, "filesystem"),
        ({"datastoreType": "OneLake", "oneLakeWorkspaceName": "w"}, "artifact"),
        ({"datastoreType": "S3"}, "bucketName"),
        ({"datastoreType": "LocalFolder"}, "path"),
        ({"datastoreType": "LocalFolder", "path": "/etc"}, "path"),
        ({"datastoreType": "LocalFolder", "path": "relative"}, "containerName"),
        ({"datastoreType": "AzureBlob", "accountName": "a", "containerName": "c", "protocol": "ftp"}, "protocol"),
        ({"datastoreType": "AzureBlob", "accountName": "a", "containerName": "c", "endpoint": "http://u:p@h"}, "endpoint"),
        (
            {"datastoreType": "AzureBlob", "accountName": "a", "containerName": "c",
             "credentials": {"credentialsType": "AccountKey", "secrets": {"key": "not base64!"}}},
            "credentials.secrets.key",
        ),
        (
            {"datastoreType": "AzureBlob", "accountName": "a", "containerName": "c",
             "credentials": {"credentialsType": "Sas", "secrets": {"key": KEY}}},
            "credentials.secrets.key",
        ),
        (
            {"datastoreType": "AzureDataLakeGen2", "accountName": "a", "filesystem": "f",
             "credentials": {"credentialsType": "ServicePrincipal", "clientId": "me", "tenantId": GUID,
                             "secrets": {"clientSecret": "s"}}},
            "credentials.clientId",
        ),
        (
            {"datastoreType": "AzureFile", "accountName": "a", "fileShareName": "f",
             "credentials": {"credentialsType": "ServicePrincipal", "clientId": GUID, "tenantId": GUID,
                             "secrets": {"clientSecret": "s"}}},
            "credentials.credentialsType",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(server: ZaffreServer, properties: dict[str, Any], field: str) -> None:
    answer = server.request(
        "PUT", f"{server.scope}/datastores/wrong?{ARM}&skipValidation=true", {"properties": properties}
    )
    assert answer.status == 400, answer.body
    assert f"properties.{field}" in answer.json["error"]["message"]
    assert server.request("GET", f"{server.scope}/datastores/wrong?{ARM}").status == 404


def test_a_put_looks_whether_it_opens_unless_told_not_to(server: ZaffreServer, s3: S3Server, make: Any) -> None:
    from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore

    def put(bucket: str, key: str, more: str = "") -> Any:
        properties = {
            "datastoreType": "S3", "bucketName": bucket, "endpoint": s3.address, "accessKeyId": KEY_ID,
            "credentials": {"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": key}},
        }  # fmt: skip
        return server.request("PUT", f"{server.scope}/datastores/looked?{ARM}{more}", {"properties": properties})

    s3.bucket("looked-at")
    missing = put("no-such-bucket", SECRET)
    assert missing.status == 400
    assert "skipValidation" in missing.json["error"]["message"]
    assert server.request("GET", f"{server.scope}/datastores/looked?{ARM}").status == 404
    assert put("no-such-bucket", SECRET, "&skipValidation=true").status == 201
    assert put("looked-at", SECRET).status == 200
    make(  # the SDK always asks not to look
        AzureBlobDatastore(
            name="looked", account_name=KEY_ID, container_name="no-such-bucket", endpoint=s3.address, protocol="s3",
            credentials=AccountKeyConfiguration(account_key=SECRET),
        )
    )  # fmt: skip


def database_bytes(server: ZaffreServer) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(server.home.glob("zaffre.db*")))
