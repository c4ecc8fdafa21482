"""The Blob protocol: several deletions in one request, as no library would send them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.blob_server import BlobServer, blob_server, code_of, upload
from zaffre.errors import InvalidInput
from zaffre.protocols.blob import batch

BOX = "azureml"
QUERY = "?restype=container&comp=batch"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServer]:
    with blob_server(tmp_path_factory.mktemp("blobs")) as made:
        yield made


def body(*requests: str, boundary: str = "b") -> bytes:
    parts = [
        f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n{text}\r\n"
        for number, text in enumerate(requests)
    ]
    return "".join([*parts, f"--{boundary}--\r\n"]).encode()


def send(server: BlobServer, content: bytes, *, query: str = QUERY, container: str = BOX) -> tuple[int, str, str]:
    """Status and code of the whole, and the text of the answer."""
    path = server.path(container) + query
    answer = server.request("POST", path, content, token=server.token(), content_type="multipart/mixed; boundary=b")
    return (*code_of(answer), answer[2].decode("latin-1"))


def delete(server: BlobServer, path: str, *headers: str) -> str:
    return "\r\n".join([f"DELETE {path} HTTP/1.1", f"Authorization: Bearer {server.token()}", *headers, "", ""])


def exists(server: BlobServer, name: str, box: str = BOX) -> bool:
    return server.request("HEAD", server.path(box, name), token=server.token())[0] == 200


def test_one_that_fails_does_not_stop_the_others(server: BlobServer) -> None:
    for name in ("one", "two", "t%20w%2Fo", "kept"):
        upload(server, name)
    requests = [
        delete(server, f"/{BOX}/one"),
        delete(server, f"/{BOX}/nothing"),
        delete(server, f"/{BOX}/kept", 'If-Match: "0x1"'),
        f"DELETE /{BOX}/kept HTTP/1.1\r\n\r\n",
        delete(server, f"{server.path(BOX)}/two"),
        delete(server, f"/{server.workspace.account}/{BOX}/t%20w%2Fo"),
    ]
    status, _, text = send(server, body(*requests))
    assert status == 202
    lines = [line for line in text.splitlines() if line.startswith("HTTP/1.1")]
    assert [line.split()[1] for line in lines] == ["202", "404", "412", "401", "202", "202"]
    assert [line for line in text.splitlines() if line.startswith("Content-ID")][-1] == "Content-ID: 5"
    assert [exists(server, name) for name in ("one", "two", "t%20w%2Fo", "kept")] == [False, False, False, True]


def test_a_batch_of_the_account_reaches_every_container(server: BlobServer) -> None:
    other = server.workspace.container
    upload(server, "a")
    upload(server, "b", box=other)
    requests = [delete(server, f"/{BOX}/a"), delete(server, f"/{other}/b")]
    assert send(server, body(*requests), query="?comp=batch", container="")[0] == 202
    assert not exists(server, "a")
    assert not exists(server, "b", other)


def test_nothing_is_done_of_a_batch_that_is_wrong(server: BlobServer) -> None:
    upload(server, "stays")
    first = delete(server, f"/{BOX}/stays")
    wrong = [
        body(first, delete(server, f"/{server.workspace.container}/x")),
        body(first, delete(server, f"/{BOX}")),
        body(first, "rubbish"),
        body(first, delete(server, f"/{BOX}/a%00")),
        body(first)[:-8],
        body(first, boundary="other"),
        b"",
        body(*[first] * 257),
    ]
    for content in wrong:
        assert send(server, content)[0] == 400
    assert send(server, body(first, f"PUT /{BOX}/x HTTP/1.1\r\n\r\n"))[:2] == (501, "NotImplemented")
    assert exists(server, "stays")
    answer = server.request("POST", server.path(BOX) + QUERY, b"x", token=server.token(), content_type="text/plain")
    assert code_of(answer) == (400, "InvalidHeaderValue")


def test_inside_a_batch_nobody_says_where_it_comes_from() -> None:
    """Behind the edge these headers are believed, since the edge alone can have written them."""
    text = "DELETE /a/b?c=d HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\nx-forwarded-proto: https\r\nHost: x\r\nIf-Match: y\r\n"
    (inner,) = batch.parse(body(text), "b")
    assert (inner.method, inner.path, inner.query, inner.headers) == ("DELETE", "/a/b", "c=d", [("if-match", "y")])


@pytest.mark.parametrize("text", [b"--b--", b"--b\r\n--b--", b"x--b\r\nContent-Type: application/http\r\n\r\n--b--"])
def test_bodies_that_hold_no_requests(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        batch.parse(text, "b")
