"""Asking a server over HTTPS: trust, errors in the server's own words, and a key that goes nowhere else."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import certifi
import msgspec
import pytest

from tests.support.https_server import HttpsServer, https_server, unused_port
from zaffre.remote import Remote, RemoteError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpsServer]:
    with https_server(tmp_path) as running:
        yield running


def test_a_token_is_asked_for_with_the_key(server: HttpsServer) -> None:
    server.answers["/msi/token"] = (200, {"access_token": "t", "expires_on": "17"})
    assert Remote(server.profile).token("https://ml.azure.com") == ("t", 17)
    _, path, headers, _ = server.asked[0]
    assert path.endswith("&resource=https%3A%2F%2Fml.azure.com")
    assert headers["x-identity-header"] == "zf_key" and "authorization" not in headers


def test_a_missing_workspace_is_made_once(server: HttpsServer) -> None:
    remote, scope = Remote(server.profile), server.profile.scope
    server.answers[scope] = (200, {"name": "default"})
    assert remote.ensure_workspace() is False
    del server.answers[scope]
    with pytest.raises(RemoteError):  # this server does not make it
        remote.ensure_workspace()
    method, _, headers, body = server.asked[-1]
    assert (method, json.loads(body)) == ("PUT", {"properties": {}})
    assert headers["authorization"] == "Bearer zf_key"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "arm"}}, "arm"),
        ({"error": "code", "error_description": "oauth"}, "oauth"),
        ({"error_code": "X", "message": "mlflow"}, "mlflow"),
        (b"<html>", "answered 403 Forbidden"),
    ],
)
def test_an_error_is_said_in_the_servers_words(server: HttpsServer, body: object, words: str) -> None:
    server.answers["/x"] = (403, body)
    with pytest.raises(RemoteError, match=words) as caught:
        Remote(server.profile).call("GET", "/x")
    assert caught.value.status == 403


def test_something_else_on_the_port_is_not_taken_for_zaffre(server: HttpsServer) -> None:
    server.answers["/x"] = (200, b"hello")
    with pytest.raises(RemoteError, match="is it Zaffre"):
        Remote(server.profile).call("GET", "/x")


def test_the_key_is_not_sent_elsewhere(server: HttpsServer) -> None:
    for url in ("https://example.org/x", f"{server.profile.address}.example.org/x", f"{server.profile.address}0/x"):
        with pytest.raises(RemoteError, match="is not an address of"):
            Remote(server.profile).call("GET", url)


def test_a_proxy_is_passed_by_on_this_machine(server: HttpsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{unused_port()}")
    server.answers["/x"] = (200, [1])
    assert Remote(server.profile).call("GET", "/x") == {"value": [1]}


def test_why_a_server_cannot_be_reached(server: HttpsServer, tmp_path: Path) -> None:
    profile = server.profile
    for bundle, words in ((certifi.where(), "is not trusted with"), (str(tmp_path / "gone.pem"), "is not there")):
        with pytest.raises(RemoteError, match=words) as caught:
            Remote(profile, bundle=bundle).call("GET", "/x")
        assert caught.value.status == 0
    nobody = msgspec.structs.replace(profile, address=f"https://localhost:{unused_port()}")
    with pytest.raises(RemoteError, match="Nothing listens at"):
        Remote(nobody).call("GET", "/x")


def test_an_expired_certificate_is_named(tmp_path: Path) -> None:
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=420)
    with (
        https_server(tmp_path / "old", now=long_ago) as server,
        pytest.raises(RemoteError, match="certificate has expired"),
    ):
        Remote(server.profile).call("GET", "/x")
