"""The Blob protocol: who may, by tokens and by signatures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from azure.storage.blob import generate_blob_sas, generate_container_sas

from tests.support.blob_server import OWNER, BlobServer, blob_server, code_of, upload
from zaffre.gateway.call import Call
from zaffre.protocols.blob import mount
from zaffre.services import sas
from zaffre.services.tokens import MACHINE_LEARNING
from zaffre.store import tables

BOX = "azureml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServer]:
    with blob_server(tmp_path_factory.mktemp("blobs")) as made:
        yield made


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
    server.tokens.end_run(server.workspace.id, "job-run", 1)
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
        assert (status, "set-cookie" in headers) == (403 if "\n" in value else 400, False)


def test_errors_are_logged_nowhere_with_their_signature(server: BlobServer, caplog: pytest.LogCaptureFixture) -> None:
    query = sas.account_sas(server.workspace.account, server.key, expiry=server.clock.now() - 1)
    with caplog.at_level("DEBUG"):
        status, _, body = server.request("GET", f"{server.path(BOX, 'x')}?{query}")
    assert status == 403
    signature = query.rpartition("sig=")[2]
    assert signature not in body.decode()
    assert signature not in json.dumps([record.__dict__ for record in caplog.records], default=str)
    assert OWNER.name not in body.decode()
