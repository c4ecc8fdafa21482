"""The command line against a running server, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.zaffre_server import ZaffreServer, eventually
from zaffre.supervisor import client, platform_linux

POINTERS = ("ARM_CLOUD", "AZUREML_", "IDENTITY_", "MLFLOW_", "ZAFFRE_", "AZURE_", "REGISTRY_")
ASK = """
import os
from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential
import mlflow

names = [os.environ[name] for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE")]
print(MLClient(DefaultAzureCredential(), *names).workspaces.get().id)
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.5)
print(mlflow.get_run(run.info.run_id).data.metrics)
"""


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """A user's environment with nothing of ours in it, and a home folder of its own."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(POINTERS) and not value.endswith("/bundle.pem")  # of the session's own server
    }
    return plain | {"HOME": str(tmp_path)}


def zaffre(*arguments: str, env: dict[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zaffre.cli.main", *arguments]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=180, check=False)


def test_a_script_runs_in_a_workspace_of_its_own(server: ZaffreServer, shell: dict[str, str]) -> None:
    names = ("--subscription", "sub-cli", "--resource-group", "cli (rg)", "--workspace", "cli-one")
    done = zaffre("run", "--home", str(server.home), *names, sys.executable, "-c", ASK, env=shell)
    assert done.returncode == 0, done.stderr
    assert "Made the workspace 'cli-one'" in done.stderr
    assert "/subscriptions/sub-cli/resourceGroups/cli (rg)/" in done.stdout and "{'loss': 0.5}" in done.stdout
    again = zaffre("env", "--home", str(server.home), *names, env=shell)
    assert again.returncode == 0 and "Made" not in again.stderr


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (("--workspace", "bad!name"), "not a valid name for workspaces"),
        (("--workspace", "good", "--resource-group", "a/b"), "not a valid name for a resource group"),
        (("--workspace", "good", "--subscription", "?"), "not a valid name for a subscription"),
    ],
)
def test_names_that_no_workspace_can_have_are_told(
    server: ZaffreServer, shell: dict[str, str], names: tuple[str, ...], word: str
) -> None:
    done = zaffre("env", "--home", str(server.home), *names, env=shell)
    assert done.returncode != 0 and done.stdout == "" and word in done.stderr and "Traceback" not in done.stderr


def test_a_shell_is_pointed_at_it_and_the_doctor_agrees(
    server: ZaffreServer, shell: dict[str, str], tmp_path: Path
) -> None:
    command = f"{sys.executable} -m zaffre.cli.main"
    script = f'eval "$({command} env --home "$1" --write-config)" && {command} doctor --home "$1"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(server.home)],
        env=shell,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The variables of this shell point at it." in done.stdout and "WRONG" not in done.stdout
    config = json.loads((tmp_path / ".azureml" / "config.json").read_bytes())
    assert config["workspace_name"] == server.credentials["workspace"]


def test_status_names_jobs_and_endpoints(server: ZaffreServer, shell: dict[str, str]) -> None:
    assert server.put_job("cli_sleeper", "sleep 600").status in (200, 201)
    try:
        found = json.loads(zaffre("status", "--json", "--home", str(server.home), env=shell).stdout)
        assert found["running"] and found["address"] == server.address and found["application"]["ready"]
        assert "cli_sleeper" in {job["name"] for job in found["jobs"]}
        lines = zaffre("status", "--home", str(server.home), env=shell).stdout
        assert server.address in lines and "cli_sleeper" in lines and "endpoints" in lines
    finally:
        server.request("POST", f"{server.scope}/jobs/cli_sleeper/cancel?api-version=2023-04-01-preview")
    server.wait_for_job("cli_sleeper")
    found = json.loads(zaffre("status", "--json", "--home", str(server.home), env=shell).stdout)
    assert "cli_sleeper" not in {job["name"] for job in found["jobs"]}


def test_connect_is_the_client_in_one_line(server: ZaffreServer, shell: dict[str, str]) -> None:
    code = (
        "import sys, zaffre\n"
        "ml = zaffre.connect('cli-two', home=sys.argv[1])\n"
        "print(ml.workspaces.get().name, sorted(store.name for store in ml.datastores.list()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(server.home)],
        env=shell,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "cli-two ['workspaceartifactstore', 'workspaceblobstore']"


def test_keys_and_principals_by_hand(server: ZaffreServer, shell: dict[str, str]) -> None:
    """What is printed is what a client signs in with, until it is taken back."""
    home = ("--home", str(server.home))
    made = zaffre("key", "create", "cli-key", "--expires", "90d", *home, env=shell)
    key = made.stdout.strip()
    assert made.returncode == 0 and key.startswith("zf_") and "not shown again" in made.stderr, made.stderr
    assert server.request("GET", server.scope, token=key).status == 200
    listed = zaffre("key", "list", *home, env=shell).stdout
    assert "cli-key" in listed and "owner" in listed and key not in listed
    taken = zaffre("key", "create", "cli-key", *home, env=shell)
    assert taken.returncode == 1 and "'cli-key' already" in taken.stderr and taken.stdout == ""
    assert zaffre("key", "create", "x", "--expires", "2020-01-01", *home, env=shell).returncode == 2
    assert zaffre("key", "revoke", "cli-key", *home, env=shell).returncode == 0
    assert server.request("GET", server.scope, token=key).status == 401

    made = zaffre("principal", "create", "cli-ci", "--role", "Reader", *home, env=shell)
    found = json.loads(made.stdout)
    form = {"grant_type": "client_credentials", "client_id": found["appId"], "client_secret": found["password"]}
    answer = server.request(
        "POST",
        f"/{found['tenant']}/oauth2/v2.0/token",
        urlencode({**form, "scope": "https://ml.azure.com/.default"}).encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        token=None,
    )
    assert answer.status == 200, answer.body
    second = zaffre("key", "create", "cli-ci-2", "--principal", "cli-ci", *home, env=shell).stdout.strip()
    assert "cli-ci" in zaffre("principal", "list", *home, env=shell).stdout
    assert zaffre("principal", "delete", "cli-ci", *home, env=shell).returncode == 0
    for one in (answer.json["access_token"], second, found["password"]):
        assert server.request("GET", server.scope, token=one).status == 401

    before = json.loads(zaffre("keys", "list", "--json", *home, env=shell).stdout)
    assert zaffre("keys", "rotate", *home, env=shell).returncode == 0
    after = json.loads(zaffre("keys", "list", "--json", *home, env=shell).stdout)
    assert [one["kid"] for one in after[1:]] == [one["kid"] for one in before] and after[0]["signs"]


def test_a_server_on_another_host(shell: dict[str, str], tmp_path: Path) -> None:
    """Reached by an address of this machine that is no loopback, with nothing but its name, a fingerprint and a key."""
    home = tmp_path / "far"
    addresses = platform_linux.own_addresses(4)
    host = addresses[0] if addresses else "127.0.0.2"
    shell = shell | {"NO_PROXY": host}
    arguments = ("--port", "0", "--detach", "--listen", host, "--name", host, "--allow-unsafe-nginx")
    started = zaffre("up", "--home", str(home), *arguments, env=shell)
    try:
        assert started.returncode == 0, started.stderr
        found = json.loads(zaffre("status", "--json", "--home", str(home), env=shell).stdout)
        address = f"https://{host}:{found['port']}"
        assert f"{host}:{found['port']}" in found["listen"]
        if addresses:
            assert f"zaffre login {address}" in started.stdout and found["authority"] in started.stdout
        key = tmp_path / "key"
        key.write_text(zaffre("key", "create", "laptop", "--home", str(home), env=shell).stdout)
        refused = zaffre("login", address, "--key-file", str(key), env=shell)
        assert refused.returncode == 1 and found["authority"] in refused.stderr
        done = zaffre(
            "login", address, "--name", "far", "--key-file", str(key), "--fingerprint", found["authority"], env=shell
        )
        assert done.returncode == 0, done.stderr
        asked = zaffre("run", "--profile", "far", "--workspace", "away", sys.executable, "-c", ASK, env=shell)
        assert asked.returncode == 0 and "{'loss': 0.5}" in asked.stdout, asked.stderr
        connected = subprocess.run(
            [sys.executable, "-c", "import zaffre; print(zaffre.connect('away', profile='far').workspaces.get().id)"],
            env=shell,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert connected.returncode == 0 and connected.stdout.strip().endswith("/workspaces/away"), connected.stderr
        assert address in zaffre("status", env=shell).stdout  # the only profile there is
        doctor = zaffre("doctor", "--profile", "far", env=shell)
        assert doctor.returncode == 0 and "The key is accepted." in doctor.stdout, doctor.stdout
        assert zaffre("logout", "far", "--revoke", env=shell).returncode == 0
        assert zaffre("status", "--profile", "far", env=shell).returncode == 1
        again = zaffre("login", address, "--key-file", str(key), "--fingerprint", found["authority"], env=shell)
        assert again.returncode == 1 and "revoked" in again.stderr
    finally:
        zaffre("down", "--home", str(home), env=shell)


def test_a_life_of_a_server_in_the_background(shell: dict[str, str], tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    started = zaffre("up", "--home", home, "--port", "0", "--detach", "--no-edge", "--profile", "lab", env=shell)
    try:
        assert started.returncode == 0 and "Zaffre is ready at https://localhost:" in started.stdout, started.stderr
        profile = tmp_path / ".config" / "zaffre" / "lab"
        assert json.loads(profile.read_bytes())["home"] == home and profile.stat().st_mode & 0o077 == 0
        assert "export IDENTITY_HEADER=zf_" in zaffre("env", "--profile", "lab", env=shell).stdout
        again = zaffre("up", "--home", home, "--detach", env=shell)
        assert again.returncode == 1 and "already running" in again.stderr
    finally:
        stopped = zaffre("down", "--home", home, env=shell)
    assert stopped.returncode == 0 and "Zaffre has stopped." in stopped.stdout
    gone = zaffre("env", "--profile", "lab", env=shell)
    assert gone.returncode == 1 and gone.stdout == "" and "zaffre up --home" in gone.stderr


def test_in_the_foreground_it_is_the_supervisor_itself(shell: dict[str, str], tmp_path: Path) -> None:
    """And what lies in the current folder is not taken for a module of the server's."""
    for name in ("json", "zaffre", "uvicorn"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    home = tmp_path / "home"
    script = Path(sys.executable).with_name("zaffre")
    running = subprocess.Popen(
        [script, "up", "--home", home, "--port", "0", "--no-edge", "--profile", "here"],
        env=shell,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line.startswith("Zaffre is ready at"), line
        status = eventually(lambda: client.status(home), lambda found: found is not None, what="the status")
        assert status is not None and status["pid"] == running.pid
        used = subprocess.run(
            [script, "env", "--profile", "here"], env=shell, capture_output=True, text=True, timeout=60, check=False
        )
        assert used.returncode == 0, used.stderr
    finally:
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=60)
    assert running.returncode == 0 and "Zaffre has stopped." in output
