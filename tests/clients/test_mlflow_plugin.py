"""azureml-mlflow, the plugin that a workspace's own tracking URI needs: outside a job, and inside one with the run's token."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.support.mlflow_flow import check, flow
from tests.support.zaffre_server import ZaffreServer


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
