"""The Blob protocol: what Azure has and we have not is refused by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.blob_server import BlobServer, blob_server, code_of

BOX = "azureml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServer]:
    with blob_server(tmp_path_factory.mktemp("blobs")) as made:
        yield made


@pytest.mark.parametrize(
    ("method", "container", "name", "query", "headers", "named"),
    [
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "AppendBlob"}, "append blobs"),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "PageBlob"}, "page blobs"),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "BlockBlob", "x_ms_tags": "a=b"}, "index tags"),
        ("GET", BOX, "x", "", {"x_ms_if_tags": "a='b'"}, "index tags"),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "BlockBlob", "x_ms_content_crc64": "AAAAAAAAAAA="}, "CRC-64"),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "BlockBlob", "x_ms_lease_id": "1"}, "leases"),
        ("DELETE", BOX, "x", "", {"x_ms_lease_id": "1"}, "leases"),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "BlockBlob", "x_ms_access_tier": "Archive"}, "access tier"),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "BlockBlob", "x_ms_encryption_scope": "s"}, "encryption scopes"),
        ("PUT", BOX, "x", "", {"x_ms_copy_source": "https://x/y"}, "this server only"),
        ("PUT", BOX, "x", "?comp=lease", {}, "leases"),
        ("PUT", BOX, "", "?restype=container&comp=lease", {}, "leases"),
        ("PUT", BOX, "x", "?comp=snapshot", {}, "snapshots"),
        ("PUT", BOX, "x", "?comp=tags", {}, "index tags"),
        ("GET", BOX, "x", "?comp=tags", {}, "index tags"),
        ("GET", "", "", "?comp=blobs&where=a", {}, "index tags"),
        ("PUT", BOX, "x", "?comp=appendblock", {}, "append blobs"),
        ("PUT", BOX, "x", "?comp=page", {}, "page blobs"),
        ("PUT", BOX, "x", "?comp=undelete", {}, "soft delete"),
        ("POST", BOX, "x", "?comp=query", {}, "queries"),
        ("GET", BOX, "x", "?snapshot=2026-01-01", {}, "snapshots"),
        ("DELETE", BOX, "x", "", {"x_ms_delete_snapshots": "only"}, "snapshots"),
        ("PUT", BOX, "", "?restype=container&comp=acl", {}, "stored access policies"),
        ("PUT", BOX, "", "?restype=container&comp=metadata", {}, "comp=metadata"),
        ("GET", BOX, "", "?restype=container&comp=list&include=uncommittedblobs", {}, "uncommittedblobs"),
        ("POST", "", "", "?restype=service&comp=userdelegationkey", {}, "user delegation keys"),
        ("PUT", "", "", "?restype=service&comp=properties", {}, "comp=properties"),
        ("GET", "", "", "?restype=service&comp=stats", {}, "secondary location"),
    ],
)
def test_what_is_not_served_says_so(
    server: BlobServer, method: str, container: str, name: str, query: str, headers: dict[str, str], named: str
) -> None:
    answer = server.request(method, server.path(container, name) + query, b"x", token=server.token(), **headers)
    assert code_of(answer) == (501, "NotImplemented")
    assert named in answer[2].decode()
