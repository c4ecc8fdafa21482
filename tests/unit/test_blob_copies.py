"""The Blob protocol: copies within the server."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import pytest

from tests.support.blob_server import BlobServer, blob_server, code_of, upload
from zaffre.services import sas

BOX = "azureml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServer]:
    with blob_server(tmp_path_factory.mktemp("blobs")) as made:
        yield made


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


def test_a_source_has_conditions_and_an_md5_of_its_own(server: BlobServer) -> None:
    upload(server, "source", b"copied")
    token, target = server.token(), server.path(BOX, "conditional")
    source = f"http://127.0.0.1:{server.port}{server.path(BOX, 'source')}"
    etag = server.request("HEAD", server.path(BOX, "source"), token=token)[1]["etag"]
    good = base64.b64encode(hashlib.md5(b"copied").digest()).decode()
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    refused = (412, "SourceConditionNotMet")

    def copy(query: str = "", **headers: str) -> tuple[int, str]:
        answer = server.request(
            "PUT", target + query, token=token, content_length="0", x_ms_copy_source=source, **headers
        )
        return code_of(answer)

    for how, done in (({}, 202), ({"x_ms_blob_type": "BlockBlob"}, 201), ({"query": "?comp=block&blockid=YQ=="}, 201)):
        assert copy(**how, x_ms_source_if_match=etag) == (done, "")
        assert copy(**how, x_ms_source_if_match='"0x1"') == refused
        assert copy(**how, x_ms_source_if_none_match=etag) == refused
        assert copy(**how, x_ms_source_if_modified_since="Fri, 01 Jan 2999 00:00:00 GMT") == refused
        assert copy(**how, x_ms_source_if_unmodified_since="Fri, 01 Jan 1999 00:00:00 GMT") == refused
        assert copy(**how, x_ms_source_content_md5=good) == (done, "")
        assert copy(**how, x_ms_source_content_md5=wrong) == (400, "Md5Mismatch")
    assert copy(if_none_match="*") == (409, "BlobAlreadyExists")


def test_a_source_may_have_a_token_of_its_own(server: BlobServer) -> None:
    upload(server, "source", b"copied")
    account, now = server.workspace.account, server.clock.now()
    write_only = "?" + sas.service_sas(account, server.key, BOX, "by-token", permissions="w", expiry=now + 60_000)
    source = f"http://127.0.0.1:{server.port}{server.path(BOX, 'source')}"

    def copy(authorization: str) -> tuple[int, str]:
        headers = {"x_ms_copy_source": source, "x_ms_copy_source_authorization": authorization}
        path = server.path(BOX, "by-token") + write_only
        return code_of(server.request("PUT", path, content_length="0", **headers))

    assert copy(f"Bearer {server.token()}") == (202, "")
    assert copy("Bearer rubbish") == (401, "InvalidAuthenticationInfo")
    assert copy(f"Bearer {server.run_token(server.other)}") == (403, "AuthorizationFailed")
    assert copy("SharedKey a:b") == (400, "InvalidHeaderValue")


def test_sources_that_are_no_blobs_of_ours(server: BlobServer) -> None:
    here = f"http://127.0.0.1:{server.port}"

    def copy(source: str, **headers: str) -> tuple[int, str]:
        path = server.path(BOX, "target")
        return code_of(
            server.request("PUT", path, token=server.token(), content_length="0", x_ms_copy_source=source, **headers)
        )

    assert copy(f"{here}{server.path(BOX)}") == (400, "InvalidHeaderValue")
    assert copy(f"{here}{server.path(BOX, 'nothing')}") == (404, "BlobNotFound")
    assert copy(f"{here}{server.path(BOX, 'x')}?snapshot=1") == (501, "NotImplemented")
    for broken in ("http://[", "http://[::1/x", "", "//", "x"):
        assert copy(broken)[0] in (400, 501)
    assert copy("file:///etc/passwd") == (501, "NotImplemented")
    assert copy("http://169.254.169.254/latest", x_ms_blob_type="BlockBlob") == (501, "NotImplemented")
