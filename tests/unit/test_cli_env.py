"""`zaffre env` and `zaffre run`: the variables, quoted so that any shell takes them, and the files they leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from zaffre import profiles
from zaffre.cli.env import command as env
from zaffre.cli.run import command as run
from zaffre.profiles import Profile
from zaffre.remote import Remote
from zaffre.supervisor import client
from zaffre.variables import client_variables

NASTY = 'it\'s "$(touch x)" `y` \\ ü;\n& z'
NAMES = [
    "ARM_CLOUD_METADATA_URL",
    "AZUREML_CURRENT_CLOUD",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_TOKEN",
    "REGISTRY_DISCOVERY_ENDPOINT_URL",
    "AZURE_SUBSCRIPTION_ID",
    "AZURE_RESOURCE_GROUP",
    "AZUREML_WORKSPACE",
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose server is said to run, in a folder whose name a shell could stumble over."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in ("ZAFFRE_HOME", "ZAFFRE_PROFILE", "XDG_CONFIG_HOME", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "it's a $HOME"
    folder.mkdir()
    (folder / "credentials").write_text(json.dumps({"address": "https://localhost:1", "api_key": "zf_k"}))
    status = {"address": "https://localhost:7", "application": {"ready": True}}
    monkeypatch.setattr(client, "status", lambda _home: status)
    monkeypatch.chdir(tmp_path)
    return folder


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(env, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def in_a_shell(script: str, *, shell: str = "sh") -> dict[str, str]:
    """The environment of a shell after it has evaluated `script`."""
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    command = [shell, "-c", f'eval "$1"; exec "{sys.executable}" -c \'{code}\'', shell, script]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
    return found


def test_the_variables_are_those_the_clients_read(home: Path) -> None:
    lines = invoke("--home", str(home)).stdout.splitlines()
    assert [line.partition("=")[0] for line in lines] == [f"export {name}" for name in NAMES]
    found = in_a_shell("\n".join(lines))
    address = "https://localhost:7"  # of the running server, not of the file
    assert found["ARM_CLOUD_METADATA_URL"] == f"{address}/metadata/endpoints"
    assert found["REQUESTS_CA_BUNDLE"] == found["SSL_CERT_FILE"] == str(home / "bundle.pem")
    assert found["IDENTITY_HEADER"] == found["MLFLOW_TRACKING_TOKEN"] == "zf_k"
    assert found["MLFLOW_TRACKING_URI"] == (
        f"{address}/tracking/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/zaffre"
        "/providers/Microsoft.MachineLearningServices/workspaces/default"
    )
    assert found["REGISTRY_DISCOVERY_ENDPOINT_URL"] == f"{address}/"


def test_any_value_survives_a_shell(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Remote, "ensure_workspace", lambda self: True)
    result = invoke("--home", str(home), "--workspace", NASTY, "--resource-group", NASTY, "--subscription", NASTY)
    found = in_a_shell(result.stdout)
    assert found["AZUREML_WORKSPACE"] == found["AZURE_RESOURCE_GROUP"] == found["AZURE_SUBSCRIPTION_ID"] == NASTY
    assert not (tmp_path / "x").exists()
    assert "Made the workspace" in result.stderr and "Made" not in result.stdout


def test_another_workspace_is_made_and_the_default_one_is_not_asked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def ensure(remote: Remote) -> bool:
        made.append(remote._profile.scope)
        return True

    monkeypatch.setattr(Remote, "ensure_workspace", ensure)
    invoke("--home", str(home))
    assert made == []
    invoke("--home", str(home), "--workspace", "w", "--resource-group", "g")
    assert made == [profiles.of_home(home).at(None, "g", "w").scope]


def test_the_config_file_is_what_from_config_reads(home: Path, tmp_path: Path) -> None:
    for _ in range(2):
        result = invoke("--home", str(home), "--write-config")
    assert "config.json" in result.stderr and "config.json" not in result.stdout
    path = tmp_path / ".azureml" / "config.json"
    expected = {
        "subscription_id": "00000000-0000-0000-0000-000000000000",
        "resource_group": "zaffre",
        "workspace_name": "default",
    }
    assert json.loads(path.read_bytes()) == expected


@pytest.mark.parametrize("content", ['{"workspace_name": "production"}', "not json", "[]"])
def test_a_config_file_of_the_users_own_stays(home: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / ".azureml" / "config.json"
    path.parent.mkdir()
    path.write_text(content)
    result = CliRunner().invoke(env, ["--home", str(home), "--write-config"])
    assert result.exit_code == 1 and result.stdout == ""
    assert "names another workspace" in str(result.exception)
    assert path.read_text() == content


def test_stray_credentials_are_said_on_stderr(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "s")
    result = invoke("--home", str(home))
    assert "AZURE_CLIENT_SECRET is set" in result.stderr and "AZURE_CLIENT_SECRET" not in result.stdout


def test_a_used_profile_is_brought_up_to_date(home: Path) -> None:
    profiles.announce("lab", home)
    invoke("--profile", "lab")
    kept = json.loads(profiles.path_of("lab").read_bytes())
    assert kept["address"] == "https://localhost:7" and kept["api_key"] == "zf_k"


def test_run_becomes_the_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[tuple[str, tuple[str, ...], dict[str, str]]] = []
    monkeypatch.setattr("os.execvpe", lambda *what: became.append(what))
    arguments = ["--home", str(home), "python", "train.py", "--home", "x", "--help"]
    assert CliRunner().invoke(run, arguments).exit_code == 0
    name, given, environment = became[0]
    assert (name, given) == ("python", ("python", "train.py", "--home", "x", "--help"))
    expected = client_variables(msgspec.structs.replace(profiles.of_home(home), address="https://localhost:7"))
    assert expected.items() <= environment.items() and environment["HOME"]


@pytest.mark.parametrize(("what", "code"), [("there-is-no-such-command", 127), ("/", 126)])
def test_run_says_why_a_command_does_not_start(home: Path, what: str, code: int) -> None:
    result = CliRunner().invoke(run, ["--home", str(home), what])
    assert result.exit_code == code and what in result.stderr


def test_run_wants_a_command(home: Path) -> None:
    assert CliRunner().invoke(run, ["--home", str(home)]).exit_code == 2


def test_a_server_elsewhere_needs_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    far: dict[str, Any] = {"address": "https://ml.example.org", "bundle": "/b.pem", "api_key": "zf_r"}
    profiles.save("far", Profile(**far))
    found = in_a_shell(invoke("--profile", "far").stdout)
    assert found["IDENTITY_ENDPOINT"] == "https://ml.example.org/msi/token"
