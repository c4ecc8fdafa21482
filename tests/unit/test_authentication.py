"""Every route asks who is there, but for the few that anybody may read; and what is secret lies there for its owner only."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.bad_input import ARM, Raw
from tests.support.zaffre_server import ZaffreServer, eventually
from zaffre.application import Application
from zaffre.gateway.routes import Access, Route
from zaffre.runtime import Runtime
from zaffre.settings import Settings

# Public facts, or the key is checked by the handler itself (tests below and in test_oauth.py).
OPEN = {
    "Metadata_Endpoints",
    "Metadata_Authority",
    "ManagedIdentity_Token",
    "Jwks_Get",
    "Discovery_Get",
    "Health_Live",
    "Health_Ready",
    "Studio_Get",
    *(
        f"{name}{version}"
        for name in ("OAuth_Token", "OAuth_Authorize", "OAuth_DeviceCode")
        for version in ("V1", "V2")
    ),
    *(f"OpenIdConfiguration_{version}" for version in ("V1", "V2")),
}


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    """The routes as the application puts them together."""

    async def made() -> tuple[Route, ...]:
        home = tmp_path_factory.mktemp("routes")
        link: Any = SimpleNamespace(edge_changed=None)
        application = Application(Settings(home=home, port=1), Runtime(), link, ())
        try:
            return application.gateway._router.routes
        finally:
            application.database.close()

    return list(asyncio.run(made()))


@pytest.fixture(scope="module")
def raw(server: ZaffreServer) -> Iterator[Raw]:
    made = Raw(server)
    yield made
    made.close()


@pytest.fixture(scope="module")
def tokens(server: ZaffreServer) -> dict[str, str | None]:
    """Credentials that are none, by what is wrong with them; the claims are otherwise those of a good token."""
    good = server.token()
    header = jwt.get_unverified_header(good)
    claims = jwt.decode(good, options={"verify_signature": False})
    own_file = next((server.home / "keys").glob("signing-*.pem"))
    own = serialization.load_pem_private_key(own_file.read_bytes(), None)
    assert isinstance(own, rsa.RSAPrivateKey)
    other = rsa.generate_private_key(65537, 2048)
    public = own.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def signed(key: rsa.RSAPrivateKey = own, **changes: Any) -> str:
        return jwt.encode({**claims, **changes}, key, algorithm="RS256", headers={"kid": header["kid"]})

    now = int(time.time())
    return {
        "none": None,
        "empty": "",
        "nonsense": "nonsense",
        "unknown API key": "zf_" + "A" * 43,
        "expired": signed(exp=now - 5, iat=now - 3600, nbf=now - 3600),
        "not yet good": signed(nbf=now + 3600),
        "foreign audience": signed(aud="https://graph.microsoft.com"),
        "foreign issuer": signed(iss="https://login.microsoftonline.com/x/v2.0"),
        "wrong key": signed(other),
        "alg none": ".".join((_part({"alg": "none", "typ": "JWT", "kid": header["kid"]}), _part(claims), "")),
        "alg none with signature": ".".join((_part({"alg": "None", "kid": header["kid"]}), *good.split(".")[1:])),
        "public key as secret": _hs256({"alg": "HS256", "kid": header["kid"]}, claims, public),
        "unknown kid": jwt.encode(claims, own, algorithm="RS256", headers={"kid": "../../x"}),
        "no kid": jwt.encode(claims, own, algorithm="RS256"),
        "truncated": good[:-5],
        "no signature": good.rpartition(".")[0] + ".",
        "other claims": ".".join((good.split(".")[0], _part({**claims, "name": "root"}), good.split(".")[2])),
        "no expiry": jwt.encode(
            {k: v for k, v in claims.items() if k != "exp"}, own, algorithm="RS256", headers={"kid": header["kid"]}
        ),
        "very long": "x" * 6000,
    }


WRONG = (
    "none",
    "empty",
    "nonsense",
    "unknown API key",
    "expired",
    "not yet good",
    "foreign audience",
    "foreign issuer",
    "wrong key",
    "alg none",
    "alg none with signature",
    "public key as secret",
    "unknown kid",
    "no kid",
    "truncated",
    "no signature",
    "other claims",
    "no expiry",
    "very long",
)


def test_only_what_anybody_may_read_is_open(routes: list[Route]) -> None:
    assert {route.operation for route in routes if route.access is Access.OPEN} == OPEN
    assert {route.operation for route in routes if route.access is Access.SIGNED} == {"Logs_Read"}
    assert len(routes) > 300


@pytest.mark.parametrize("what", WRONG)
def test_every_route_without_a_good_token(
    server: ZaffreServer, raw: Raw, routes: list[Route], tokens: dict[str, str | None], what: str
) -> None:
    answered = {}
    for route in routes:
        if route.access is Access.TOKEN:
            path = address(server, route)
            answer = raw.ask(
                route.method, path, b"{}" if route.method in ("PUT", "POST", "PATCH") else None, token=tokens[what]
            )
            if answer.status != 401:
                answered[f"{route.method} {path}"] = answer.status
    assert answered == {}


@pytest.mark.parametrize("what", WRONG)
def test_blobs_without_a_good_token(server: ZaffreServer, raw: Raw, tokens: dict[str, str | None], what: str) -> None:
    store = server.request("GET", f"{server.scope}/datastores/workspaceblobstore?{ARM}").json["properties"]
    account = f"/{store['accountName'].rpartition('/')[2]}.blob.core.windows.net"
    for path in (
        f"{account}/{store['containerName']}/x",
        f"{account}/azureml?restype=container&comp=list",
        f"{account}/?comp=list",
        f"/{store['containerName']}/x",
    ):
        for method in ("GET", "PUT", "HEAD", "DELETE"):
            answer = raw.ask(
                method,
                path,
                b"x" if method == "PUT" else None,
                token=tokens[what],
                headers={"x-ms-blob-type": "BlockBlob"},
            )
            assert answer.status in (401, 403), f"{method} {path}: {answer.status} {answer.body!r}"


def test_logs_want_their_signature(server: ZaffreServer, raw: Raw) -> None:
    assert server.put_job("signed-log", "echo secret").status == 201
    server.wait_for_job("signed-log")
    details = server.request("GET", f"/history/v1.0{server.scope}/runs/signed-log/details").json
    path, _, query = details["logFiles"]["user_logs/std_log.txt"].removeprefix(server.address).partition("?")
    expires, _, signature = query.partition("&")
    assert raw.ask("GET", f"{path}?{query}", token=None).body == b"secret\n"
    other = path.replace("signed-log", "another-log")
    for wrong in (
        path,
        f"{path}?{expires}",
        f"{path}?se=99999999999999&{signature}",
        f"{path}?{expires}&sig=x",
        f"{other}?{query}",
        f"{path}x?{query}",
        f"{path}?se=1&{signature}",
    ):
        for token in (None, "key"):
            answer = raw.ask("GET", wrong, token=token)
            assert answer.status in (401, 403) and b"secret" not in answer.body, f"{wrong}: {answer.status}"


@pytest.mark.parametrize("what", WRONG)
def test_the_identity_endpoint_wants_a_key(raw: Raw, tokens: dict[str, str | None], what: str) -> None:
    for name in ("X-IDENTITY-HEADER", "secret"):
        headers = {name: tokens[what] or ""} if tokens[what] is not None else {}
        answer = raw.ask(
            "GET", "/msi/token?api-version=2019-08-01&resource=https://ml.azure.com", token=None, headers=headers
        )
        assert answer.status == 401, answer.body
        assert "access_token" not in answer.body.decode()


def test_a_token_is_not_made_into_another(server: ZaffreServer, raw: Raw) -> None:
    """It would never end: a stolen one could be renewed for ever."""
    headers = {"X-IDENTITY-HEADER": server.token()}
    answer = raw.ask("GET", "/msi/token?resource=https://ml.azure.com", token=None, headers=headers)
    assert answer.status == 401 and "send an API key" in answer.body.decode()


@pytest.mark.parametrize(
    "resource",
    ["https://graph.microsoft.com", "", "https://ml.azure.com.evil.example", "%00", "https://vault.azure.net/x"],
)
def test_the_identity_endpoint_speaks_for_us_only(server: ZaffreServer, raw: Raw, resource: str) -> None:
    headers = {"X-IDENTITY-HEADER": server.credentials["api_key"]}
    answer = raw.ask("GET", f"/msi/token?api-version=2019-08-01&resource={resource}", token=None, headers=headers)
    assert answer.status == 400, answer.body


def test_the_token_of_a_job_is_good_for_that_job_only(server: ZaffreServer, raw: Raw) -> None:
    """And only as long as it runs: a job may not submit work or read secrets of the control plane."""
    assert (
        server.put_job(
            "token-of-a-job",
            'echo "$MLFLOW_TRACKING_TOKEN"; until [ -e "$AZ_BATCHAI_JOB_WORK_DIR/go" ]; do sleep 0.1; done',
        ).status
        == 201
    )
    token = _first_line(server, "token-of-a-job")
    mine = f"/tracking{server.scope}/api/2.0/mlflow/runs/get?run_id=token-of-a-job"
    assert raw.ask("GET", mine, token=token).status == 200
    other = f"{server.scope.rpartition('/')[0]}/token-other"
    assert server.request("PUT", f"{other}?{ARM}", {}).status == 200
    denied = {
        ("GET", f"{other}/jobs?{ARM}"): 403,
        ("PUT", f"{server.scope}/jobs/of-a-job?{ARM}"): 403,
        ("PUT", f"{server.scope}/onlineEndpoints/of-a-job?{ARM}"): 403,
        ("PUT", f"{server.scope}/datastores/of_a_job?{ARM}"): 403,
        ("PUT", f"{server.scope}?{ARM}"): 403,
        ("PUT", f"{other}?{ARM}"): 403,
        ("GET", "/subscriptions"): 403,
        ("GET", "/metrics"): 403,
        ("GET", "/zaffre/v1/keys"): 403,
        ("POST", "/zaffre/v1/keys"): 403,
        ("POST", "/zaffre/v1/principals"): 403,
        ("POST", "/zaffre/v1/signing-keys/rotate"): 403,
    }
    for (method, path), status in denied.items():
        answer = raw.ask(method, path, b"{}" if method in ("PUT", "POST") else None, token=token)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.body!r}"
    work = next((server.home / "jobs").glob("*/token-of-a-job/wd"))
    (work / "go").touch()
    assert server.wait_for_job("token-of-a-job") == "Completed"
    assert raw.ask("GET", mine, token=token).status == 401


def test_the_token_of_a_deleted_job_is_not_that_of_the_next_one_of_its_name(server: ZaffreServer, raw: Raw) -> None:
    name = "token-of-a-name"
    mine = f"/tracking{server.scope}/api/2.0/mlflow/runs/get?run_id={name}"
    wait = 'echo "$MLFLOW_TRACKING_TOKEN"; until [ -e "$AZ_BATCHAI_JOB_WORK_DIR/go" ]; do sleep 0.1; done'
    assert server.put_job(name, 'echo "$MLFLOW_TRACKING_TOKEN"').status == 201
    assert server.wait_for_job(name) == "Completed"
    old = _first_line(server, name)
    assert server.request("DELETE", f"{server.scope}/jobs/{name}?{ARM}").status == 204
    assert server.put_job(name, wait).status == 201
    new = _first_line(server, name)
    assert (raw.ask("GET", mine, token=new).status, raw.ask("GET", mine, token=old).status) == (200, 401)
    (next((server.home / "jobs").glob(f"*/{name}/wd")) / "go").touch()
    assert server.wait_for_job(name) == "Completed"


def test_secrets_are_their_owners(server: ZaffreServer) -> None:
    """Nobody else on the machine may read the home, nor what is secret in it should the home ever be opened."""
    assert stat.S_IMODE(server.home.stat().st_mode) == 0o700
    secret = [path for path in (server.home / "keys").rglob("*") if path.is_file()]
    secret += [
        *server.home.glob("zaffre.db*"),
        server.home / "credentials",
        server.home / "ca" / "ca.key",
        server.home / "edge" / "tls" / "server.pem",
    ]
    secret += [path for path in (server.home / "logs").iterdir() if path.is_file()]
    secret += [path for path in (server.home / "edge").rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(secret) > 10
    readable = {str(path): oct(path.stat().st_mode) for path in secret if stat.S_IMODE(path.stat().st_mode) & 0o077}
    assert readable == {}
    folders = [
        Path(top) for top, _, _ in os.walk(server.home) if not _inside(top, "environments", "jobs", "deployments")
    ]
    assert {
        str(folder): oct(folder.stat().st_mode) for folder in folders if stat.S_IMODE(folder.stat().st_mode) & 0o077
    } == {}


def test_no_secret_is_logged(server: ZaffreServer) -> None:
    text = b"".join(path.read_bytes() for path in (server.home / "logs").iterdir() if path.is_file())
    for secret in (server.credentials["api_key"], "sig=", "Bearer ey"):
        assert secret.encode() not in text


def address(server: ZaffreServer, route: Route) -> str:
    """A path of the route, in the default workspace."""
    parts = server.scope.split("/")
    values = {"subscriptionId": parts[2], "resourceGroupName": parts[4], "workspaceName": parts[8]}
    return re.sub(r"\{(\w+)\*?\}", lambda match: values.get(match[1], "x"), route.template)


def _first_line(server: ZaffreServer, job: str) -> str:
    def look() -> str:
        details = server.request("GET", f"/history/v1.0{server.scope}/runs/{job}/details").json
        return server.job_log(job) if "user_logs/std_log.txt" in details["logFiles"] else ""

    return eventually(look, bool, what=f"the first line of {job}").splitlines()[0]


def _inside(folder: str, *names: str) -> bool:
    return any(f"/home/{name}" in folder for name in names)


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _hs256(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    text = f"{_part(header)}.{_part(claims)}"
    return (
        text
        + "."
        + base64.urlsafe_b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
    )
