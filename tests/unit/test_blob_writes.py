"""The Blob protocol: raw requests that write, whole, broken off or wrong."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import shutil
import socket
from collections.abc import Iterator

import pytest

from tests.support.blob_server import BlobServer, Services, blob_server, code_of, upload

BOX = "azureml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServer]:
    with blob_server(tmp_path_factory.mktemp("blobs")) as made:
        yield made


def objects_of(services: Services) -> set[str]:
    return {path.name for path in services.settings.objects.rglob("*") if path.is_file()}


def test_checks_on_put(server: BlobServer) -> None:
    token, path = server.token(), server.path(BOX, "checked")
    md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert code_of(upload(server, "checked", content_md5=md5)) == (400, "Md5Mismatch")
    assert code_of(upload(server, "checked", x_ms_blob_content_md5=md5)) == (400, "Md5Mismatch")
    assert code_of(upload(server, "checked", content_md5="short")) == (400, "InvalidMd5")
    assert code_of(upload(server, "checked", x_ms_meta_9="x")) == (400, "InvalidMetadata")
    assert code_of(upload(server, "checked", x_ms_meta_a="x" * 9000)) == (400, "MetadataTooLarge")
    assert code_of(server.request("PUT", path, b"x", token=token)) == (400, "MissingRequiredHeader")
    answer = server.request("PUT", path + "?comp=block&blockid=?", b"x", token=token)
    assert code_of(answer) == (400, "InvalidBlockId")
    answer = server.request(
        "PUT", path + "?comp=blocklist", b"<BlockList><Latest>YQ==</Latest></BlockList>", token=token
    )
    assert code_of(answer) == (400, "InvalidBlockList")
    assert code_of(server.request("GET", path, token=token)) == (404, "BlobNotFound")
    answer = server.request("PUT", server.path("no-such", "x"), b"x", token=token, x_ms_blob_type="BlockBlob")
    assert code_of(answer) == (404, "ContainerNotFound")


@pytest.mark.parametrize(
    ("size", "code"), [(10**17, (413, "RequestBodyTooLarge")), (4 * 10**9, (507, "InsufficientStorage"))]
)
def test_a_declared_giant_is_refused_before_it_is_sent(
    server: BlobServer, monkeypatch: pytest.MonkeyPatch, size: int, code: tuple[int, str]
) -> None:
    """Neither disk nor time is spent on what cannot fit."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=10**9))
    answer = server.request(
        "PUT",
        server.path(BOX, "giant"),
        token=server.token(),
        x_ms_blob_type="BlockBlob",
        content_length=str(size),
    )
    assert code_of(answer) == code


@pytest.mark.parametrize("sent", [0, 10, 3_000_000])
def test_who_hangs_up_leaves_nothing(server: BlobServer, sent: int) -> None:
    before = objects_of(server)
    head = (
        f"PUT {server.path(BOX, 'hung-up')} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.token()}\r\n"
        "x-ms-blob-type: BlockBlob\r\ncontent-length: 10000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + b"x" * sent)
    status, _, _ = server.request("GET", server.path(BOX, "hung-up"), token=server.token())
    assert status == 404
    asyncio.run(_until(lambda: objects_of(server) == before))


async def _until(holds: object) -> None:
    async with asyncio.timeout(10):
        while not holds():  # type: ignore[operator]  # noqa: ASYNC110  (files send no events)
            await asyncio.sleep(0.02)


def test_a_body_without_a_length_is_taken(server: BlobServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"authorization": f"Bearer {server.token()}", "x-ms-blob-type": "BlockBlob"}
    connection.request("PUT", server.path(BOX, "chunked"), iter([b"a" * 10, b"b" * 10]), headers, encode_chunked=True)
    assert connection.getresponse().status == 201
    connection.close()
    assert asyncio.run(server.blobs.get_bytes(server.workspace.account, BOX, "chunked")) == b"a" * 10 + b"b" * 10
