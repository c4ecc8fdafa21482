"""The unmodified azure-storage-blob: copies, batches, facts of the account, and the account in the host's name."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import (
    AccountSasPermissions,
    BlobBlock,
    BlobClient,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    ContentSettings,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

from tests.support.blob_server import BlobServer, blob_server

MB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServer]:
    with blob_server(tmp_path_factory.mktemp("blobs")) as made:
        yield made


@pytest.fixture
def box(server: BlobServer, request: pytest.FixtureRequest) -> Iterator[ContainerClient]:
    """A container for each test, with the account's key."""
    name = "t-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:20]
    with BlobServiceClient(server.url, credential=server.key, retry_total=0) as service:
        yield service.create_container(name)


def url(server: BlobServer, box: ContainerClient, name: str, *, signed: bool = True) -> str:
    plain = f"{server.url}/{box.container_name}/{name}"
    if not signed:
        return plain
    token = generate_container_sas(
        server.workspace.account,
        box.container_name,
        server.key,
        permission=ContainerSasPermissions(read=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return f"{plain}?{token}"


def test_a_copy_is_remembered_until_the_blob_is_written_anew(box: ContainerClient, server: BlobServer) -> None:
    settings = ContentSettings(content_type="text/x", cache_control="no-store")
    box.upload_blob("from", b"copied", metadata={"a": "b"}, content_settings=settings)
    target = box.get_blob_client("to")
    told = target.start_copy_from_url(url(server, box, "from"))
    found = target.get_blob_properties()
    assert (found.copy.id, found.copy.status, found.copy.progress) == (told["copy_id"], "success", "6/6")
    assert found.copy.source == url(server, box, "from", signed=False), "without its signature"
    assert found.copy.completion_time is not None
    assert (found.content_settings.content_type, found.content_settings.cache_control) == ("text/x", "no-store")
    assert bytes(found.content_settings.content_md5) == hashlib.md5(b"copied").digest()
    (listed,) = box.list_blobs(name_starts_with="to", include=["copy"])
    assert (listed.copy.id, listed.copy.status) == (found.copy.id, "success")
    (listed,) = box.list_blobs(name_starts_with="to")
    assert listed.copy.id is None
    target.start_copy_from_url(url(server, box, "to"))  # a copy of a copy, onto itself
    assert target.get_blob_properties().copy.source.endswith("/to")
    with pytest.raises(HttpResponseError) as refused:
        target.abort_copy(told["copy_id"])
    assert (refused.value.status_code, refused.value.error_code) == (409, "NoPendingCopyOperation")
    target.set_http_headers(ContentSettings(content_type="text/y"))
    assert target.get_blob_properties().copy.id is None


def test_synchronous_copies(box: ContainerClient, server: BlobServer) -> None:
    box.upload_blob("from", b"copied", metadata={"a": "b"})
    target = box.get_blob_client("to")
    told: dict[str, Any] = target.start_copy_from_url(url(server, box, "from"), requires_sync=True)
    assert told["copy_status"] == "success"
    assert target.download_blob().readall() == b"copied"
    source = box.get_blob_client("from").get_blob_properties()
    target.start_copy_from_url(
        url(server, box, "from"),
        requires_sync=True,
        metadata={"c": "d"},
        source_etag=source.etag,
        source_match_condition=MatchConditions.IfNotModified,
    )
    assert target.get_blob_properties().metadata == {"c": "d"}
    for changed in (
        {"source_etag": '"0x1"', "source_match_condition": MatchConditions.IfNotModified},
        {"source_if_unmodified_since": datetime(1999, 1, 1, tzinfo=UTC)},
    ):
        with pytest.raises(HttpResponseError) as refused:
            target.start_copy_from_url(url(server, box, "from"), requires_sync=True, **changed)
        assert (refused.value.status_code, refused.value.error_code) == (412, "SourceConditionNotMet")


def test_a_blob_put_from_a_url(box: ContainerClient, server: BlobServer) -> None:
    settings = ContentSettings(content_type="text/x", content_language="de")
    box.upload_blob("from", b"copied", metadata={"a": "b"}, content_settings=settings)
    target = box.get_blob_client("to")
    target.upload_blob_from_url(url(server, box, "from"))
    found = target.get_blob_properties()
    assert (found.content_settings.content_type, found.content_settings.content_language) == ("text/x", "de")
    assert found.copy.id is None, "that is no copy but a blob with the same bytes"
    with pytest.raises(ResourceExistsError):
        target.upload_blob_from_url(url(server, box, "from"), overwrite=False)
    target.upload_blob_from_url(
        url(server, box, "from"),
        overwrite=True,
        include_source_blob_properties=False,
        metadata={"c": "d"},
        content_settings=ContentSettings(content_type="text/z"),
        source_content_md5=hashlib.md5(b"copied").digest(),
    )
    found = target.get_blob_properties()
    assert (found.content_settings.content_type, found.content_settings.content_language) == ("text/z", None)
    assert found.metadata == {"c": "d"}
    assert target.download_blob().readall() == b"copied"


def test_blocks_from_a_url(box: ContainerClient, server: BlobServer) -> None:
    data = os.urandom(20 * MB)
    box.upload_blob("from", data)
    target = box.get_blob_client("to")
    target.stage_block_from_url("1", url(server, box, "from"), source_offset=5, source_length=10)
    target.stage_block_from_url("2", url(server, box, "from"))
    target.stage_block_from_url("3", url(server, box, "from"), source_offset=MB, source_length=18 * MB)
    target.stage_block("4", b"own")
    with pytest.raises(HttpResponseError):
        target.stage_block_from_url("5", url(server, box, "from"), source_offset=len(data), source_length=1)
    target.commit_block_list([BlobBlock(id_) for id_ in "1234"])
    expected = data[5:15] + data + data[MB : 19 * MB] + b"own"
    assert target.download_blob().readall() == expected
    assert target.download_blob(offset=20 * MB, length=100).readall() == expected[20 * MB : 20 * MB + 100]
    committed, _ = target.get_block_list("all")
    assert [one.size for one in committed] == [10, 20 * MB, 18 * MB, 3]


def test_conditions_on_everything_that_changes_a_blob(box: ContainerClient) -> None:
    blob = box.get_blob_client("x")
    blob.upload_blob(b"1")
    stale = blob.get_blob_properties()
    blob.upload_blob(b"2", overwrite=True)
    old = {"etag": stale.etag, "match_condition": MatchConditions.IfNotModified}
    blob.stage_block("1", b"block")
    for change in (
        lambda: blob.upload_blob(b"3", overwrite=True, **old),
        lambda: blob.commit_block_list([BlobBlock("1")], **old),
        lambda: blob.set_blob_metadata({"a": "b"}, **old),
        lambda: blob.set_http_headers(ContentSettings(content_type="a/b"), **old),
        lambda: blob.delete_blob(**old),
        lambda: blob.download_blob(**old),
        lambda: blob.get_blob_properties(**old),
        lambda: blob.set_blob_metadata({"a": "b"}, if_unmodified_since=stale.last_modified - timedelta(days=1)),
        lambda: blob.upload_blob(b"3", overwrite=True, if_modified_since=datetime(2999, 1, 1, tzinfo=UTC)),
    ):
        with pytest.raises((ResourceModifiedError, HttpResponseError)) as refused:
            change()
        assert refused.value.status_code == 412, refused.value
    with pytest.raises(HttpResponseError) as same:
        blob.get_blob_properties(if_modified_since=datetime(2999, 1, 1, tzinfo=UTC))
    assert same.value.status_code == 304
    assert blob.download_blob().readall() == b"2"
    new = blob.get_blob_properties()
    blob.delete_blob(etag=new.etag, match_condition=MatchConditions.IfNotModified)


@pytest.mark.parametrize("credential", ["key", "account SAS", "container SAS", "named key"])
def test_many_are_deleted_in_one_request(box: ContainerClient, server: BlobServer, credential: str) -> None:
    names = ["a/1", "ünï 😀", "x%2Fy", "q?r#s", "plain"]
    for name in names:
        box.upload_blob(name, b"x", overwrite=True)
    account, soon = server.workspace.account, datetime.now(UTC) + timedelta(hours=1)
    given: Any = {
        "key": server.key,
        "named key": {"account_name": account, "account_key": server.key},
        "account SAS": generate_account_sas(
            account, server.key, ResourceTypes(object=True), AccountSasPermissions(delete=True), soon
        ),
        "container SAS": generate_container_sas(
            account, box.container_name, server.key, permission=ContainerSasPermissions(delete=True), expiry=soon
        ),
    }[credential]
    with ContainerClient(server.url, box.container_name, credential=given, retry_total=0) as client:
        answers = list(client.delete_blobs(*names[:-1], "missing", raise_on_any_failure=False))
        assert [one.status_code for one in answers] == [202, 202, 202, 202, 404]
        assert answers[-1].headers["x-ms-error-code"] == "BlobNotFound"
        client.delete_blobs("plain", delete_snapshots="include")
    assert list(box.list_blob_names()) == []


def test_what_clients_ask_about_the_account(box: ContainerClient, server: BlobServer) -> None:
    with BlobServiceClient(server.url, credential=server.key) as service:
        for told in (
            service.get_account_information(),
            box.get_account_information(),
            box.get_blob_client("x").get_account_information(),
        ):
            assert (told["sku_name"], told["account_kind"], told["is_hns_enabled"]) == (
                "Standard_LRS",
                "StorageV2",
                False,
            )
        properties = service.get_service_properties()
        assert (properties["cors"], properties["delete_retention_policy"].enabled) == ([], False)
        assert properties["static_website"].enabled is False
        assert box.get_container_access_policy() == {"public_access": None, "signed_identifiers": []}
        with pytest.raises(HttpResponseError) as refused:
            box.set_container_access_policy({}, public_access="blob")
        assert refused.value.status_code == 501


def test_a_container_is_deleted_with_all_that_is_in_it(box: ContainerClient, server: BlobServer) -> None:
    box.upload_blob("x", b"x")
    with pytest.raises(HttpResponseError) as refused:
        box.delete_container(if_unmodified_since=datetime(1999, 1, 1, tzinfo=UTC))
    assert refused.value.status_code == 412
    box.delete_container()
    assert not box.exists()
    with pytest.raises(ResourceNotFoundError):
        box.delete_container()
    box.create_container()
    assert list(box.list_blobs()) == []
    with ContainerClient(server.url, "azureml", credential=server.key, retry_total=0) as own:
        with pytest.raises(HttpResponseError) as kept:
            own.delete_container()
        assert kept.value.status_code == 409


def test_the_account_in_the_hosts_name(
    box: ContainerClient, server: BlobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Azure has it, and as engines that know nothing of paths compose it (clients.md §C)."""
    resolve = socket.getaddrinfo

    def resolving(host: Any, *args: Any, **kwargs: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    account = server.workspace.account
    address = f"http://{account}.blob.localhost:{server.port}"
    sas = generate_account_sas(
        account,
        server.key,
        ResourceTypes(container=True, object=True),
        AccountSasPermissions(read=True, write=True, list=True, delete=True),
        datetime.now(UTC) + timedelta(hours=1),
    )
    for credential in ({"account_name": account, "account_key": server.key}, sas):
        with ContainerClient(address, box.container_name, credential=credential, retry_total=0) as client:
            client.upload_blob("ä/b c", b"by host", overwrite=True)
            assert client.download_blob("ä/b c").readall() == b"by host"
            assert [one.name for one in client.list_blobs(name_starts_with="ä")] == ["ä/b c"]
            client.get_blob_client("copy").start_copy_from_url(f"{address}/{box.container_name}/%C3%A4/b%20c")
            client.delete_blobs("copy")
    assert box.download_blob("ä/b c").readall() == b"by host", "it is the same blob"
    unknown = BlobClient(f"http://zf{'0' * 20}.blob.localhost:{server.port}", "x", "y", credential=sas)
    with unknown, pytest.raises(ResourceNotFoundError):
        unknown.download_blob()
