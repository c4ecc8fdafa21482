"""The token endpoint, the discovery documents, and Zaffre's own part: what each answers, and how it refuses."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from tests.support.bad_input import ARM, Raw, refused
from tests.support.zaffre_server import Answer, ZaffreServer, eventually
from zaffre.settings import TENANT

PROVIDER = "Microsoft.MachineLearningServices"
SCOPE = "https://ml.azure.com/.default"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def raw(server: ZaffreServer) -> Iterator[Raw]:
    made = Raw(server)
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(server: ZaffreServer) -> dict[str, str]:
    """A service principal: `id` and `secret`."""
    answer = server.request("POST", "/zaffre/v1/principals", {"name": "oauth-tests"})
    assert answer.status == 201 and answer.headers["cache-control"] == "no-store", answer.body
    found: dict[str, str] = answer.json
    return found


def ask(
    raw: Raw, path: str = f"/{TENANT}/oauth2/v2.0/token", headers: dict[str, str] | None = None, **form: Any
) -> Answer:
    return raw.ask("POST", path, urlencode(form).encode(), token=None, headers={**FORM, **(headers or {})})


def good(client: dict[str, str], **changes: Any) -> dict[str, Any]:
    form: dict[str, Any] = {
        "grant_type": "client_credentials",
        "client_id": client["id"],
        "client_secret": client["secret"],
        "scope": SCOPE,
        "client_info": "1",
    }
    return {name: value for name, value in {**form, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "path",
    [
        f"/{TENANT}/oauth2/v2.0/token",
        "/adfs/oauth2/token",
        "/my.tenant.example/oauth2/v2.0/token",
        "/common/oauth2/token",
    ],
)
def test_a_service_principal_signs_in(server: ZaffreServer, raw: Raw, client: dict[str, str], path: str) -> None:
    answer = ask(raw, path, **good(client))
    assert answer.status == 200 and answer.headers["cache-control"] == "no-store", answer.body
    found = answer.json
    assert found["token_type"] == "Bearer" and 3000 < found["expires_in"] <= 3600
    claims = jwt.decode(found["access_token"], options={"verify_signature": False})
    assert (claims["aud"], claims["oid"], claims["appid"]) == ("https://ml.azure.com", client["id"], client["id"])
    me = server.request("GET", "/zaffre/v1/me", token=found["access_token"]).json
    assert (me["name"], me["kind"], me["role"], me["tenantId"]) == ("oauth-tests", "Application", "Owner", TENANT)


def test_the_first_versions_form(raw: Raw, client: dict[str, str]) -> None:
    found = ask(raw, "/adfs/oauth2/token", **good(client, scope=None, resource="https://storage.azure.com/")).json
    assert found["resource"] == "https://storage.azure.com/" and isinstance(found["expires_in"], str)
    assert int(found["expires_on"]) - int(found["not_before"]) == int(found["expires_in"])


def test_http_basic(raw: Raw, client: dict[str, str]) -> None:
    value = base64.b64encode(f"{client['id']}:{client['secret']}".encode()).decode()
    headers = {"Authorization": f"Basic {value}"}
    assert ask(raw, headers=headers, **good(client, client_id=None, client_secret=None)).status == 200
    refused_as(ask(raw, headers=headers, **good(client)), 400, "invalid_request", "there twice")
    refused_as(
        ask(raw, headers={"Authorization": "Basic ?"}, **good(client, client_secret=None)), 400, "invalid_request"
    )


def refused_as(answer: Answer, status: int, error: str, words: str = "") -> None:
    refused(answer, status, names=words)
    assert answer.json["error"] == error and answer.json["error_description"]
    assert answer.json["correlation_id"] and answer.headers["cache-control"] == "no-store"
    assert "access_token" not in answer.json


@pytest.mark.parametrize(
    ("change", "status", "error", "words"),
    [
        ({"grant_type": None}, 400, "invalid_request", "'grant_type' is missing"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", "password"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}, 400, "unsupported_grant_type", ""),
        ({"client_id": None}, 400, "invalid_request", "'client_id' is missing"),
        ({"client_id": "someone-else"}, 401, "invalid_client", "zaffre principal create"),
        ({"client_secret": None}, 401, "invalid_client", "'client_secret' is missing"),
        ({"client_secret": ""}, 401, "invalid_client", "'client_secret' is missing"),
        ({"client_secret": "zf_" + "A" * 43}, 401, "invalid_client", "wrong, expired or revoked"),
        ({"client_secret": "\ud800".encode("utf-8", "surrogatepass")}, 400, "invalid_request", ""),
        ({"client_assertion": "x"}, 401, "invalid_client", "not served"),
        ({"scope": None}, 400, "invalid_request", "'scope' is missing"),
        ({"scope": "openid profile"}, 400, "invalid_request", "'scope' is missing"),
        ({"scope": "https://graph.microsoft.com/.default"}, 400, "invalid_scope", "not an audience"),
        ({"scope": "https://ml.azure.com/user_impersonation"}, 400, "invalid_scope", "<audience>/.default"),
        ({"scope": f"{SCOPE} https://storage.azure.com/.default"}, 400, "invalid_scope", "not one scope"),
        ({"scope": None, "resource": "https://graph.microsoft.com"}, 400, "invalid_resource", "not an audience"),
    ],
)
def test_what_is_refused(
    raw: Raw, client: dict[str, str], change: dict[str, Any], status: int, error: str, words: str
) -> None:
    refused_as(ask(raw, **good(client, **change)), status, error, words)


def test_what_is_no_form(raw: Raw, client: dict[str, str]) -> None:
    path = "/adfs/oauth2/token"
    body = urlencode(good(client)).encode()
    many = b"&".join(b"a%d=1" % n for n in range(60))
    for sent, headers, status in (
        (json.dumps(good(client)).encode(), {"Content-Type": "application/json"}, 400),
        (body, {"Content-Type": ""}, 400),
        (b"", FORM, 400),
        (b"nonsense", FORM, 400),
        (body + b"&grant_type=client_credentials", FORM, 400),
        (body + b"&x=\xff", FORM, 400),
        (many, FORM, 400),
        (b"a=" + b"x" * 70_000, FORM, 413),
    ):
        answer = raw.ask("POST", path, sent, token=None, headers=headers)
        refused(answer, status)
        assert answer.json["error"] in ("invalid_request", "RequestTooLarge")
    assert raw.ask("GET", path, token=None).status == 405
    refused_as(ask(raw, "/not%20a%20tenant/oauth2/token", **good(client)), 400, "invalid_request", "no tenant")


def test_the_discovery_documents_lead_to_what_they_promise(
    server: ZaffreServer, raw: Raw, client: dict[str, str]
) -> None:
    for tenant, version in ((TENANT, "/v2.0"), ("adfs", ""), ("common", "/v2.0")):
        document = raw.ask("GET", f"/{tenant}{version}/.well-known/openid-configuration", token=None).json
        token = ask(raw, document["token_endpoint"].removeprefix(server.address), **good(client)).json["access_token"]
        keys = jwt.PyJWKSet.from_dict(
            raw.ask("GET", document["jwks_uri"].removeprefix(server.address), token=None).json
        )
        kid = jwt.get_unverified_header(token)["kid"]
        key = next(one for one in keys.keys if one.key_id == kid)
        jwt.decode(token, key, algorithms=["RS256"], audience="https://ml.azure.com", issuer=document["issuer"])
        # What the issuer's own name leads to says the same (OIDC Discovery §4.3).
        own = raw.ask(
            "GET", document["issuer"].removeprefix(server.address) + "/.well-known/openid-configuration", token=None
        )
        assert own.json["issuer"] == document["issuer"]
        assert document["authorization_endpoint"] and document["grant_types_supported"] == ["client_credentials"]


def test_a_browser_is_told_that_it_cannot_sign_in(raw: Raw) -> None:
    for method, path in (("GET", "/common/oauth2/v2.0/authorize"), ("POST", "/common/oauth2/v2.0/devicecode")):
        refused(raw.ask(method, path, token=None), 501, names="zaffre principal create")


def test_a_deleted_principal_and_a_revoked_key_end_their_tokens(server: ZaffreServer, raw: Raw) -> None:
    made = server.request("POST", "/zaffre/v1/principals", {"name": "short-lived"}).json
    token = ask(raw, **good(made)).json["access_token"]
    key = server.request("POST", "/zaffre/v1/keys", {"name": "short-lived-key"}).json
    headers = {"X-IDENTITY-HEADER": key["key"]}
    other = raw.ask("GET", f"/msi/token?resource={SCOPE}", token=None, headers=headers).json["access_token"]
    held = (token, other, key["key"], made["secret"])
    assert {raw.ask("GET", "/zaffre/v1/me", token=one).status for one in held} == {200}
    assert server.request("DELETE", "/zaffre/v1/principals/short-lived").status == 200
    assert server.request("DELETE", "/zaffre/v1/keys/short-lived-key").json["state"] == "revoked"
    assert {raw.ask("GET", "/zaffre/v1/me", token=one).status for one in held} == {401}
    refused_as(ask(raw, **good(made)), 401, "invalid_client")


def test_keys_and_principals_are_listed_without_their_secrets(server: ZaffreServer, client: dict[str, str]) -> None:
    listed = server.request("GET", "/zaffre/v1/keys").body + server.request("GET", "/zaffre/v1/principals").body
    assert b"oauth-tests" in listed and client["secret"].encode() not in listed
    assert server.credentials["api_key"].encode() not in listed


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("keys", {}, 400, "name"),
        ("keys", {"name": "../x"}, 400, "is no name"),
        ("keys", {"name": 3}, 400, "name"),
        ("keys", {"name": "x", "expiresAt": "tomorrow"}, 400, "expiresAt"),
        ("keys", {"name": "x", "expiresAt": "2020-01-01T00:00:00Z"}, 400, "in the past"),
        ("keys", {"name": "x", "principalId": "nobody"}, 404, "nobody"),
        ("keys", {"name": "x", "nonsense": 1}, 400, "nonsense"),
        ("principals", {"name": "x y"}, 400, "is no name"),
        ("principals", {"name": "x", "role": "King"}, 400, "Owner, Reader"),
        ("principals", {"name": "oauth-tests"}, 409, "oauth-tests"),
        ("signing-keys/rotate", {"forget": "yes"}, 400, "forget"),
    ],
)
def test_bad_keys_and_principals(
    server: ZaffreServer, client: dict[str, str], path: str, body: dict[str, Any], status: int, words: str
) -> None:
    refused(server.request("POST", f"/zaffre/v1/{path}", body), status, names=words)


def test_a_reader_reads_and_no_more(server: ZaffreServer, raw: Raw) -> None:
    reader = server.request("POST", "/zaffre/v1/principals", {"name": "watcher", "role": "Reader"}).json["secret"]
    job = f"{server.scope}/jobs/of-a-reader?api-version=2024-04-01"
    store = f"{server.scope}/datastores/workspaceblobstore"
    for method, path, status in (
        ("GET", server.scope, 200),
        ("GET", "/subscriptions", 200),
        ("GET", "/zaffre/v1/me", 200),
        ("GET", store, 200),
        ("GET", "/".join(server.scope.split("/")[:5]), 200),
        ("POST", f"{store}/listSecrets", 403),
        ("PUT", job, 403),
        ("DELETE", server.scope, 403),
        ("GET", "/zaffre/v1/keys", 403),
        ("POST", "/zaffre/v1/keys", 403),
        ("POST", "/zaffre/v1/principals", 403),
        ("POST", "/zaffre/v1/signing-keys/rotate", 403),
    ):
        answer = raw.ask(method, path, None if method == "GET" else b"{}", token=reader)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.body!r}"


def test_subscriptions_and_tenants(server: ZaffreServer) -> None:
    other = f"/subscriptions/An-Other/resourceGroups/g/providers/{PROVIDER}/workspaces/accounts"
    assert server.request("PUT", f"{other}?{ARM}", {"properties": {}}).status in (200, 201, 202)
    eventually(
        lambda: server.request("GET", f"{other}?{ARM}").status, lambda status: status == 200, what="the workspace"
    )
    found = server.request("GET", "/subscriptions?api-version=2022-12-01").json
    names = [one["subscriptionId"] for one in found["value"]]
    assert "An-Other" in names
    assert names[0] == server.credentials["subscription"] and found["count"]["value"] == len(set(names)) == len(names)
    first = found["value"][0]
    assert (first["state"], first["tenantId"], first["id"]) == ("Enabled", TENANT, f"/subscriptions/{names[0]}")
    assert server.request("GET", first["id"].upper()).json == first
    assert server.request("GET", "/subscriptions/nowhere").json["error"]["code"] == "SubscriptionNotFound"
    assert [one["tenantId"] for one in server.request("GET", "/tenants?api-version=2022-12-01").json["value"]] == [
        TENANT
    ]


def test_the_authority_is_shown_to_anybody(server: ZaffreServer, raw: Raw) -> None:
    answer = raw.ask("GET", "/metadata/ca", token=None)
    assert answer.body == (server.home / "ca" / "ca.pem").read_bytes() and b"PRIVATE" not in answer.body
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-subject"], input=answer.body, capture_output=True, check=True
    )
    assert b"Zaffre" in shown.stdout
