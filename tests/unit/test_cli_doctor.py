"""`zaffre doctor`: each thing that can be wrong is found, named, and has an advice; a good shell has no complaint."""

from __future__ import annotations

import datetime
import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import jwt
import msgspec
import pytest
from click.testing import CliRunner

from tests.support.https_server import HttpsServer, https_server, unused_port
from zaffre.cli.checks import answers, client, server
from zaffre.cli.checks.finding import Finding, Level
from zaffre.cli.checks.packages import packages
from zaffre.cli.doctor import command
from zaffre.edge import binary
from zaffre.edge.binary import NginxBinary
from zaffre.supervisor import client as supervisor
from zaffre.variables import client_variables


@pytest.fixture(autouse=True)
def plain_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, no profile and no home but those a test makes."""
    for name in (
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "ZAFFRE_HOME",
        "ZAFFRE_PROFILE",
        "XDG_CONFIG_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))


@pytest.fixture
def zaffre(tmp_path: Path) -> Iterator[HttpsServer]:
    """What a doctor asks of a server, answered as Zaffre does."""
    with https_server(tmp_path / "home") as running:
        running.answers |= good_answers(running)
        yield running


def good_answers(server: HttpsServer) -> dict[str, tuple[int, Any]]:
    address, scope = server.profile.address, server.profile.scope
    return {
        "/healthz": (200, {"status": "ok"}),
        "/readyz": (200, {"status": "ready"}),
        "/msi/token": (200, {"access_token": token(), "expires_on": "1"}),
        "/metadata/endpoints": (200, [{"name": "Zaffre", "resourceManager": address}]),
        f"/discovery{scope}": (200, {"api": address, "studio": address}),
        scope: (200, {"id": scope}),
        "/metrics": (200, b'zaffre_requests_total{operation="Jobs_Get",protocol="arm",status="200"} 3.0\n'),
    }


def token(ahead: int = 0, audience: str = "https://ml.azure.com") -> str:
    return jwt.encode({"aud": audience, "iat": int(time.time()) + ahead}, "k" * 32)


def wrongs(findings: list[Finding]) -> list[str]:
    return [one.text for one in findings if one.level is Level.WRONG]


def test_a_shell_after_zaffre_env_is_good(zaffre: HttpsServer) -> None:
    findings = client.shell(zaffre.profile, client_variables(zaffre.profile))
    assert [one.level for one in findings] == [Level.GOOD]


def test_a_shell_that_is_not_pointed_at_it_is_only_told_so(zaffre: HttpsServer) -> None:
    (one,) = client.shell(zaffre.profile, {})
    assert one.level is Level.NOTE and "zaffre env" in one.advice


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ARM_CLOUD_METADATA_URL": None}, "asks management.azure.com"),
        ({"ARM_CLOUD_METADATA_URL": "https://localhost:1/metadata/endpoints"}, "its port may have changed"),
        ({"ARM_CLOUD_METADATA_URL": "{address}/nothing"}, "gives no list of clouds"),
        ({"AZUREML_CURRENT_CLOUD": "AzureCloud"}, "talks to Azure, not to Zaffre"),
        ({"AZUREML_CURRENT_CLOUD": "Elsewhere"}, "this server's cloud is Zaffre"),
        ({"REQUESTS_CA_BUNDLE": None}, "REQUESTS_CA_BUNDLE is not set"),
        ({"REQUESTS_CA_BUNDLE": certifi.where()}, "is not trusted with"),
        ({"REQUESTS_CA_BUNDLE": None, "CURL_CA_BUNDLE": certifi.where()}, "CURL_CA_BUNDLE: The certificate"),
        ({"SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE: The file of trusted roots /nowhere.pem is not there"),
        ({"IDENTITY_HEADER": None}, "are not both set"),
        ({"IDENTITY_ENDPOINT": "https://localhost:1/msi/token"}, "IDENTITY_ENDPOINT is https://localhost:1"),
        ({"MLFLOW_TRACKING_URI": "https://localhost:1/tracking"}, "which is not this server"),
        ({"MLFLOW_TRACKING_TOKEN": None}, "refused with 401"),
        ({"AZURE_CLIENT_ID": "i", "AZURE_CLIENT_SECRET": "s"}, "Set: AZURE_CLIENT_ID, AZURE_CLIENT_SECRET"),
        (
            {"AZURE_CLIENT_ID": "i", "AZURE_CLIENT_SECRET": "s", "AZURE_AUTHORITY_HOST": "{address}/"},
            "AZURE_TENANT_ID is not set: for every tenant but `adfs`",
        ),
        ({"IDENTITY_SERVER_THUMBPRINT": "x"}, "takes this for Service Fabric"),
        (
            {"IDENTITY_ENDPOINT": None, "MSI_ENDPOINT": "https://localhost:1/msi/token", "MSI_SECRET": "s"},
            "MSI_ENDPOINT is",
        ),
        ({"AZURE_TOKEN_CREDENTIALS": "dev"}, "leaves the managed identity out"),
        ({"AZUREML_DEV_URL_MFE": "x"}, "sends azure-ai-ml elsewhere"),
    ],
)
def test_what_is_wrong_in_a_shell(zaffre: HttpsServer, change: dict[str, str | None], words: str) -> None:
    env: dict[str, str | None] = {**client_variables(zaffre.profile), **change}
    given = {name: value.format(address=zaffre.profile.address) for name, value in env.items() if value is not None}
    findings = client.shell(zaffre.profile, given)
    (text,) = wrongs(findings)
    assert words in text
    assert all(one.advice for one in findings if one.level is Level.WRONG)


def test_other_ways_to_sign_in_are_good(zaffre: HttpsServer) -> None:
    """A service principal by the `adfs` authority, and the variables of an Azure ML compute."""
    variables = client_variables(zaffre.profile)
    plain = {name: value for name, value in variables.items() if not name.startswith("IDENTITY_")}
    address, key = zaffre.profile.address, zaffre.profile.api_key
    principal = {
        "AZURE_CLIENT_ID": "i",
        "AZURE_CLIENT_SECRET": "s",
        "AZURE_TENANT_ID": "adfs",
        "AZURE_AUTHORITY_HOST": address,
    }
    compute = {"MSI_ENDPOINT": f"{address}/msi/token", "MSI_SECRET": key}
    for more in (principal, compute, principal | variables):
        assert wrongs(client.shell(zaffre.profile, plain | more)) == []


def test_a_cache_of_the_sdk_is_noted(zaffre: HttpsServer) -> None:
    variables = client_variables(zaffre.profile) | {"AZURE_ML_CLI_PRIVATE_FEATURES_ENABLED": "true"}
    (one,) = client.shell(zaffre.profile, variables)
    assert one.level is Level.NOTE and "a cache of its own" in one.text and one.advice


def test_a_server_that_calls_itself_otherwise_sends_the_sdk_to_azure(zaffre: HttpsServer) -> None:
    zaffre.answers["/metadata/endpoints"] = (200, [{"name": "Zaffre", "resourceManager": "https://other:1"}])
    (text,) = wrongs(client.shell(zaffre.profile, client_variables(zaffre.profile)))
    assert "falls back to the public cloud" in text


def test_a_proxy_in_the_way_is_found(zaffre: HttpsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert "to a proxy" in wrongs(client.shell(zaffre.profile, {}))[0]
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert wrongs(client.shell(zaffre.profile, {})) == []


def test_a_shell_whose_server_is_gone() -> None:
    (text,) = wrongs(client.without_server({"AZUREML_CURRENT_CLOUD": "Zaffre"}))
    assert "Unknown cloud environment" in text
    (text,) = wrongs(client.without_server({"ARM_CLOUD_METADATA_URL": "https://localhost:1/x"}))
    assert "public cloud" in text
    assert client.without_server({}) == []


def test_a_good_server_is_said_to_be_good(zaffre: HttpsServer) -> None:
    findings, running = server.server(zaffre.profile)
    assert running == zaffre.profile and {one.level for one in findings} == {Level.GOOD}
    assert any("days" in one.text for one in findings)


def test_a_certificate_that_expires_soon_is_noted(tmp_path: Path) -> None:
    with https_server(tmp_path, now=datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=390)) as old:
        old.answers |= good_answers(old)
        findings, _ = server.server(old.profile)
    assert any(one.level is Level.NOTE and "expires in" in one.text for one in findings)


@pytest.mark.parametrize(("days", "words"), [(420, "certificate has expired"), (0, "is not trusted")])
def test_a_certificate_that_is_not_trusted_ends_the_matter(tmp_path: Path, days: int, words: str) -> None:
    with https_server(tmp_path, now=datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)) as bad:
        profile = bad.profile if days else msgspec.structs.replace(bad.profile, bundle=certifi.where())
        findings, running = server.server(profile)
    assert running is None and words in findings[-1].text and findings[-1].advice


def test_a_key_that_is_refused_is_named(zaffre: HttpsServer) -> None:
    zaffre.answers["/msi/token"] = (
        401,
        {"error": "AuthenticationFailed", "error_description": "The API key is unknown."},
    )
    findings, _ = server.server(zaffre.profile)
    assert wrongs(findings) == ["The key of this profile is refused: The API key is unknown."]


@pytest.mark.parametrize(
    ("path", "answer", "level", "words"),
    [
        (
            "/msi/token",
            {"access_token": token(audience="https://ml.azure.com/"), "expires_on": "1"},
            "WRONG",
            "exactly",
        ),
        ("/msi/token", {"access_token": "opaque", "expires_on": "1"}, "WRONG", "not what azure-ai-ml decodes"),
        ("/msi/token", {"access_token": "a.b.c", "expires_on": "1"}, "WRONG", "not what azure-ai-ml decodes"),
        ("/msi/token", {"ahead": -900}, "WRONG", "s ahead of the server's"),
        ("/msi/token", {"ahead": 120}, "NOTE", "s behind the server's"),
        ("/discovery{scope}", {"api": "https://localhost:8443"}, "WRONG", "sends clients to https://localhost:8443"),
        ("/discovery{scope}", 401, "WRONG", "without a credential"),
        ("{scope}", 404, "NOTE", "There is no workspace 'default'"),
        ("{scope}", {"id": "{lower}"}, "WRONG", "another spelling"),
        (
            "/metrics",
            b'zaffre_requests_total{operation="Jobs_Get",protocol="arm",status="500"} 2.0',
            "NOTE",
            "Jobs_Get (2)",
        ),
        (
            "/metrics",
            b'zaffre_requests_total{operation="putBlob",protocol="blob",status="507"} 1.0',
            "NOTE",
            "disk is full",
        ),
    ],
)
def test_what_is_wrong_in_the_answers(zaffre: HttpsServer, path: str, answer: Any, level: str, words: str) -> None:
    scope = zaffre.profile.scope
    if isinstance(answer, dict) and answer.get("id") == "{lower}":
        answer = {"id": scope.replace("resourceGroups", "resourcegroups").replace("/workspaces/", "/Workspaces/")}
    if isinstance(answer, dict) and "ahead" in answer:  # made now: the tests before this one take their time
        answer = {"access_token": token(answer["ahead"]), "expires_on": "1"}
    status, body = (answer, {"error": {"message": "Not so."}}) if isinstance(answer, int) else (200, answer)
    zaffre.answers[path.format(scope=scope)] = (status, body)
    findings, running = server.server(zaffre.profile)
    assert running is not None
    (one,) = [one for one in findings if one.level is not Level.GOOD]
    assert one.level is Level[level] and words in one.text
    assert one.advice or "without a credential" in one.text


def test_the_answers_of_a_real_server(server_home: Any) -> None:
    """The doctor finds nothing to say of a server that is well, and the counts it reads are those of `/metrics`."""
    remote = server_home
    assert remote.request("GET", remote.scope).status == 200
    from zaffre import profiles

    found = answers.answers(profiles.require_running(profiles.of_home(remote.home)))
    assert [one.text for one in found if one.level is Level.WRONG] == []
    samples = answers._SAMPLE.findall(remote.request("GET", "/metrics").body.decode())
    assert {"Workspaces_Get", "Metrics_Get"} <= {operation for operation, status, _ in samples if status == "200"}


@pytest.fixture
def server_home(request: pytest.FixtureRequest) -> Any:
    """The session's server; the name `server` is a module here."""
    return request.getfixturevalue("server")


def test_a_secret_in_a_log_is_found(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    (logs / "server.log").write_text('{"message": "request", "path": "/x"}\n')
    assert not any("stands in" in text for text in wrongs(server.machine(tmp_path)))
    for secret in ("zf_" + "A" * 43, "Authorization: Bearer ey" + "A" * 40, "/x?se=1&sig=" + "A" * 43):
        (logs / "application.log").write_text(f"something\n{secret}\n")
        assert any(f"{logs / 'application.log'}" in text for text in wrongs(server.machine(tmp_path)))


@pytest.mark.parametrize(
    ("installed", "words"),
    [
        ({"azure-ai-ml": "1.27.1"}, "older than 1.28"),
        ({"azure-ai-ml": "1.99.0"}, "newer than"),
        ({"mlflow": "1.30.0"}, "mlflow 1.30.0 is older"),
        ({"azureml-dataprep": "5.1.6", "azure-identity": "1.27.0"}, "azureml-dataprep"),
        ({"azureml-dataprep": "5.1.6", "azure-identity": "1.17.0"}, ""),
        ({"azure-ai-ml": "1.35.2", "mlflow-skinny": "3.15.0", "azure-identity": "1.27.0"}, ""),
        ({"azure-ai-ml": "odd"}, ""),
        ({}, ""),
    ],
)
def test_versions_of_the_clients(installed: dict[str, str], words: str) -> None:
    findings = packages(installed.get)
    assert bool(findings) == bool(words) and all(words in one.text and one.level is Level.NOTE for one in findings)


def test_a_port_that_somebody_else_holds_is_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (home / "run" / "address.json").write_text(json.dumps({"port": port, "hosts": ["127.0.0.1"]}))
        profile = msgspec.structs.replace(_nobody(), home=str(home))
        findings, running = server.server(profile)
    assert running is None
    texts = wrongs(findings)
    assert "No Zaffre runs on" in texts[0] and f"Port {port} is not free" in texts[1]
    findings, _ = server.server(profile)
    assert len(wrongs(findings)) == 1


def test_little_room_and_open_files_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)  # whatever the umask of this process is
    (home / "credentials").touch()
    (home / "credentials").chmod(0o644)
    assert str(home / "credentials") in next(one.text for one in server.machine(home) if one.level is Level.WRONG)
    home.chmod(0o700)
    (home / "credentials").chmod(0o600)
    assert wrongs(server.machine(home)) == []
    usage: Any = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**12, 10**12, 10**6))
    assert "Only 0.0 GiB are free" in wrongs(server.machine(home / "not" / "there"))[0]


def test_an_nginx_with_holes_is_wrong_only_where_others_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        binary, "find_nginx", lambda: NginxBinary(path=Path("/n"), version=(1, 18, 0), source="setting")
    )
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    assert wrongs(server.machine(tmp_path)) == []
    (run / "address.json").write_text(json.dumps({"hosts": ["127.0.0.1", "10.0.0.5"]}))
    assert "10.0.0.5 can be reached by others" in wrongs(server.machine(tmp_path))[0]


def test_a_missing_nginx_is_wrong_unless_none_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZAFFRE_NGINX", "/no/such/nginx")
    tmp_path.chmod(0o700)
    assert "does not run" in wrongs(server.machine(tmp_path))[0]
    monkeypatch.setattr(supervisor, "status", lambda _home: {"nginx": None})
    assert wrongs(server.machine(tmp_path)) == []


def test_the_command_ends_with_one_when_something_is_wrong(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--home", str(tmp_path)])
    assert result.exit_code == 1
    assert "WRONG  No Zaffre has run on" in result.stdout and "wrong." in result.stderr


def _nobody() -> Any:
    from zaffre.profiles import Profile

    return Profile(address=f"https://localhost:{unused_port()}", bundle="/b.pem", api_key="k")
