"""The Blob protocol: raw requests that no client library would send."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import shutil
import socket
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from azure.storage.blob import generate_blob_sas, generate_container_sas
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.blob_server import OWNER, BlobServer, Services, blob_server
from tests.support.databases import postgres_url  # noqa: F401  (a fixture)
from zaffre.errors import InvalidInput, ZaffreError
from zaffre.gateway.call import Call
from zaffre.protocols.blob import documents, mount
from zaffre.services import sas
from zaffre.services.tokens import MACHINE_LEARNING
from zaffre.store import tables

BOX = "azureml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServer]:
    with blob_server(tmp_path_factory.mktemp("blobs")) as made:
        yield made


def objects_of(services: Services) -> set[str]:
    return {path.name for path in services.settings.objects.rglob("*") if path.is_file()}


# ---- documents


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<Other/>",
        b"<BlockList><Latest>not base64</Latest></BlockList>",
        b"<BlockList><Latest></Latest></BlockList>",
        b"<BlockList><Newest>YQ==</Newest></BlockList>",
        b"<BlockList><Latest><b>YQ==</b></Latest></BlockList>",
        b"<BlockList><Latest>" + base64.b64encode(b"x" * 65) + b"</Latest></BlockList>",
        b'<!DOCTYPE BlockList [<!ENTITY a "YQ==">]><BlockList><Latest>&a;</Latest></BlockList>',
        b'<!DOCTYPE b SYSTEM "file:///etc/passwd"><BlockList/>',
        b'<?xml version="1.0" encoding="no-such"?><BlockList/>',
        b"\xff\xfe<\x00",
    ],
)
def test_bad_block_lists_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        documents.parse_block_list(body)


def test_a_block_list_is_read_in_order() -> None:
    body = b"""<?xml version='1.0' encoding='utf-8'?>
    <BlockList><Committed>YQ==</Committed><Latest>Yg==</Latest> <Uncommitted> YQ== </Uncommitted></BlockList>"""
    assert [(pick.source, pick.id) for pick in documents.parse_block_list(body)] == [
        ("Committed", "YQ=="),
        ("Latest", "Yg=="),
        ("Uncommitted", "YQ=="),
    ]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_block_list_is_read_or_refused(body: bytes) -> None:
    try:
        documents.parse_block_list(b"<BlockList>" + body + b"</BlockList>")
    except ZaffreError as error:
        assert error.status == 400


# ---- who may


def code_of(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    status, headers, body = answer
    code = headers.get("x-ms-error-code", "")
    if status >= 400 and body:
        assert ET.fromstring(body).findtext("Code") == code
    return status, code


def upload(server: BlobServer, name: str, data: bytes = b"data", **headers: str) -> tuple[int, dict[str, str], bytes]:
    return server.request(
        "PUT", server.path(BOX, name), data, token=server.token(), x_ms_blob_type="BlockBlob", **headers
    )


def test_bearer_tokens(server: BlobServer) -> None:
    assert upload(server, "auth")[0] == 201
    path = server.path(BOX, "auth")
    assert server.request("GET", path, token=server.token())[0] == 200

    status, headers, body = server.request("GET", path)
    assert (status, headers["x-ms-error-code"], headers["www-authenticate"]) == (
        401,
        "NoAuthenticationInformation",
        "Bearer",
    )
    refused = (401, "InvalidAuthenticationInfo")
    assert code_of(server.request("GET", path, token="rubbish")) == refused
    assert code_of(server.request("GET", path, token=server.token(audience=MACHINE_LEARNING))) == refused
    assert code_of(server.request("GET", path, token=server.token(audience="https://vault.azure.net"))) == refused
    claims = jwt.decode(server.token(), options={"verify_signature": False})
    assert code_of(server.request("GET", path, token=jwt.encode(claims, "", algorithm="none"))) == refused
    assert code_of(server.request("GET", path, token=jwt.encode(claims, "x" * 32, algorithm="HS256"))) == refused
    server.clock.ahead_ms -= 2 * 3_600_000
    expired = server.token()
    server.clock.ahead_ms += 2 * 3_600_000
    assert code_of(server.request("GET", path, token=expired)) == refused
    assert b"Traceback" not in body


def test_a_jobs_token_reaches_its_own_workspace_only(server: BlobServer) -> None:
    upload(server, "run")
    token = server.run_token(server.workspace, "job-run")
    assert server.request("GET", server.path(BOX, "run"), token=token)[0] == 200
    put_ = server.request("PUT", server.path(BOX, "out"), b"x", token=token, x_ms_blob_type="BlockBlob")
    assert put_[0] == 201
    foreign = server.request("GET", server.path(BOX, "run", server.other), token=token)
    assert code_of(foreign) == (403, "AuthorizationFailed")
    found = server.database.read_now(lambda conn: conn.execute(tables.audit.select()).mappings().all())
    assert [row["outcome"] for row in found if row["action"] == "Get Blob"] == ["denied"]
    server.tokens.end_run(server.workspace.id, "job-run")
    assert server.request("GET", server.path(BOX, "run"), token=token)[0] == 401


def test_signatures(server: BlobServer) -> None:
    upload(server, "signed", b"signed")
    account, now = server.workspace.account, server.clock.now()

    def get(
        query: str, name: str = "signed", container: str = BOX, method: str = "GET", **headers: str
    ) -> tuple[int, str]:
        return code_of(server.request(method, f"{server.path(container, name)}?{query}", **headers))

    good = sas.account_sas(account, server.key, expiry=now + 60_000)
    assert get(good) == (200, "")
    bad = (403, "AuthenticationFailed")
    assert get(good.replace("sp=rwdlac", "sp=rwdla")) == bad
    assert get(sas.account_sas(account, server.key, expiry=now - 1000)) == bad
    assert get(sas.account_sas(account, server.key, expiry=now + 60_000, start=now + 30_000)) == bad
    foreign = sas.account_sas(server.other.account, server.key_of(server.other), expiry=now + 60_000)
    assert get(foreign) == bad
    assert get("sig=x") == bad
    assert get("sig=") == bad

    of_blob = sas.service_sas(account, server.key, BOX, "signed", permissions="r", expiry=now + 60_000)
    assert get(of_blob) == (200, "")
    assert get(of_blob, name="other") == bad
    assert get(of_blob, method="DELETE") == (403, "AuthorizationPermissionMismatch")
    assert get(of_blob + "&comp=list&restype=container", name="") == bad
    of_box = sas.service_sas(account, server.key, BOX, permissions="rl", expiry=now + 60_000)
    listing = "&comp=list&restype=container"
    assert get(of_box, name="nothing") == (404, "BlobNotFound")
    assert get(of_box + listing, name="")[0] == 200
    assert get(of_box + "&restype=container", name="") == (403, "AuthorizationResourceTypeMismatch")
    assert get(of_box, container=server.workspace.container) == bad
    objects_only = sas.account_sas(account, server.key, expiry=now + 60_000, resources="o")
    assert get(objects_only + listing, name="") == (403, "AuthorizationResourceTypeMismatch")


def test_who_may_only_create_does_not_replace(server: BlobServer) -> None:
    account, now = server.workspace.account, server.clock.now()
    query = sas.service_sas(account, server.key, BOX, permissions="c", expiry=now + 60_000)

    def create(name: str) -> tuple[int, str]:
        path = f"{server.path(BOX, name)}?{query}"
        return code_of(server.request("PUT", path, b"new", x_ms_blob_type="BlockBlob"))

    assert create("created") == (201, "")
    assert create("created") == (403, "UnauthorizedBlobOverwrite")


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (None, 200),  # the edge's unix socket has no address, so what the edge says counts
        (("10.0.0.7", 1), 403),  # anybody else may write such headers
    ],
)
def test_the_edge_and_nobody_else_says_where_a_request_comes_from(
    server: BlobServer, peer: tuple[str, int] | None, expected: int
) -> None:
    upload(server, "edge")
    signed = generate_container_sas(
        server.workspace.account,
        BOX,
        server.key,
        permission="r",
        expiry="2999-01-01T00:00:00Z",
        protocol="https",
        ip="192.0.2.1",
    )
    scope = {
        "type": "http",
        "method": "GET",
        "path": server.path(BOX, "edge"),
        "raw_path": server.path(BOX, "edge").encode(),
        "query_string": signed.encode(),
        "scheme": "http",
        "client": peer,
        "server": ("localhost", 1),
        "headers": [(b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"192.0.2.1"), (b"host", b"localhost:1")],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    blob = mount(server.blobs, server.tokens, server.settings, server.clock)
    assert asyncio.run(blob.answer(Call(scope, receive))).status_code == expected


def test_unknown_accounts(server: BlobServer) -> None:
    path = "/zf00000000000000000000.blob.core.windows.net/azureml/x"
    assert code_of(server.request("GET", path, token=server.token())) == (404, "ResourceNotFound")
    assert code_of(server.request("GET", path)) == (401, "NoAuthenticationInformation")
    guid = "00000000-0000-0000-0000-000000000000"
    assert server.request("GET", f"/azureml-blobstore-{guid}/x", token=server.token())[0] == 404
    assert server.request("GET", "/azureml-blobstore-x/x", token=server.token())[0] == 404


def test_the_form_without_an_account(server: BlobServer) -> None:
    """What is left of a URL when the SDK has joined a path to it (wire.md §7.2)."""
    box, token = server.workspace.container, server.token()
    short = f"/{box}/LocalUpload/h/ctx/Dockerfile"
    assert server.request("PUT", short, b"FROM x", token=token, x_ms_blob_type="BlockBlob")[0] == 201
    assert server.request("GET", server.path(box, "LocalUpload/h/ctx/Dockerfile"), token=token)[2] == b"FROM x"
    assert server.request("GET", f"/{box}?restype=container&comp=list", token=token)[0] == 200


# ---- names in paths


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("../../../x", "../../../x"),
        ("%2e%2e/%2E%2E/etc/passwd", "../../etc/passwd"),
        ("a//b", "a//b"),
        ("/lead", "/lead"),
        ("a%2Fb%2fc", "a/b/c"),
        ("a%252Fb", "a%2Fb"),
        ("a+b%20c%2B", "a+b c+"),
        (quote("ünï/😀&<>\"'"), "ünï/😀&<>\"'"),
        ("trail/", "trail/"),
        ("q%3Fx%23y", "q?x#y"),
        ("%0D%0A%09", "\r\n\t"),
    ],
)
def test_names_are_decoded_once_and_listed_as_they_are(server: BlobServer, sent: str, name: str) -> None:
    token, box = server.token(), server.workspace.container
    path = server.path(box, sent)
    assert server.request("PUT", path, b"named", token=token, x_ms_blob_type="BlockBlob")[0] == 201
    assert server.request("GET", path, token=token)[2] == b"named"
    assert asyncio.run(server.blobs.get_bytes(server.workspace.account, box, name)) == b"named"
    query = f"?restype=container&comp=list&include=metadata&prefix={quote(name, safe='')}"
    body = server.request("GET", server.path(box) + query, token=token)[2]
    assert name in [found.text for found in ET.fromstring(body).iter("Name")]
    assert server.request("DELETE", path, token=token)[0] == 202


@pytest.mark.parametrize("sent", ["%00", "a%00b", "%FF", "%C3", "%01", "%EF%BF%BF", "x" * 1025])
def test_bad_names_are_refused(server: BlobServer, sent: str) -> None:
    assert upload(server, sent)[0] == 400
    assert not any("objects/drafts/" in str(path) for path in server.settings.objects.rglob("drafts/*"))


# ---- requests that are wrong, or not served


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
    ("method", "container", "name", "query", "headers"),
    [
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "AppendBlob"}),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "PageBlob"}),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "BlockBlob", "x_ms_tags": "a=b"}),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "BlockBlob", "x_ms_content_crc64": "AAAAAAAAAAA="}),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "BlockBlob", "x_ms_lease_id": "1"}),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "BlockBlob", "x_ms_access_tier": "Archive"}),
        ("PUT", BOX, "x", "", {"x_ms_blob_type": "BlockBlob", "x_ms_copy_source": "https://x/y"}),
        ("PUT", BOX, "x", "?comp=lease", {}),
        ("PUT", BOX, "x", "?comp=snapshot", {}),
        ("PUT", BOX, "x", "?comp=tags", {}),
        ("GET", BOX, "x", "?comp=tags", {}),
        ("PUT", BOX, "x", "?comp=appendblock", {}),
        ("POST", BOX, "x", "?comp=query", {}),
        ("GET", BOX, "x", "?snapshot=2026-01-01", {}),
        ("DELETE", BOX, "x", "", {"x_ms_delete_snapshots": "only"}),
        ("DELETE", BOX, "", "?restype=container", {}),
        ("GET", BOX, "", "?restype=container&comp=acl", {}),
        ("GET", BOX, "", "?restype=container&comp=list&include=uncommittedblobs", {}),
        ("POST", BOX, "", "?restype=container&comp=batch", {}),
        ("POST", "", "", "?restype=service&comp=userdelegationkey", {}),
        ("GET", "", "", "?restype=service&comp=properties", {}),
    ],
)
def test_what_is_not_served_says_so(
    server: BlobServer, method: str, container: str, name: str, query: str, headers: dict[str, str]
) -> None:
    answer = server.request(method, server.path(container, name) + query, b"x", token=server.token(), **headers)
    assert code_of(answer) == (501, "NotImplemented")


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


def test_nul_in_a_listing_is_refused(server: BlobServer) -> None:
    for query in (
        "prefix=%00",
        "delimiter=a%00",
        "marker=AA==",
        "marker=%FF",
        "marker=A",
        "maxresults=0",
        "maxresults=x",
    ):
        answer = server.request("GET", f"{server.path(BOX)}?restype=container&comp=list&{query}", token=server.token())
        assert answer[0] == 400


def test_what_a_signature_sets_must_be_a_header(server: BlobServer) -> None:
    upload(server, "override")
    for value in ("a\r\nset-cookie: x=y", "ü", "\x00"):
        signed = generate_blob_sas(
            server.workspace.account,
            BOX,
            "override",
            account_key=server.key,
            permission="r",
            expiry="2999-01-01T00:00:00Z",
            content_disposition=value,
        )
        status, headers, _ = server.request("GET", f"{server.path(BOX, 'override')}?{signed}")
        assert (status, "set-cookie" in headers) == (400, False)


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


def test_copies(server: BlobServer) -> None:
    upload(server, "source", b"copied", x_ms_meta_k="v", content_type="text/x")
    token, target = server.token(), server.path(BOX, "target")
    here = f"http://127.0.0.1:{server.port}"
    source = here + server.path(BOX, "source")
    status, headers, _ = server.request("PUT", target, token=token, content_length="0", x_ms_copy_source=source)
    assert (status, headers["x-ms-copy-status"]) == (202, "success")
    _, headers, body = server.request("GET", target, token=token)
    assert (headers["x-ms-meta-k"], headers["content-type"], body) == ("v", "text/x", b"copied")

    def copy(source: str, query: str = "", **more: str) -> tuple[int, str]:
        return code_of(server.request("PUT", target + query, content_length="0", x_ms_copy_source=source, **more))

    assert copy("https://example.org/x/y", token=token) == (501, "NotImplemented")
    assert copy(here + "/subscriptions/x", token=token) == (400, "InvalidHeaderValue")
    foreign = here + server.path(BOX, "source", server.other)
    assert copy(foreign, token=token) == (403, "CannotVerifyCopySource")
    account, now = server.workspace.account, server.clock.now()
    write_only = "?" + sas.service_sas(account, server.key, BOX, "target", permissions="w", expiry=now + 60_000)
    assert copy(source, write_only) == (403, "CannotVerifyCopySource")
    read = "?" + sas.service_sas(account, server.key, BOX, "source", permissions="r", expiry=now + 60_000)
    assert copy(source + read, write_only) == (202, "")
    assert copy(source + read.replace("sp=r", "sp=rw"), write_only) == (403, "AuthenticationFailed")


def test_errors_are_logged_nowhere_with_their_signature(server: BlobServer, caplog: pytest.LogCaptureFixture) -> None:
    query = sas.account_sas(server.workspace.account, server.key, expiry=server.clock.now() - 1)
    with caplog.at_level("DEBUG"):
        status, _, body = server.request("GET", f"{server.path(BOX, 'x')}?{query}")
    assert status == 403
    signature = query.rpartition("sig=")[2]
    assert signature not in body.decode()
    assert signature not in json.dumps([record.__dict__ for record in caplog.records], default=str)
    assert OWNER.name not in body.decode()
