"""azureml-mlflow, the plugin that a workspace's own tracking URI needs: outside a job, and inside one with the run's token."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.support.mlflow_flow import check, flow
from tests.support.zaffre_server import ZaffreServer


def test_the_workspaces_own_tracking_uri(
    client_environment: ZaffreServer, tracking_uri: str, uploaded_model: str
) -> None:
    assert tracking_uri.startswith("azureml://localhost:")
    found = flow(Path(sys.executable), client_environment, "plugin", tracking_uri, uploaded_model)
    check(found)
    assert found["endpoint"] == ["plugin", True, []]
    host = client_environment.address.removeprefix("https://")
    scope = client_environment.scope
    assert found["artifact_uri"] == (
        f"azureml://{host}/artifact/v2.0{scope}/experiments/plugin/runs/{found['run']}/artifacts"
    )
    assert found["second"].startswith("azureml://artifacts/LocalUpload/")
    # Plain mlflow is told the same places in its own words.
    base = f"/tracking{scope}/api/2.0/mlflow"
    run = client_environment.request("GET", f"{base}/runs/get?run_id={found['run']}").json["run"]
    assert run["info"]["artifact_uri"] == f"mlflow-artifacts:/ExperimentRun/dcid.{found['run']}"
    told = client_environment.request("GET", f"{base}/model-versions/get-download-uri?name=plugin&version=2").json
    where = told["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert where.startswith("LocalUpload/")
    proxy = f"/tracking{scope}/api/2.0/mlflow-artifacts/artifacts/{where}/MLmodel"
    assert b"python_function" in client_environment.request("GET", proxy).body


IN_JOB = """
import os, ssl, sys, urllib.request
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
token = {"Authorization": "Bearer " + os.environ["AZUREML_RUN_TOKEN"]}
for path in ("history/v1.0" + os.environ["AZUREML_EXPERIMENT_SCOPE"].replace(" ", "%20") + "/runs/" + run.info.run_id + "/token",
             "registrymanagement/v1.0/registries/azureml/discovery"):
    request = urllib.request.Request(os.environ["REGISTRY_DISCOVERY_ENDPOINT_URL"] + path, headers=token)
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    assert urllib.request.urlopen(request, context=context).status == 200, path
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
