"""The unmodified azure-storage-blob through nginx and TLS, signed in with a token: each operation once."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient, ContentSettings

from tests.support.zaffre_server import ZaffreServer

MB = 1024 * 1024


class Token:
    """What azure-identity would fetch from the same server."""

    def __init__(self, server: ZaffreServer) -> None:
        self._token = server.token("https://storage.azure.com")

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == ("https://storage.azure.com/.default",)
        return AccessToken(self._token, int(time.time()) + 3600)


@pytest.fixture(scope="module")
def account(server: ZaffreServer) -> str:
    path = f"{server.scope}/datastores/workspaceblobstore?api-version=2024-04-01"
    name: str = server.request("GET", path).json["properties"]["accountName"]
    return name.rpartition("/")[2]


@pytest.fixture(scope="module")
def service(server: ZaffreServer, account: str) -> BlobServiceClient:
    url = f"{server.address}/{account}.blob.core.windows.net"
    bundle = str(server.home / "bundle.pem")
    return BlobServiceClient(url, credential=Token(server), connection_verify=bundle, retry_total=0)


def test_each_operation_once(service: BlobServiceClient) -> None:
    box = service.create_container("edge-box")
    assert box.get_container_properties().name == "edge-box"
    assert "edge-box" in [one.name for one in service.list_containers()]
    assert box.get_container_access_policy()["signed_identifiers"] == []
    assert service.get_account_information()["account_kind"] == "StorageV2"
    assert service.get_service_properties()["cors"] == []

    blob = box.get_blob_client("folder/ünï + %2F.txt")
    blob.upload_blob(b"hello", metadata={"a": "b"}, content_settings=ContentSettings(content_type="text/plain"))
    assert blob.download_blob().readall() == b"hello"
    assert blob.get_blob_properties().metadata == {"a": "b"}
    blob.set_blob_metadata({"c": "d"})
    blob.set_http_headers(ContentSettings(content_type="text/x"))
    assert [one.name for one in box.list_blobs()] == [blob.blob_name]

    data = os.urandom(20 * MB)
    parts = box.get_blob_client("parts")
    for number in range(4):
        parts.stage_block(str(number), data[number * 5 * MB : (number + 1) * 5 * MB])
    assert len(parts.get_block_list("uncommitted")[1]) == 4
    parts.commit_block_list([BlobBlock(str(number)) for number in range(4)])
    assert parts.download_blob().readall() == data

    copy = box.get_blob_client("copy")
    copy.start_copy_from_url(parts.url)
    assert copy.get_blob_properties().copy.status == "success"
    with pytest.raises(HttpResponseError) as refused:
        copy.abort_copy("x")
    assert refused.value.error_code == "NoPendingCopyOperation"
    copy.stage_block_from_url("1", parts.url, source_offset=5, source_length=5)
    copy.commit_block_list([BlobBlock("1")])
    assert copy.download_blob().readall() == data[5:10]

    assert [one.status_code for one in box.delete_blobs("copy", "parts")] == [202, 202]
    blob.delete_blob()
    box.delete_container()
    with pytest.raises(ResourceNotFoundError):
        box.get_container_properties()


def test_the_certificate_covers_the_account_in_the_hosts_name(
    server: ZaffreServer, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def resolving(host: Any, *args: Any, **kwargs: Any) -> Any:
        return resolve("localhost" if str(host).endswith(".localhost") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    url = f"https://{account}.blob.localhost:{server.port}"
    bundle = str(server.home / "bundle.pem")
    with ContainerClient(url, "azureml", credential=Token(server), connection_verify=bundle, retry_total=0) as box:
        box.upload_blob("by-host/x", b"by host", overwrite=True)
        assert box.download_blob("by-host/x").readall() == b"by host"
        assert [one.name for one in box.list_blobs(name_starts_with="by-host/")] == ["by-host/x"]
        box.delete_blob("by-host/x")
