"""Runs `tests/clients/scripts/mlflow_flow.py`, or another script like it, with any Python and tracking URI, and knows what it must find."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.zaffre_server import ZaffreServer

SCRIPT = Path(__file__).parent.parent / "clients" / "scripts" / "mlflow_flow.py"


def flow(
    python: Path, server: ZaffreServer, name: str, uri: str, *others: str, script: Path = SCRIPT
) -> dict[str, Any]:
    """What the script found, run by `python` with the variables that `zaffre env` prints but for the tracking URI."""
    variables = {**server.variables, "MLFLOW_TRACKING_URI": uri, "PATH": "/usr/bin:/bin", "HOME": str(server.home)}
    if uri.startswith("azureml:"):
        del variables["MLFLOW_TRACKING_TOKEN"]
    return run_script(
        python, script, {**variables, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}, name, *others, cwd=server.home
    )


def run_script(
    python: Path, script: Path, variables: dict[str, str], *arguments: str, cwd: Path | None = None
) -> dict[str, Any]:
    """What the script found: it prints `FOUND {…}`."""
    done = subprocess.run(
        [str(python), "-P", str(script), *arguments],
        env={**variables, "MLFLOW_DISABLE_TELEMETRY": "true"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    found: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    return found


def check(found: dict[str, Any]) -> None:
    """What the flow must find with any mlflow and either tracking URI."""
    assert found["status"] == "FINISHED"
    assert found["metrics"] == {"loss": 0.25, "acc": 0.75, "later": 1.5}
    assert found["params"] == {"p": "1", "q": "two", "r": "3"}
    assert found["parent"] == found["run"]
    assert found["history"] == [0.5, 0.25]
    assert set(found["root"]) >= {"notes", "tree", "ü b.json"}
    assert found["tree"] == ["tree/one.txt", "tree/sub"]
    assert found["copied"]["notes/a.txt"] == "second"
    assert found["copied"]["tree/sub/two.txt"] == found["text"] == "sub/two.txt"
    assert json.loads(found["copied"]["ü b.json"]) == {"a": 1}
    assert found["searched"] == [found["run"]]
    assert found["registered"] == ["1", found["run"]]
    assert all(answer == [2, 4] for answer in found["loaded"] + found["others"]), found
