"""`zaffre login` and `zaffre logout`: whom to trust, how a key gets in, and what is kept."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
from click.testing import CliRunner, Result

from tests.support.https_server import HttpsServer, https_server, unused_port
from zaffre import profiles
from zaffre.cli import trust
from zaffre.cli.login import command as login
from zaffre.cli.logout import command as logout
from zaffre.cli.status import command as status
from zaffre.profiles import ClientError
from zaffre.remote import Remote, RemoteError

KEY = "zf_a-key"
ME = {"name": "ada", "role": "Owner", "keyId": "0" * 16, "subscription": "s", "resourceGroup": "g", "workspace": "w"}


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ZAFFRE_HOME", "ZAFFRE_PROFILE", "XDG_CONFIG_HOME", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    return tmp_path / "user"


@pytest.fixture
def far(tmp_path: Path) -> Iterator[HttpsServer]:
    """A server whose authority this machine does not know."""
    with https_server(tmp_path / "far") as running:
        running.answers |= {
            "/healthz": (200, {}),
            "/zaffre/v1/me": (200, ME),
            "/metadata/ca": (200, (tmp_path / "far" / "ca" / "ca.pem").read_bytes()),
        }
        yield running


@pytest.fixture
def fingerprint(tmp_path: Path, far: HttpsServer) -> str:
    return trust.fingerprint_of((tmp_path / "far" / "ca" / "ca.pem").read_text())


def sign_in(*arguments: str, key: str = KEY + "\n") -> Result:
    return CliRunner().invoke(login, arguments, input=key)


def keys_sent(server: HttpsServer) -> list[str]:
    return [headers["authorization"] for _, _, headers, _ in server.asked if "authorization" in headers]


def test_by_the_fingerprint(far: HttpsServer, fingerprint: str, user: Path) -> None:
    address = far.profile.address
    result = sign_in(address, "--name", "lab", "--fingerprint", fingerprint.lower())
    assert result.exit_code == 0, (result.output, result.exception)
    assert f"You are ada (Owner) at {address}" in result.stdout and KEY not in result.output
    found = profiles.load("lab")
    assert (found.address, found.api_key, found.home) == (address, KEY, None)
    assert (found.subscription, found.resource_group, found.workspace) == ("s", "g", "w")
    path = user / ".config" / "zaffre" / "lab"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    # Its authority and the public roots: the user's other HTTPS calls go on.
    roots = Path(found.bundle).read_text()
    assert Path(certifi.where()).read_text().strip() in roots and roots.count("Written by `zaffre login`") == 1
    assert Remote(found).call("GET", "/healthz") == {}
    assert profiles.resolve() == found  # the only one there is
    assert keys_sent(far) == [f"Bearer {KEY}"] * 2


def test_nothing_is_sent_to_a_server_that_is_not_the_one_meant(far: HttpsServer, fingerprint: str) -> None:
    wrong = fingerprint[:-2] + ("00" if fingerprint[-2:] != "00" else "11")
    result = sign_in(far.profile.address, "--fingerprint", wrong)
    assert isinstance(result.exception, ClientError) and "somebody stands in between" in str(result.exception)
    assert keys_sent(far) == [] and profiles.names() == []


def test_without_a_terminal_an_unknown_authority_is_not_trusted(far: HttpsServer, fingerprint: str) -> None:
    result = sign_in(far.profile.address)
    assert isinstance(result.exception, ClientError) and f"--fingerprint {fingerprint}" in str(result.exception)
    assert keys_sent(far) == [] and profiles.names() == []


@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_the_user_is_asked(
    far: HttpsServer, fingerprint: str, monkeypatch: pytest.MonkeyPatch, answer: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(trust, "_is_terminal", lambda: True)
    key = tmp_path / "key"
    key.write_text(f"  {KEY}\n")
    result = CliRunner().invoke(login, [far.profile.address, "--key-file", str(key)], input=answer + "\n")
    assert fingerprint in result.stderr
    if answer == "y":
        assert result.exit_code == 0 and profiles.load("localhost").api_key == KEY
    else:
        assert isinstance(result.exception, ClientError) and keys_sent(far) == [] and profiles.names() == []


def test_by_a_file_of_the_authority(far: HttpsServer, tmp_path: Path) -> None:
    result = sign_in(far.profile.address, "--ca", str(tmp_path / "far" / "ca" / "ca.pem"))
    assert result.exit_code == 0, (result.output, result.exception)
    assert "/metadata/ca" not in {path for _, path, _, _ in far.asked}
    with https_server(tmp_path / "other"):
        result = sign_in(far.profile.address, "--name", "x", "--ca", str(tmp_path / "other" / "ca" / "ca.pem"))
    assert isinstance(result.exception, ClientError) and "is not trusted" in str(result.exception)
    for content in ("nonsense", (tmp_path / "far" / "edge" / "tls" / "server.pem").read_text()):
        (tmp_path / "bad.pem").write_text(content)
        result = sign_in(far.profile.address, "--name", "x", "--ca", str(tmp_path / "bad.pem"))
        assert isinstance(result.exception, ClientError) and "is not one certificate" in str(result.exception)
    assert profiles.names() == ["localhost"]


def test_a_server_that_this_machine_trusts_already(
    far: HttpsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As behind a public certificate: no question, and no authority of its own is taken."""
    (tmp_path / "roots.pem").write_bytes((tmp_path / "far" / "ca" / "ca.pem").read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "roots.pem"))
    assert sign_in(far.profile.address).exit_code == 0
    assert "/metadata/ca" not in {path for _, path, _, _ in far.asked}


def test_a_key_that_is_refused_is_not_kept(far: HttpsServer, fingerprint: str) -> None:
    far.answers["/zaffre/v1/me"] = (401, {"error": {"message": "The API key is unknown."}})
    result = sign_in(far.profile.address, "--fingerprint", fingerprint)
    assert isinstance(result.exception, ClientError) and "is unknown" in str(result.exception)
    for nothing in ("", "\n", "two words\n"):
        result = sign_in(far.profile.address, "--fingerprint", fingerprint, key=nothing)
        assert isinstance(result.exception, ClientError) and "No API key was given" in str(result.exception)
    assert profiles.names() == []


def test_a_certificate_for_another_name(far: HttpsServer, tmp_path: Path) -> None:
    address = far.profile.address.replace("localhost", "127.0.0.2")
    result = sign_in(address, "--ca", str(tmp_path / "far" / "ca" / "ca.pem"))
    assert isinstance(result.exception, ClientError)


def test_a_profile_of_another_server_is_not_overwritten(far: HttpsServer, fingerprint: str) -> None:
    assert sign_in(far.profile.address, "--name", "lab", "--fingerprint", fingerprint).exit_code == 0
    assert sign_in(far.profile.address, "--name", "lab", "--fingerprint", fingerprint, key="zf_new").exit_code == 0
    assert profiles.load("lab").api_key == "zf_new"
    result = sign_in(f"https://localhost:{unused_port()}", "--name", "lab")
    assert isinstance(result.exception, ClientError) and "zaffre logout lab" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://ml.example.org:8443", "https://ml.example.org:8443"),
        ("https://ML.example.org/", "https://ml.example.org"),
        ("ml.example.org", "https://ml.example.org:8443"),
        ("10.0.0.5:9000", "https://10.0.0.5:9000"),
        ("https://[fd00::2]:8443", "https://[fd00::2]:8443"),
        ("http://ml.example.org", None),
        ("https://u:p@ml.example.org", None),
        ("https://ml.example.org/path", None),
        ("https://ml.example.org:99999", None),
        ("https://", None),
        ("a b", None),
    ],
)
def test_addresses(text: str, address: str | None) -> None:
    if address is not None:
        assert trust.address_of(text) == address
        return
    with pytest.raises(ClientError, match="is no address of a server"):
        trust.address_of(text)


def test_logout_forgets_and_can_revoke(far: HttpsServer, fingerprint: str, user: Path) -> None:
    assert sign_in(far.profile.address, "--name", "lab", "--fingerprint", fingerprint).exit_code == 0
    far.answers[f"/zaffre/v1/keys/{ME['keyId']}"] = (200, {})
    assert "Its key is revoked." in CliRunner().invoke(logout, ["--revoke"]).stdout
    assert far.asked[-1][0] == "DELETE"
    assert [path for path in (user / ".config" / "zaffre").rglob("*") if path.is_file()] == []
    for arguments, words in (([], "there is none"), (["lab"], "There is no profile 'lab'")):
        result = CliRunner().invoke(logout, arguments)
        assert isinstance(result.exception, ClientError) and words in str(result.exception)


def test_the_status_of_a_server_elsewhere(far: HttpsServer, fingerprint: str) -> None:
    assert sign_in(far.profile.address, "--name", "lab", "--fingerprint", fingerprint).exit_code == 0
    far.answers["/subscriptions"] = (200, {"value": []})
    shown = CliRunner().invoke(status, ["--profile", "lab"]).stdout
    assert far.profile.address in shown and "ada (Owner)" in shown and "pid" not in shown
    found = json.loads(CliRunner().invoke(status, ["--profile", "lab", "--json"]).stdout)
    assert found["running"] and found["jobs"] == []


def test_a_redirect_does_not_take_the_key_along(far: HttpsServer) -> None:
    far.answers["/moved"] = (302, b"")
    with pytest.raises(RemoteError) as caught:
        Remote(far.profile).call("GET", "/moved")
    assert caught.value.status == 302
