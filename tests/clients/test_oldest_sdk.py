"""The oldest azure-ai-ml that is supported, in an environment of its own, does what the newest does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import venvs
from tests.support.zaffre_server import ZaffreServer

SCRIPT = Path(__file__).parent / "scripts" / "sdk_flow.py"


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdk") / "oldest"
    return venvs.make(folder, "azure-ai-ml==1.28.*", "azure-identity", "opentelemetry-sdk<1.45")


def test_the_main_flows(client_environment: ZaffreServer, oldest: Path) -> None:
    server = client_environment
    variables = {
        **server.variables,
        "PATH": "/usr/bin:/bin",
        "HOME": str(server.home),
    }
    done = subprocess.run(
        [str(oldest), "-P", "-W", "ignore", str(SCRIPT), "oldest-sdk"],
        env=variables, cwd=server.home, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    assert "read ab" in done.stdout, "the job's log was not streamed"
    found = json.loads(done.stdout.partition("FOUND ")[2])
    assert found["version"].startswith("1.28.")
    assert found["workspace"] == server.credentials["workspace"]
    assert found["data"] == ["1", "1"]
    assert found["environment"] == ["1", ["1"]]
    assert found["status"] == "Completed"
    assert {Path(one).name for one in found["downloaded"]} >= {"std_log.txt", "end.txt", "twice.txt"}
    assert found["listed"] == 0, "an archived job is in no list"
    assert found["model"] == ["1", ["abab"]]
    assert found["registry"] == ["sklearn-1.5", "azureml://registries/azureml/environments/sklearn-1.5/versions/1"]
    assert found["endpoint"] == ["Succeeded", True]
    assert "only MLflow models are served without a scoring script" in found["refused"]


def test_workspaces_and_computes(client_environment: ZaffreServer, oldest: Path) -> None:
    server = client_environment
    variables = {**server.variables, "PATH": "/usr/bin:/bin", "HOME": str(server.home)}
    done = subprocess.run(
        [str(oldest), "-P", "-W", "ignore", str(SCRIPT.with_name("places_flow.py")), "oldest-place"],
        env=variables, cwd=server.home, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    found = json.loads(done.stdout.partition("FOUND ")[2])
    assert found.pop("version").startswith("1.28.")
    assert found == {
        "workspace": ["Shown", {"c": "d"}, "d", ["oldest-place"], "storageAccounts", True, ["Examined"]],
        "cluster": ["Standard_DS3_v2", 3, []],
        "instance": [["Running", "Stopped", "Running", "Running", "Stopped"], "Stop", "Week", ["Monday", "Friday"]],
        "attached": ["NotConnected", ["vm"]],
        "sizes": True,
        "left": [],
        "workspaces": [],
    }


def test_assets(client_environment: ZaffreServer, oldest: Path) -> None:
    server = client_environment
    done = subprocess.run(
        [str(oldest), "-P", "-W", "ignore", str(SCRIPT.with_name("sdk_assets.py")), "oldest-assets"],
        env={**server.variables, "PATH": "/usr/bin:/bin", "HOME": str(server.home)},
        cwd=server.home, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    assert json.loads(done.stdout.partition("FOUND ")[2]) == {
        "component": ["1", 27, True, "oldest_assets/labels/default", True, ["main.py"]],
        "archived": [["1", ["1"]], ["2", "1"], ["1", ["1"]], ["2", "1"], ["2", "1"]],
        "built": ["1", "1", True],
    }
