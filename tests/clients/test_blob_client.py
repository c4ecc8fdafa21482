"""The unmodified azure-storage-blob against our Blob protocol, over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import (
    AccountSasPermissions,
    BlobBlock,
    BlobClient,
    BlobPrefix,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    ContentSettings,
    ResourceTypes,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

from tests.support.blob_server import BlobServer, blob_server
from zaffre.services import sas

MB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServer]:
    with blob_server(tmp_path_factory.mktemp("blobs")) as made:
        yield made


@pytest.fixture
def service(server: BlobServer) -> Iterator[BlobServiceClient]:
    """The client as azure-ai-ml makes it: the account's address and the SAS that our server signed."""
    signed = sas.account_sas(server.workspace.account, server.key, expiry=server.clock.now() + 3_600_000)
    with BlobServiceClient(server.url, credential=signed, retry_total=0) as made:
        yield made


@pytest.fixture
def box(service: BlobServiceClient, request: pytest.FixtureRequest) -> ContainerClient:
    """A container for each test."""
    name = "t-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:20]
    return service.create_container(name)


def test_upload_properties_download_delete(box: ContainerClient) -> None:
    blob = box.get_blob_client("folder/hello.txt")
    assert not blob.exists()
    settings = ContentSettings(content_type="text/plain", cache_control="no-cache", content_language="de")
    answer = blob.upload_blob(b"hello", metadata={"upload_status": "completed"}, content_settings=settings)
    properties = blob.get_blob_properties()
    assert properties.etag == answer["etag"]
    assert properties.last_modified == answer["last_modified"]
    assert abs(properties.last_modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert properties.size == 5
    assert properties.blob_type == "BlockBlob"
    assert properties.metadata == {"upload_status": "completed"}
    found = properties.content_settings
    assert (found.content_type, found.cache_control, found.content_language) == ("text/plain", "no-cache", "de")
    assert bytes(found.content_md5) == hashlib.md5(b"hello").digest()
    assert blob.download_blob().readall() == b"hello"
    assert blob.download_blob(validate_content=True).readall() == b"hello"
    blob.delete_blob(delete_snapshots="include")
    with pytest.raises(ResourceNotFoundError) as refused:
        blob.get_blob_properties()
    assert refused.value.error_code == "BlobNotFound"
    with pytest.raises(ResourceNotFoundError):
        blob.delete_blob()


def test_if_none_match_is_how_the_sdk_uploads(box: ContainerClient) -> None:
    blob = box.get_blob_client("once")
    blob.upload_blob(b"1", overwrite=False)
    with pytest.raises(ResourceExistsError) as refused:
        blob.upload_blob(b"2", overwrite=False)
    assert refused.value.status_code == 409
    assert refused.value.error_code == "BlobAlreadyExists"
    etag = blob.get_blob_properties().etag
    blob.upload_blob(b"2", overwrite=True, etag=etag, match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceModifiedError):
        blob.upload_blob(b"3", overwrite=True, etag=etag, match_condition=MatchConditions.IfNotModified)
    etag = blob.get_blob_properties().etag
    with pytest.raises(HttpResponseError) as same:
        blob.download_blob(etag=etag, match_condition=MatchConditions.IfModified)
    assert (same.value.status_code, same.value.error_code) == (304, "ConditionNotMet")


def test_metadata_and_headers_are_replaced(box: ContainerClient) -> None:
    blob = box.get_blob_client("meta")
    blob.upload_blob(b"x", metadata={"a": "1", "b": "2"})
    etag = blob.get_blob_properties().etag
    answer = blob.set_blob_metadata({"name": "n", "version": "3"})
    assert answer["etag"] != etag
    assert blob.get_blob_properties().metadata == {"name": "n", "version": "3"}
    blob.set_http_headers(ContentSettings(content_type="application/json"))
    properties = blob.get_blob_properties()
    assert properties.content_settings.content_type == "application/json"
    assert properties.metadata == {"name": "n", "version": "3"}


def test_lists_pages_walks_and_metadata(box: ContainerClient) -> None:
    names = sorted(["a/1", "a/2", "a/b/3", "top", "ünï/😀 &<>.txt", "c//d", "x%2Fy", "q?r#s", "plus+and space"])
    for name in names:
        box.upload_blob(name, name.encode(), metadata={"of": str(len(name))})
    found = list(box.list_blobs(include=["metadata"]))
    assert [one.name for one in found] == names
    assert [one.metadata["of"] for one in found] == [str(len(name)) for name in names]
    assert [one.size for one in found] == [len(name.encode()) for name in names]
    assert found[0].blob_type == "BlockBlob"
    assert found[0].etag == box.get_blob_client(names[0]).get_blob_properties().etag.strip('"')
    pages = list(box.list_blobs(results_per_page=2).by_page())
    assert [one.name for page in pages for one in page] == names
    assert [one.name for one in box.list_blobs(name_starts_with="a/")] == ["a/1", "a/2", "a/b/3"]
    assert list(box.list_blob_names(name_starts_with="ü")) == ["ünï/😀 &<>.txt"]

    def walked(prefix: str | None = None) -> list[str]:
        entries = box.walk_blobs(name_starts_with=prefix, delimiter="/", results_per_page=2)
        return sorted(entry.name + ("*" if isinstance(entry, BlobPrefix) else "") for entry in entries)

    assert walked() == sorted(["a/*", "c/*", "plus+and space", "q?r#s", "top", "x%2Fy", "ünï/*"])
    assert walked("a/") == ["a/1", "a/2", "a/b/*"]
    for name in names:
        assert box.download_blob(name).readall() == name.encode()


def test_ranges(box: ContainerClient) -> None:
    data = os.urandom(5 * MB)
    blob = box.get_blob_client("ranged")
    blob.upload_blob(data)
    assert blob.download_blob(offset=10, length=20).readall() == data[10:30]
    assert blob.download_blob(offset=4 * MB).readall() == data[4 * MB :]
    assert blob.download_blob(offset=MB, length=2 * MB, validate_content=True).readall() == data[MB : 3 * MB]
    box.upload_blob("empty", b"")
    assert box.download_blob("empty").readall() == b""
    with pytest.raises(HttpResponseError) as refused:
        blob.download_blob(offset=6 * MB, length=1)
    assert refused.value.status_code == 416
    assert refused.value.error_code == "InvalidRange"


def test_a_blob_of_70_mb_goes_up_in_blocks_and_comes_back_in_chunks(box: ContainerClient, tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(os.urandom(70 * MB))
    blob = box.get_blob_client("big.bin")
    with source.open("rb") as file:
        blob.upload_blob(file, max_concurrency=8, overwrite=False, metadata={"k": "v"})
    properties = blob.get_blob_properties()
    assert (properties.size, properties.metadata) == (70 * MB, {"k": "v"})
    committed, staged = blob.get_block_list("all")
    assert (sum(one.size for one in committed), len(committed) > 1, staged) == (70 * MB, True, [])
    digest = hashlib.sha256()
    for chunk in blob.download_blob(max_concurrency=4).chunks():
        digest.update(chunk)
    assert digest.hexdigest() == hashlib.sha256(source.read_bytes()).hexdigest()
    with source.open("rb") as file, pytest.raises(ResourceExistsError):
        blob.upload_blob(file, overwrite=False)


def test_blocks_by_hand(box: ContainerClient) -> None:
    blob = box.get_blob_client("blocks")
    for id_, data in (("1", b"one,"), ("2", b"two,")):
        blob.stage_block(id_, data, validate_content=True)
    committed, staged = blob.get_block_list("all")
    assert (committed, [(one.id, one.size) for one in staged]) == ([], [("1", 4), ("2", 4)])
    blob.commit_block_list([BlobBlock("2"), BlobBlock("1")], content_settings=ContentSettings(content_type="text/x"))
    assert blob.download_blob().readall() == b"two,one,"
    blob.stage_block("3", b"three")
    blob.commit_block_list([BlobBlock("1"), BlobBlock("3")])
    assert blob.download_blob().readall() == b"one,three"
    with pytest.raises(HttpResponseError) as refused:
        blob.commit_block_list([BlobBlock("no")])
    assert (refused.value.status_code, refused.value.error_code) == (400, "InvalidBlockList")


def test_a_wrong_md5_is_refused_and_leaves_nothing(box: ContainerClient) -> None:
    blob = box.get_blob_client("md5")

    def spoil(request: Any) -> None:
        request.http_request.headers["Content-MD5"] = "AAAAAAAAAAAAAAAAAAAAAA=="

    with pytest.raises(HttpResponseError) as refused:
        blob.upload_blob(b"data", raw_request_hook=spoil)
    assert (refused.value.status_code, refused.value.error_code) == (400, "Md5Mismatch")
    assert not blob.exists()
    blob.upload_blob(b"data", validate_content=True)


def test_names_that_look_like_paths_stay_in_the_container(box: ContainerClient, server: BlobServer) -> None:
    for name in ("..", "../../etc/passwd", "/abs", "a/../b", "%2e%2e/x", "..\\..\\x", "~x"):
        asyncio.run(server.blobs.put_bytes(server.workspace.account, box.container_name, name, name.encode()))
    box.upload_blob("%2F..%2Fx", b"percent")
    assert box.download_blob("%2F..%2Fx").readall() == b"percent"
    assert box.download_blob("%2e%2e/x").readall() == b"%2e%2e/x"
    assert box.download_blob("..\\..\\x").readall() == b"..\\..\\x"
    assert "../../etc/passwd" in [one.name for one in box.list_blobs()]


def test_containers(service: BlobServiceClient) -> None:
    made = service.create_container("made-here")
    assert made.exists()
    assert made.get_container_properties().name == "made-here"
    with pytest.raises(ResourceExistsError) as refused:
        service.create_container("made-here")
    assert refused.value.error_code == "ContainerAlreadyExists"
    names = [one.name for one in service.list_containers()]
    assert {"made-here", "azureml"} <= set(names)
    assert [one.name for one in service.list_containers(name_starts_with="made", results_per_page=1)] == ["made-here"]
    missing = service.get_container_client("no-such")
    assert not missing.exists()
    with pytest.raises(ResourceNotFoundError) as unknown:
        missing.upload_blob("x", b"x")
    assert unknown.value.error_code == "ContainerNotFound"


def test_copy_is_done_at_once(box: ContainerClient, server: BlobServer) -> None:
    source, target = box.get_blob_client("from"), box.get_blob_client("to")
    source.upload_blob(b"copied", metadata={"a": "b"})
    signed = generate_container_sas(
        server.workspace.account,
        box.container_name,
        server.key,
        permission=ContainerSasPermissions(read=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    plain = f"{server.url}/{box.container_name}/from"
    assert target.start_copy_from_url(f"{plain}?{signed}")["copy_status"] == "success"
    assert target.download_blob().readall() == b"copied"
    assert target.get_blob_properties().metadata == {"a": "b"}
    target.start_copy_from_url(plain, metadata={"c": "d"})
    assert target.get_blob_properties().metadata == {"c": "d"}


def test_what_azure_has_and_we_do_not(box: ContainerClient) -> None:
    blob = box.get_blob_client("x")
    blob.upload_blob(b"x")
    for refused in (
        lambda: box.get_blob_client("append").create_append_blob(),
        lambda: box.get_blob_client("page").create_page_blob(512),
        lambda: blob.acquire_lease(),
        lambda: blob.create_snapshot(),
        lambda: blob.set_blob_tags({"a": "b"}),
        lambda: blob.set_standard_blob_tier("Cool"),
    ):
        with pytest.raises(HttpResponseError) as error:
            refused()
        assert error.value.status_code == 501
    assert blob.exists()


# ---- credentials


def client(server: BlobServer, credential: Any, container: str = "azureml", name: str = "auth") -> BlobClient:
    return BlobClient(server.url, container, name, credential=credential, retry_total=0)


def test_the_accounts_key_signs_requests(server: BlobServer) -> None:
    for credential in (
        server.key,
        AzureNamedKeyCredential(server.workspace.account, server.key),
        {"account_name": f"localhost:{server.port}/{server.workspace.account}", "account_key": server.key},
    ):
        with client(server, credential, name="by key ü+%~/&=") as blob:
            blob.upload_blob(b"signed", overwrite=True, metadata={"a_b": "1", "a1": "2", "ab": "3"})
            assert blob.download_blob().readall() == b"signed"
            blob.stage_block("1", b"block")
            blob.commit_block_list([BlobBlock("1")])
        with ContainerClient(server.url, "azureml", credential=credential) as box:
            names = box.list_blobs(name_starts_with="by key ü+%", include=["metadata"])
            assert [one.name for one in names] == ["by key ü+%~/&="]
            box.delete_blob("by key ü+%~/&=")
    with client(server, server.key_of(server.other)) as blob, pytest.raises(ClientAuthenticationError) as refused:
        blob.upload_blob(b"x")
    assert refused.value.error_code == "AuthenticationFailed"


def test_signatures_of_azures_library(server: BlobServer) -> None:
    account, key, soon = server.workspace.account, server.key, datetime.now(UTC) + timedelta(hours=1)
    with client(server, key) as blob:
        blob.upload_blob(b"auth", overwrite=True)
    of_account = generate_account_sas(
        account, key, ResourceTypes(object=True), AccountSasPermissions(read=True, write=True), soon, start=None
    )
    of_container = generate_container_sas(
        account, "azureml", key, permission=ContainerSasPermissions(read=True), expiry=soon
    )
    of_blob = generate_blob_sas(
        account,
        "azureml",
        "auth",
        account_key=key,
        permission=BlobSasPermissions(read=True),
        expiry=soon,
        content_type="a/b",
    )
    for signed in (of_account, of_container, of_blob):
        with client(server, signed) as blob:
            assert blob.download_blob().readall() == b"auth"
    with client(server, of_blob) as blob:
        assert blob.get_blob_properties().content_settings.content_type == "a/b"
    with BlobClient.from_blob_url(f"{server.url}/azureml/auth?{of_blob}") as blob:
        assert blob.download_blob().readall() == b"auth"
    for signed in (of_container, of_blob):
        with client(server, signed) as blob, pytest.raises(HttpResponseError) as refused:
            blob.upload_blob(b"no", overwrite=True)
        assert (refused.value.status_code, refused.value.error_code) == (403, "AuthorizationPermissionMismatch")


def test_signatures_that_are_expired_foreign_or_for_something_else(server: BlobServer) -> None:
    account, key, now = server.workspace.account, server.key, datetime.now(UTC)
    read: dict[str, Any] = {"permission": ContainerSasPermissions(read=True, write=True, list=True)}
    other = server.other
    for signed in (
        generate_container_sas(account, "azureml", key, expiry=now - timedelta(seconds=1), **read),
        generate_container_sas(
            account, "azureml", key, expiry=now + timedelta(hours=2), start=now + timedelta(hours=1), **read
        ),
        generate_container_sas(account, "another", key, expiry=now + timedelta(hours=1), **read),
        generate_container_sas(other.account, "azureml", server.key_of(other), expiry=now + timedelta(hours=1), **read),
        generate_container_sas(account, "azureml", server.key_of(other), expiry=now + timedelta(hours=1), **read),
    ):
        for act in (lambda blob: blob.download_blob(), lambda blob: blob.upload_blob(b"x", overwrite=True)):
            with client(server, signed) as blob, pytest.raises(ClientAuthenticationError) as refused:
                act(blob)
            assert (refused.value.status_code, refused.value.error_code) == (403, "AuthenticationFailed")
    https_only = generate_container_sas(
        account, "azureml", key, expiry=now + timedelta(hours=1), protocol="https", **read
    )
    with client(server, https_only) as blob, pytest.raises(HttpResponseError) as mismatch:
        blob.download_blob()
    assert mismatch.value.error_code == "AuthorizationProtocolMismatch"
    with client(server, None) as blob, pytest.raises(ClientAuthenticationError) as anonymous:
        blob.download_blob()
    assert anonymous.value.status_code == 401


# ---- size


class Zeros(io.RawIOBase):
    """Bytes made as they are read, so that the test itself holds none; every block is another."""

    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken = min(self.left, size if size >= 0 else self.left)
        self.left -= taken
        return self.left.to_bytes(8, "big") * (taken // 8) + b"\0" * (taken % 8)


def test_memory_stays_flat_under_300_mb_up_and_down(server: BlobServer, service: BlobServiceClient) -> None:
    """Server and client share this process; the client is told to hold 4 MB at a time."""
    signed = sas.account_sas(server.workspace.account, server.key, expiry=server.clock.now() + 3_600_000)
    limits = {
        "max_block_size": 4 * MB,
        "max_single_put_size": 4 * MB,
        "max_single_get_size": 4 * MB,
        "max_chunk_get_size": 4 * MB,
    }
    with BlobServiceClient(server.url, credential=signed, **limits) as narrow:
        blob = narrow.get_blob_client("azureml", "flat")
        blob.upload_blob(Zeros(20 * MB), length=20 * MB, overwrite=True)
        process = psutil.Process()
        before, most = process.memory_info().rss, 0

        def look(response: Any) -> None:
            nonlocal most
            most = max(most, process.memory_info().rss)

        blob.upload_blob(Zeros(300 * MB), length=300 * MB, overwrite=True, raw_response_hook=look)
        size = 0
        for chunk in blob.download_blob(raw_response_hook=look).chunks():
            size += len(chunk)
        assert size == 300 * MB
        assert most - before < 80 * MB


def test_memory_stays_flat_under_one_put_of_300_mb(server: BlobServer) -> None:
    process = psutil.Process()
    head = (
        f"PUT {server.path('azureml', 'one-put')} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.token()}\r\n"
        f"x-ms-blob-type: BlockBlob\r\ncontent-length: {300 * MB}\r\n\r\n"
    )
    block, most = os.urandom(MB), 0
    before = process.memory_info().rss
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode())
        for _ in range(300):
            connection.sendall(block)
            most = max(most, process.memory_info().rss)
        assert connection.recv(100).startswith(b"HTTP/1.1 201")
    assert most - before < 32 * MB
