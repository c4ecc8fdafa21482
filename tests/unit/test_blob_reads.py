"""The Blob protocol: raw requests that read."""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest

from tests.support.blob_server import BlobServer, blob_server, code_of, upload

BOX = "azureml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServer]:
    with blob_server(tmp_path_factory.mktemp("blobs")) as made:
        yield made


def test_ranges(server: BlobServer) -> None:
    data = bytes(range(200))
    upload(server, "ranged", data)
    upload(server, "empty", b"")
    token = server.token()

    def get(name: str = "ranged", **headers: str) -> tuple[int, dict[str, str], bytes]:
        return server.request("GET", server.path(BOX, name), token=token, **headers)

    for text, expected in {
        "bytes=0-9": data[:10],
        "bytes=190-": data[190:],
        "bytes=190-999": data[190:],
        "bytes=-5": data[-5:],
        "bytes=-500": data,
        "bytes=199-199": data[199:],
    }.items():
        for name in ("range", "x_ms_range"):
            status, headers, body = get(**{name: text})
            assert (status, body) == (206, expected)
            assert headers["content-length"] == str(len(expected))
            assert headers["content-range"].endswith("/200")
    status, headers, body = get(x_ms_range="bytes=0-9", x_ms_range_get_content_md5="true")
    assert headers["content-md5"] == base64.b64encode(hashlib.md5(body).digest()).decode()
    for text in ("bytes=200-", "bytes=500-600", "bytes=-0"):
        assert code_of(get(range=text)) == (416, "InvalidRange")
    assert code_of(get("empty", x_ms_range="bytes=0-33")) == (416, "InvalidRange")
    assert get("empty")[0] == 200
    for text in ("bytes=", "bytes=-", "bytes=5-2", "items=0-1", "bytes=0-1,3-4"):
        assert code_of(get(range=text)) == (400, "InvalidHeaderValue")
    assert get(range="bytes=0-9", x_ms_range="bytes=1-2")[2] == data[1:3]


def test_conditional_gets(server: BlobServer) -> None:
    upload(server, "cond")
    path, token = server.path(BOX, "cond"), server.token()
    _, headers, _ = server.request("HEAD", path, token=token)
    status, found, body = server.request("GET", path, token=token, if_none_match=headers["etag"])
    assert (status, found["x-ms-error-code"], body) == (304, "ConditionNotMet", b"")
    assert server.request("GET", path, token=token, if_modified_since=headers["last-modified"])[0] == 304
    assert code_of(server.request("GET", path, token=token, if_match='"0x1"')) == (412, "ConditionNotMet")
    assert code_of(server.request("GET", path, token=token, if_match="junk, also")) == (412, "ConditionNotMet")
    assert server.request("GET", path, token=token, if_match=headers["etag"])[0] == 200
    assert code_of(server.request("GET", path, token=token, if_modified_since="soon")) == (400, "InvalidHeaderValue")


def test_every_answer_names_its_request_and_version(server: BlobServer) -> None:
    for path in (server.path(BOX, "nothing"), server.path(BOX) + "?restype=container"):
        _, headers, _ = server.request(
            "GET", path, token=server.token(), x_ms_client_request_id="mine", x_ms_version="2025-01-05"
        )
        assert headers["x-ms-request-id"]
        assert headers["x-ms-client-request-id"] == "mine"
        assert headers["x-ms-version"] == "2025-01-05"


def test_heads_have_no_body(server: BlobServer) -> None:
    upload(server, "headed", b"12345")
    status, headers, body = server.request("HEAD", server.path(BOX, "headed"), token=server.token())
    assert (status, headers["content-length"], body) == (200, "5", b"")
    status, headers, body = server.request("HEAD", server.path(BOX, "nothing"), token=server.token())
    assert (status, headers["x-ms-error-code"], body) == (404, "BlobNotFound", b"")


def test_what_people_upload_is_no_page_of_ours(server: BlobServer) -> None:
    """A browser shows blobs from the Studio's origin: they may be looked at, but nothing in them runs."""
    upload(server, "page.html", b"<script>alert(1)</script>", x_ms_blob_content_type="text/html")
    for method, name in (("GET", "page.html"), ("HEAD", "page.html"), ("GET", "nothing")):
        _, headers, _ = server.request(method, server.path(BOX, name), token=server.token())
        assert (headers["x-content-type-options"], headers["content-security-policy"]) == ("nosniff", "sandbox")


def test_what_kind_of_account_it_is(server: BlobServer) -> None:
    for path in (server.path(), server.path(BOX), server.path(BOX, "nothing")):
        status, headers, _ = server.request("GET", path + "?restype=account&comp=properties", token=server.token())
        assert (status, headers["x-ms-account-kind"], headers["x-ms-is-hns-enabled"]) == (200, "StorageV2", "false")
    assert server.request("GET", server.path() + "?restype=account&comp=properties")[0] == 401


def test_a_listing_may_start_behind_a_name(server: BlobServer) -> None:
    for name in ("list-a", "list-b", "list-c"):
        upload(server, name)
    query = "?restype=container&comp=list&prefix=list-&startFrom=list-b"
    body = server.request("GET", server.path(BOX) + query, token=server.token())[2]
    assert [one.text for one in ET.fromstring(body).iter("Name")] == ["list-b", "list-c"]
