"""`zaffre.connect()`: what it tells MLClient and what it leaves in the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

import zaffre
from tests.support.https_server import HttpsServer, https_server
from zaffre import profiles
from zaffre.client import Credential, cloud_metadata
from zaffre.profiles import ClientError
from zaffre.variables import client_variables


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsServer]:
    """A server remembered as the profile `here`, and a process without variables of its own."""
    import azure.ai.ml  # noqa: F401  it asks for clouds as it is loaded, and the server below knows none

    before = dict(os.environ)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "ARM_CLOUD_METADATA_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
    with https_server(tmp_path / "home") as running:
        profiles.save("here", running.profile)
        running.answers[running.profile.scope] = (200, {"name": "default"})
        running.answers["/metadata/endpoints"] = (200, [])
        yield running
    os.environ.clear()
    os.environ.update(before)


def test_the_client_is_microsofts_own_and_points_at_the_server(server: HttpsServer) -> None:
    from azure.ai.ml import MLClient

    ml = zaffre.connect(profile="here")
    assert type(ml) is MLClient
    assert ml._base_url == server.profile.address
    assert (ml.subscription_id, ml.resource_group_name, ml.workspace_name) == (
        server.profile.subscription,
        "zaffre",
        "default",
    )
    assert os.environ["REQUESTS_CA_BUNDLE"] == os.environ["SSL_CERT_FILE"] == server.profile.bundle
    assert os.environ["MLFLOW_TRACKING_TOKEN"] == "zf_key"
    assert os.environ["MLFLOW_TRACKING_URI"].startswith(f"{server.profile.address}/tracking/subscriptions/")


def test_under_zaffre_run_it_is_that_server_and_workspace(
    server: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles.save("default", server.profile)
    monkeypatch.setenv("ZAFFRE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    with https_server(tmp_path / "second") as second:
        told = second.profile.at("3f2a", "research", "churn")
        second.answers |= {told.scope: (200, {}), told.at(workspace="other").scope: (200, {})}
        second.answers["/metadata/endpoints"] = (200, [])
        for name, value in client_variables(told).items():
            monkeypatch.setenv(name, value)
        for ml, workspace in ((zaffre.connect(), "churn"), (zaffre.connect("other"), "other")):
            assert ml._base_url == second.profile.address
            assert (ml.subscription_id, ml.resource_group_name, ml.workspace_name) == ("3f2a", "research", workspace)
        with pytest.warns(UserWarning, match="does not hold"):  # the roots are the second one's
            assert zaffre.connect(profile="here")._base_url == server.profile.address
        profiles.save("default", second.profile)
        assert zaffre.connect().workspace_name == "churn"


def test_what_is_set_stays_set(server: HttpsServer) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = "file:/mine"
    os.environ["REQUESTS_CA_BUNDLE"] = certifi.where()  # ours was made from it, and holds it all
    zaffre.connect(profile="here")
    assert os.environ["MLFLOW_TRACKING_URI"] == "file:/mine" and "MLFLOW_TRACKING_TOKEN" not in os.environ
    assert os.environ["REQUESTS_CA_BUNDLE"] == server.profile.bundle


def test_roots_that_do_not_hold_ours_are_warned_of(server: HttpsServer, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    os.environ["REQUESTS_CA_BUNDLE"] = str(other)
    with pytest.warns(UserWarning, match="does not hold Zaffre's authority"):
        zaffre.connect(profile="here")
    assert os.environ["REQUESTS_CA_BUNDLE"] == str(other)
    both = tmp_path / "both.pem"
    both.write_text(other.read_text() + Path(server.profile.bundle).read_text())
    os.environ["REQUESTS_CA_BUNDLE"] = str(both)
    zaffre.connect(profile="here")
    assert os.environ["REQUESTS_CA_BUNDLE"] == str(both)


def test_two_servers_in_one_process_stay_two(server: HttpsServer, tmp_path: Path) -> None:
    with https_server(tmp_path / "second") as second:
        profiles.save("second", second.profile)
        second.answers |= {second.profile.scope: (200, {}), "/metadata/endpoints": (200, [])}
        first = zaffre.connect(profile="here")
        with pytest.warns(UserWarning, match="does not hold"):  # the first one's roots do not trust the second
            other = zaffre.connect(profile="second")
        again = zaffre.connect(profile="here")
        assert [ml._base_url for ml in (first, other, again)] == [
            server.profile.address,
            second.profile.address,
            server.profile.address,
        ]


def test_a_token_is_kept_until_shortly_before_its_end(server: HttpsServer) -> None:
    def answer(seconds: float) -> None:
        token = {"access_token": str(seconds), "expires_on": str(int(time.time() + seconds))}
        server.answers["/msi/token"] = (200, token)

    credential = Credential(server.profile)
    answer(200)
    assert credential.get_token("https://ml.azure.com/.default").token == "200"
    answer(3600)
    assert credential.get_token("https://ml.azure.com/.default", claims=None).token == "3600"
    answer(1)
    assert credential.get_token("https://ml.azure.com/.default").token == "3600"
    assert credential.get_token("https://storage.azure.com/.default").token == "1"


def test_the_cloud_has_the_six_facts() -> None:
    from azure.ai.ml._azure_environments import EndpointURLS

    wanted = {value for name, value in vars(EndpointURLS).items() if name.isupper()}
    assert set(cloud_metadata("https://localhost:1")) == wanted


def test_it_says_what_is_missing(server: HttpsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)
    with pytest.raises(ClientError, match=r"pip install 'zaffre\[sdk\]'"):
        zaffre.connect(profile="here")
    with pytest.raises(ClientError, match="There is no profile 'nowhere'"):
        zaffre.connect(profile="nowhere")
    with pytest.raises(AttributeError, match="no attribute 'disconnect'"):
        _ = zaffre.disconnect


def test_importing_zaffre_loads_nothing() -> None:
    code = "import sys, json; before = set(sys.modules); import zaffre; print(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert "zaffre.client" not in json.loads(done.stdout) and "msgspec" not in json.loads(done.stdout)
