"""azureml-mlflow, the plugin that a workspace's own tracking URI needs: outside a job, and inside one with the run's token."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer

SCRIPT = Path(__file__).parent / "scripts" / "mlflow_flow.py"


def flow(python: Path, server: ZaffreServer, name: str, uri: str) -> dict[str, Any]:
    """What the script found, run by `python` with the variables that `zaffre env` prints but for the tracking URI."""
    variables = {**server.variables, "MLFLOW_TRACKING_URI": uri, "PATH": "/usr/bin:/bin", "HOME": str(server.home)}
    if uri.startswith("azureml:"):
        del variables["MLFLOW_TRACKING_TOKEN"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    done = subprocess.run(
        [str(python), "-P", str(SCRIPT), name],
        env={**variables, **quiet},
        cwd=server.home,
        capture_output=True,
        text=True,
        timeout=180,
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
    assert all(answer == [2, 4] for answer in found["loaded"]), found["loaded"]


@pytest.fixture(scope="module")
def tracking_uri(ml: Any, client_environment: ZaffreServer) -> str:
    """As the SDK tells it."""
    return str(ml.workspaces.get(client_environment.credentials["workspace"]).mlflow_tracking_uri)


def test_the_workspaces_own_tracking_uri(client_environment: ZaffreServer, tracking_uri: str) -> None:
    assert tracking_uri.startswith("azureml://localhost:")
    found = flow(Path(sys.executable), client_environment, "plugin", tracking_uri)
    check(found)
    host = client_environment.address.removeprefix("https://")
    scope = client_environment.scope
    assert found["artifact_uri"] == (
        f"azureml://{host}/artifact/v2.0{scope}/experiments/plugin/runs/{found['run']}/artifacts"
    )
    assert found["second"].startswith("azureml://artifacts/LocalUpload/")


IN_JOB = """
import os, sys
import mlflow
from azureml.mlflow._common._authentication.azureml_token_authentication import AzureMLTokenAuthentication as Authentication

Authentication.EXPIRATION_THRESHOLD_IN_SECONDS = 10**9  # so that the token is renewed at once
before = os.environ["MLFLOW_TRACKING_TOKEN"]
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run() as run:
    assert run.info.run_id == os.environ["AZUREML_RUN_ID"], run.info
    mlflow.log_metric("inside", 4.5)
    mlflow.log_text("from the job", "inside.txt")
    with mlflow.start_run(nested=True, run_name="nested"):
        mlflow.log_param("depth", 2)
client = mlflow.MlflowClient()
# The platform knows the state of the job's own run; the plugin sends none.
assert client.get_run(run.info.run_id).info.status == "RUNNING"
auth = client._tracking_client.store.service_context.auth
assert auth.token.count(".") == 2 and auth.token != before
assert [one.path for one in client.list_artifacts(run.info.run_id) if one.path == "inside.txt"], "not listed"
print("nested runs:", len(mlflow.search_runs(filter_string=f"tags.mlflow.parentRunId = '{run.info.run_id}'")))
"""


def test_inside_a_job(ml: Any, client_environment: ZaffreServer, tracking_uri: str, code: Any, bare: Any) -> None:
    from azure.ai.ml import command

    job = ml.jobs.create_or_update(
        command(
            command=f"{sys.executable} -P inside.py '{tracking_uri}'",
            code=str(code(inside__py=IN_JOB)),
            environment=bare,
            experiment_name="plugin in a job",
        )
    )
    state = client_environment.wait_for_job(job.name)
    log = client_environment.job_log(job.name)
    assert state == "Completed", log
    assert "nested runs: 1" in log
    run = client_environment.request(
        "GET", f"/tracking{client_environment.scope}/api/2.0/mlflow/runs/get?run_id={job.name}"
    )
    assert run.json["run"]["info"]["status"] == "FINISHED"
    assert {one["key"]: one["value"] for one in run.json["run"]["data"]["metrics"]} == {"inside": 4.5}
