"""The main job, by the clients alone: train, stream, track, register, deploy, score."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.clients.conftest import CONDA
from tests.support.zaffre_server import ZaffreServer, eventually

TRAIN = """
import mlflow
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

features, target = load_breast_cancer(return_X_y=True, as_frame=True)
model = LogisticRegression(max_iter=20).fit(features, target)
mlflow.log_param("max_iter", 20)
for step in range(5):
    mlflow.log_metric("accuracy", model.score(features, target), step=step)
mlflow.sklearn.log_model(model, name="model", input_example=features.head(2))
print("trained")
"""


@pytest.fixture(scope="module")
def trained(ml: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished training job."""
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    folder = tmp_path_factory.mktemp("train")
    (folder / "train.py").write_text(TRAIN)
    (folder / "conda.yml").write_text(CONDA)
    job = command(
        code=str(folder),
        command="python train.py",
        environment=Environment(
            image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04", conda_file=str(folder / "conda.yml")
        ),
        experiment_name="cancer",
        display_name="train cancer",
        tags={"team": "blue"},
    )
    submitted = ml.jobs.create_or_update(job)
    ml.jobs.stream(submitted.name)
    return ml.jobs.get(submitted.name)


@pytest.mark.slow
def test_training_is_one_record_for_sdk_and_mlflow(trained: Any, client_environment: ZaffreServer) -> None:
    import mlflow

    assert trained.status == "Completed"
    run = mlflow.get_run(trained.name)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train cancer"
    assert run.data.tags["team"] == "blue"
    assert run.data.params["max_iter"] == "20"
    assert 0.8 < run.data.metrics["accuracy"] <= 1
    history = mlflow.MlflowClient().get_metric_history(trained.name, "accuracy")
    assert [point.step for point in history] == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_registered_model_is_deployed_without_code_and_scores(ml: Any, trained: Any, tmp_path: Path) -> None:
    import mlflow
    from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint
    from sklearn.datasets import load_breast_cancer

    outputs = mlflow.get_run(trained.name).outputs
    made = mlflow.register_model(f"models:/{outputs.model_outputs[0].model_id}", "cancer")
    model = ml.models.get("cancer", label="latest")
    assert (model.version, model.type) == (made.version, "mlflow_model")

    endpoint = ml.online_endpoints.begin_create_or_update(
        ManagedOnlineEndpoint(name="cancer-1", auth_mode="key")
    ).result()
    assert endpoint.provisioning_state == "Succeeded"
    deployment = ManagedOnlineDeployment(
        name="blue", endpoint_name="cancer-1", model=model.id, instance_type="Standard_DS3_v2", instance_count=1
    )
    assert ml.online_deployments.begin_create_or_update(deployment).result().provisioning_state == "Succeeded"
    endpoint.traffic = {"blue": 100}
    assert ml.online_endpoints.begin_create_or_update(endpoint).result().traffic == {"blue": 100}

    features = load_breast_cancer(as_frame=True).data.head(3)
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"input_data": json.loads(features.to_json(orient="split"))}))
    answer = json.loads(ml.online_endpoints.invoke("cancer-1", request_file=str(request)))
    expected = mlflow.pyfunc.load_model(f"models:/cancer/{made.version}").predict(features)
    assert answer == [int(value) for value in expected]
    assert "POST /score 200" in ml.online_deployments.get_logs("blue", "cancer-1", lines=50)
    ml.online_endpoints.begin_delete("cancer-1").result()
    with pytest.raises(Exception, match="cancer-1"):
        ml.online_endpoints.get("cancer-1")


def test_stream_shows_every_line_once_and_download_brings_all(
    ml: Any, code: Callable[..., Path], bare: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from azure.ai.ml import Input, Output, command

    data = tmp_path / "data.csv"
    data.write_text("a,b\n1,2\n")
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "x.txt").write_text("deep")
    script = """
import os, pathlib, sys, time
data, folder, model, report = sys.argv[1:5]
while not os.path.exists(os.environ["GATE"]):
    time.sleep(0.05)
print("data", pathlib.Path(data).read_text().split())
print("folder", pathlib.Path(folder, "deep", "x.txt").read_text())
pathlib.Path(model, "weights.bin").write_bytes(b"123")
pathlib.Path(report).write_text("fine")
os.makedirs("outputs", exist_ok=True)
pathlib.Path("outputs/kept.txt").write_text("kept")
for number in range(200):
    print("line", number)
    if number % 50 == 0:
        time.sleep(0.2)
"""
    job = command(
        code=str(code(main__py=script)),
        command="python main.py ${{inputs.data}} ${{inputs.folder}} ${{outputs.model}} ${{outputs.report}} $[[--never ${{inputs.never}}]]",
        environment=bare,
        inputs={"data": Input(type="uri_file", path=str(data)), "folder": Input(type="uri_folder", path=str(folder))},
        outputs={"model": Output(type="uri_folder"), "report": Output(type="uri_file")},
        environment_variables={"GATE": str(tmp_path / "gate")},
        experiment_name="streams",
    )
    submitted = ml.jobs.create_or_update(job)
    # The SDK shows nothing of a job that is over when it first looks; so the job waits until it is looked at.
    shown_so_far = sys.stdout.getvalue  # type: ignore[attr-defined]  # capsys puts a buffer there
    opening = threading.Thread(
        target=lambda: (
            eventually(shown_so_far, lambda text: "RunId" in text, seconds=60) and (tmp_path / "gate").touch()
        )
    )
    opening.start()
    ml.jobs.stream(submitted.name)
    opening.join()
    shown = re.findall(r"^line (\d+)$", capsys.readouterr().out, re.MULTILINE)
    assert shown == [str(number) for number in range(200)]

    ml.jobs.download(submitted.name, download_path=str(tmp_path / "down"), all=True)
    found = {
        str(path.relative_to(tmp_path / "down")): path for path in (tmp_path / "down").rglob("*") if path.is_file()
    }
    assert found["artifacts/outputs/kept.txt"].read_text() == "kept"
    assert found["named-outputs/model/weights.bin"].read_bytes() == b"123"
    assert found["named-outputs/report/report"].read_text() == "fine"
    log = found["artifacts/user_logs/std_log.txt"].read_text()
    assert log.count("line ") == 200
    assert "data ['a,b', '1,2']" in log
    assert "folder deep" in log


def test_stream_shows_the_log_of_a_job_that_was_over_before(
    ml: Any, bare: Any, client_environment: ZaffreServer, capsys: pytest.CaptureFixture[str]
) -> None:
    from azure.ai.ml import command

    submitted = ml.jobs.create_or_update(command(command="echo quick as a flash", environment=bare))
    name = submitted.name
    eventually(lambda: client_environment.status(name), lambda state: state == "Completed", seconds=60)
    for _time in range(2):
        ml.jobs.stream(name)
        assert capsys.readouterr().out.count("\nquick as a flash\n") == 1
    assert ml.jobs.get(name).status == "Completed"
    shown = requests.get(submitted.studio_url, timeout=30)  # the address that stream prints as "Web View"
    assert shown.status_code == 501 and "no Studio yet" in shown.text
    # And those that MLflow prints, and the bare address.
    for address in (f"{os.environ['MLFLOW_TRACKING_URI']}/#/experiments/1/runs/2", client_environment.address):
        assert "no Studio yet" in requests.get(address, timeout=30).text


def test_a_failed_job_says_why(ml: Any, code: Callable[..., Path], bare: Any) -> None:
    from azure.ai.ml import command
    from azure.ai.ml.exceptions import JobException

    job = command(
        code=str(code(main__py="print('before')\nimport not_there\n")), command="python main.py", environment=bare
    )
    submitted = ml.jobs.create_or_update(job)
    with pytest.raises(JobException) as caught:
        ml.jobs.stream(submitted.name)
    text = str(caught.value)
    assert "exit code 1" in text
    assert "No module named 'not_there'" in text
    assert "add it to the conda file" in text
    assert ml.jobs.get(submitted.name).status == "Failed"


def test_cancel_ends_the_whole_process_tree(ml: Any, bare: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import command

    job = command(command="(setsid sleep 987654 &) ; echo started; sleep 987654", environment=bare)
    name = ml.jobs.create_or_update(job).name
    server = client_environment
    eventually(lambda: server.status(name), lambda state: state == "Running", seconds=60)
    ml.jobs.begin_cancel(name).result()
    assert ml.jobs.get(name).status == "Canceled"
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"987654" in _read(path)]
    assert left == []


def test_a_timeout_ends_the_job(ml: Any, bare: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import command
    from azure.ai.ml.entities import CommandJobLimits

    job = command(command="echo waiting; sleep 600", environment=bare)
    job.set_limits(timeout=1)
    assert CommandJobLimits is not None
    name = ml.jobs.create_or_update(job).name
    assert client_environment.wait_for_job(name) == "Failed"
    assert "longer than its limit of 1 seconds" in json.dumps(
        client_environment.request("GET", f"/history/v1.0{client_environment.scope}/runs/{name}/details").json
    )


def test_a_build_failure_ends_the_job_with_the_resolvers_words(
    ml: Any, tmp_path: Path, client_environment: ZaffreServer
) -> None:
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment
    from azure.ai.ml.exceptions import JobException

    (tmp_path / "conda.yml").write_text(
        "dependencies:\n  - python=3.11\n  - pip:\n    - surely-no-such-package-zaffre==1.0\n"
    )
    job = command(
        command="python -V", environment=Environment(image="python:3.11", conda_file=str(tmp_path / "conda.yml"))
    )
    submitted = ml.jobs.create_or_update(job)
    with pytest.raises(JobException, match="surely-no-such-package-zaffre"):
        ml.jobs.stream(submitted.name)
    # What the resolver said is a log of the job, shown by every client and kept with its artifacts.
    log = client_environment.job_log(submitted.name, "azureml-logs/20_image_build_log.txt")
    assert "surely-no-such-package-zaffre" in log
    ml.jobs.download(submitted.name, download_path=str(tmp_path / "down"))
    assert (tmp_path / "down/artifacts/azureml-logs/20_image_build_log.txt").read_text() == log


@pytest.mark.slow
def test_a_curated_environment_by_its_name(ml: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import command

    name = "azureml://registries/azureml/environments/minimal-py311-inference/labels/latest"
    job = ml.jobs.create_or_update(
        command(command="python -c 'import azureml_inference_server_http'", environment=name)
    )
    assert client_environment.wait_for_job(job.name, seconds=300) == "Completed"
    with pytest.raises(Exception, match="AzureML-nothing-9"):
        ml.jobs.create_or_update(command(command="true", environment="AzureML-nothing-9@latest"))


def test_jobs_are_listed_archived_and_described(ml: Any, bare: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import command

    name = ml.jobs.create_or_update(command(command="true", environment=bare, experiment_name="lists")).name
    client_environment.wait_for_job(name)
    assert name in [job.name for job in ml.jobs.list()]
    ml.jobs.archive(name)
    assert name not in [job.name for job in ml.jobs.list()]
    ml.jobs.restore(name)
    fetched = ml.jobs.get(name)
    fetched.display_name = "renamed"
    fetched.tags["late"] = "yes"
    ml.jobs.create_or_update(fetched)
    assert (ml.jobs.get(name).display_name, ml.jobs.get(name).tags["late"]) == ("renamed", "yes")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
