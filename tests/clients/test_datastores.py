"""Datastores by the unmodified SDK: every type and credential, secrets, the default, and jobs that read and write outside."""

from __future__ import annotations

import base64
import contextlib
import datetime
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from tests.support.s3_server import KEY_ID, SECRET, S3Server, s3_server
from tests.support.zaffre_server import ZaffreServer, eventually
from zaffre.settings import TENANT

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
    with contextlib.closing(sqlite3.connect(f"file:{server.database_file}?mode=ro", uri=True)) as connection:
        assert connection.execute("SELECT count(*) FROM secrets WHERE name LIKE 'datastores/gen1/%'").fetchone() == (0,)


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({"datastoreType": "AzureBlob", "containerName": "c"}, "accountName"),
        ({"datastoreType": "AzureBlob", "accountName": "localhost:1/zd99", "containerName": "c"}, "accountName"),
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


def test_a_bucket_and_a_folder_by_the_sdk(ml: Any, make: Any, server: ZaffreServer, s3: S3Server) -> None:
    from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore

    make(
        AzureBlobDatastore(
            name="sdk_s3", account_name=KEY_ID, container_name="b-1/below/this", protocol="s3",
            endpoint=s3.address + "?region=eu-west-1", credentials=AccountKeyConfiguration(account_key=SECRET),
        )
    )  # fmt: skip
    make(
        AzureBlobDatastore(
            name="sdk_folder", account_name="local", container_name=str(server.data_folder), protocol="file"
        )
    )
    assert {"sdk_s3", "sdk_folder"} <= {found.name for found in ml.datastores.list()}
    read = ml.datastores.get("sdk_s3")
    assert (read.protocol, read.endpoint) == ("s3", f"{s3.address}?region=eu-west-1")
    secret = server.request("POST", f"{server.scope}/datastores/sdk_s3/listSecrets?{ARM}", {}).json
    assert secret == {"secretsType": "AccountKey", "key": SECRET}
    # A signature for one datastore opens neither another one nor the workspace's own account.
    expirable = {"expirableSecret": True, "expireAfterHours": 1}
    sas = server.request("POST", f"{server.scope}/datastores/sdk_s3/listSecrets?{ARM}", expirable).json["sasToken"]
    for name in ("sdk_folder", "workspaceblobstore"):
        other = ml.datastores.get(name)
        place = f"/{other.account_name.rpartition('/')[2]}.blob.core.windows.net/{other.container_name}"
        answer = server.request("GET", f"{place}?restype=container&comp=list&{sas}", token=None)
        assert (answer.status, b"AuthenticationFailed" in answer.body) == (403, True)
    told = server.request("GET", f"{server.scope}/datastores/sdk_s3?{ARM}").json["properties"]["properties"]
    assert told == {
        "zaffre.zaffreType": "S3", "zaffre.bucketName": "b-1", "zaffre.region": "eu-west-1",
        "zaffre.accessKeyId": KEY_ID, "zaffre.path": "below/this",
    }  # fmt: skip
    for name in ("sdk_s3", "sdk_folder"):
        before = server.request("GET", f"{server.scope}/datastores/{name}?{ARM}").json["properties"]
        make(ml.datastores.get(name))  # what was read can be sent back
        after = server.request("GET", f"{server.scope}/datastores/{name}?{ARM}").json["properties"]
        assert after == before


@pytest.mark.parametrize("kind", ["s3", "file"])
def test_the_sdk_uploads_to_a_bucket_and_to_a_folder(
    ml: Any, make: Any, server: ZaffreServer, s3: S3Server, tmp_path: Path, kind: str
) -> None:
    """It takes them for Azure Blob, and this server speaks that for them."""
    from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore, Data
    from azure.core.exceptions import ResourceExistsError
    from azure.identity import DefaultAzureCredential
    from azure.storage.blob import BlobBlock, ContainerClient

    name = f"up_{kind}"
    if kind == "s3":
        bucket = s3.bucket("upload")
        credentials = AccountKeyConfiguration(account_key=SECRET)
        place = {"account_name": KEY_ID, "container_name": "upload/pre", "endpoint": s3.address}
    else:
        (server.data_folder / "upload").mkdir()
        credentials, place = None, {"account_name": "local", "container_name": str(server.data_folder / "upload")}
    store = make(AzureBlobDatastore(name=name, protocol=kind, credentials=credentials, **place))
    (tmp_path / "set" / "deep").mkdir(parents=True)
    (tmp_path / "set" / "a.txt").write_text("one")
    (tmp_path / "set" / "deep" / "ü b.txt").write_text("two")
    data = ml.data.create_or_update(Data(name=name, path=str(tmp_path / "set"), type="uri_folder", datastore=name))
    below = data.path.partition("/paths/")[2]

    def bytes_of(path: str) -> bytes:
        if kind == "s3":
            return bytes(obstore.get(bucket, f"pre/{path}").bytes())
        return (server.data_folder / "upload" / path).read_bytes()

    assert (bytes_of(below + "a.txt"), bytes_of(below + "deep/ü b.txt")) == (b"one", b"two")
    again = ml.data.create_or_update(Data(name=name, path=str(tmp_path / "set"), type="uri_folder", datastore=name))
    assert again.path == data.path, "the confirmation that the SDK writes beside its upload is kept"

    address = f"https://{store.account_name}.blob.core.windows.net"
    with ContainerClient(address, store.container_name, credential=DefaultAzureCredential()) as container:
        assert [blob.name for blob in container.list_blobs(name_starts_with=below)] == [
            below + "a.txt",
            below + "deep/ü b.txt",
        ]
        assert [found.name for found in container.walk_blobs("LocalUpload/")] == [
            below.rstrip("/").rpartition("/")[0] + "/"
        ]
        blob = container.get_blob_client("blocks/whole.bin")
        parts = [bytes([number]) * 1_500_000 for number in range(3)]
        for number, part in enumerate(parts):
            blob.stage_block(f"b{number}", part)
        blob.commit_block_list([BlobBlock(f"b{number}") for number in range(3)], metadata={"of": "three"})
        assert bytes_of("blocks/whole.bin") == b"".join(parts)
        assert blob.download_blob(offset=1_499_999, length=2).readall() == b"\0\1"
        assert blob.get_blob_properties().metadata == {"of": "three"}
        with pytest.raises(ResourceExistsError):
            blob.upload_blob(b"x", overwrite=False)
        blob.upload_blob(b"smaller", overwrite=True)
        assert (blob.download_blob().readall(), blob.get_blob_properties().metadata) == (b"smaller", {})
        blob.delete_blob()
        assert not blob.exists()
    climbing = f"/{store.account_name.rpartition('/')[2]}.blob.core.windows.net/{store.container_name}/a%2F..%2F..%2Fb"
    token = server.token("https://storage.azure.com")
    refused = server.request("PUT", climbing, b"x", headers={"x-ms-blob-type": "BlockBlob"}, token=token)
    assert refused.status == 400, refused.body


def test_a_job_reads_and_writes_a_folder_and_foreign_storage(
    ml: Any, make: Any, server: ZaffreServer, bare: Any, foreign: tuple[str, str, str], tmp_path: Path
) -> None:
    """Azure Storage elsewhere is here another workspace's account, over TLS, by key, by SAS and by a principal."""
    from azure.ai.ml import Input, Output, command
    from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore, SasTokenConfiguration
    from azure.storage.blob import AccountSasPermissions, ContainerClient, ResourceTypes, generate_account_sas

    account, key, address = foreign
    sas = generate_account_sas(
        account, key, ResourceTypes(container=True, object=True), AccountSasPermissions(read=True, write=True, list=True, create=True),
        datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1),
    )  # fmt: skip
    with ContainerClient(address, "outside", credential=key) as container:
        container.create_container()
        container.upload_blob("in/deep/b.txt", b"from the cloud")
        (server.data_folder / "set" / "deep").mkdir(parents=True)
        (server.data_folder / "set" / "deep" / "a.txt").write_text("from the disk, ")
        place = {"account_name": account, "container_name": "outside", "endpoint": address}
        make(AzureBlobDatastore(name="by_key", **place, credentials=AccountKeyConfiguration(account_key=key)))
        make(AzureBlobDatastore(name="by_sas", **place, credentials=SasTokenConfiguration(sas_token=sas)))
        make(
            AzureBlobDatastore(
                name="disk", account_name="local", container_name=str(server.data_folder / "set"), protocol="file"
            )
        )
        paths = "azureml://datastores/{}/paths/{}"
        job = command(
            command="cat ${{inputs.disk}}/a.txt ${{inputs.cloud}}/deep/b.txt | "
            "tee ${{outputs.disk}}/both.txt > ${{outputs.cloud}}/both.txt",
            environment=bare,
            inputs={
                "disk": Input(type="uri_folder", path=paths.format("disk", "deep/")),
                "cloud": Input(type="uri_folder", path=f"wasbs://outside@{account}.blob.core.windows.net/in"),
            },
            outputs={
                "disk": Output(type="uri_folder", path=paths.format("disk", "out/")),
                "cloud": Output(type="uri_folder", path=paths.format("by_sas", "out/")),
            },
        )
        name = ml.jobs.create_or_update(job).name
        assert server.wait_for_job(name) == "Completed", server.job_log(name)
        both = b"from the disk, from the cloud"
        assert container.download_blob("out/both.txt").readall() == both
        assert (server.data_folder / "set" / "out" / "both.txt").read_bytes() == both
    ml.jobs.download(name, output_name="disk", download_path=tmp_path)
    assert (tmp_path / "named-outputs" / "disk" / "both.txt").read_bytes() == both
    assert key not in server.log()
    assert sas.partition("sig=")[2] not in server.log()


def test_storage_elsewhere_opens_to_a_service_principal(
    make: Any, server: ZaffreServer, foreign: tuple[str, str, str]
) -> None:
    """The sign-in, too, is elsewhere: here it is this server's own."""
    from azure.storage.blob import ContainerClient

    account, key, address = foreign
    made = server.request("POST", "/zaffre/v1/principals", {"name": "reads-storage", "role": "Owner"}).json
    with ContainerClient(address, "for-principals", credential=key) as container:
        container.create_container()

    def put(name: str, secret: str) -> Any:
        credentials = {
            "credentialsType": "ServicePrincipal", "clientId": made["id"], "tenantId": TENANT,
            "authorityUrl": server.address, "secrets": {"clientSecret": secret},
        }  # fmt: skip
        place = {"accountName": account, "containerName": "for-principals", "endpoint": address}
        properties = {"datastoreType": "AzureBlob", **place, "credentials": credentials}
        return server.request("PUT", f"{server.scope}/datastores/{name}?{ARM}", {"properties": properties})

    try:
        answer = put("by_principal", made["secret"])
        assert answer.status == 201, answer.body
        refused = put("by_nobody", "a wrong secret")
        assert (refused.status, refused.json["error"]["code"]) == (400, "DatastoreValidationFailed")
        assert "a wrong secret" not in refused.body.decode()
    finally:
        server.request("DELETE", f"{server.scope}/datastores/by_principal?{ARM}")


@pytest.mark.parametrize(
    ("name", "sentence"), [("files", "file shares"), ("gen1", "shut"), ("gen2_cert", "certificate")]
)
def test_what_cannot_be_opened_is_said_at_the_door(ml: Any, make: Any, bare: Any, name: str, sentence: str) -> None:
    from azure.ai.ml import Input, command

    make(every_type()[name])
    path = Input(type="uri_folder", path=f"azureml://datastores/{name}/paths/x/")
    with pytest.raises(Exception, match=f"properties.inputs.x.uri.*{sentence}"):
        ml.jobs.create_or_update(command(command="true", environment=bare, inputs={"x": path}))


@pytest.fixture(scope="module")
def foreign(ml: Any, server: ZaffreServer) -> Iterator[tuple[str, str, str]]:
    """Another workspace's storage account: its name, key and address."""
    path = f"{server.scope.rpartition('/')[0]}/elsewhere-storage"
    made = server.request("PUT", f"{path}?{ARM}", {"location": "local", "properties": {}})
    assert made.status in (200, 201, 202), made.body
    keys = eventually(lambda: server.request("POST", f"{path}/listKeys?{ARM}"), lambda answer: answer.status == 200)
    account = "zf" + server.request("GET", f"{path}?{ARM}").json["properties"]["workspaceId"].replace("-", "")[:20]
    yield account, keys.json["userStorageKey"], f"{server.address}/{account}.blob.core.windows.net"
    server.request("DELETE", f"{path}?{ARM}&forceToPurge=true")
    eventually(lambda: server.request("GET", f"{path}?{ARM}").status, lambda status: status == 404, what="its end")


def database_bytes(server: ZaffreServer) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(server.home.glob(f"{server.database_file.name}*")))
