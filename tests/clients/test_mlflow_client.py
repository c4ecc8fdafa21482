"""The unmodified mlflow against the gateway: from set_experiment to load_model."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LogisticRegression

from tests.support.mlflow_server import MlflowServer

FRAME = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [0.0, 1.0, 0.0, 1.0]})
TARGET = [0, 1, 0, 1]
# Given, so that mlflow does not start a process to find them out.
LOGGED: dict[str, Any] = {"serialization_format": "cloudpickle", "pip_requirements": ["scikit-learn"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("home"))
    before = dict(os.environ)
    os.environ.update(
        MLFLOW_TRACKING_URI=made.uri,
        MLFLOW_TRACKING_TOKEN=made.token,
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="1",
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
    )
    mlflow.set_tracking_uri(made.uri)
    yield made
    while mlflow.active_run():
        mlflow.end_run()
    os.environ.clear()
    os.environ.update(before)
    made.close()


@pytest.fixture
def client(server: MlflowServer, request: pytest.FixtureRequest) -> MlflowClient:
    mlflow.set_experiment(request.node.name)
    return MlflowClient()


def test_a_run_and_what_is_logged_to_it(client: MlflowClient, tmp_path: Path) -> None:
    with mlflow.start_run(run_name="first", tags={"k": "v"}, description="note") as run:
        mlflow.log_metric("loss", 1.0, step=1)
        mlflow.log_metric("loss", math.nan, step=2)
        mlflow.log_metric("loss", math.inf, step=3)
        mlflow.log_metrics({"x": 1.5, "y": 2}, step=5)
        mlflow.log_param("p", 1)
        mlflow.log_params({"q": "2", "r": [3]})
        mlflow.set_tags({"a": 1, "gone": 2})
        mlflow.delete_tag("gone")
        mlflow.log_input(mlflow.data.from_pandas(FRAME, name="frame"), context="training")
        with mlflow.start_run(run_name="child", nested=True) as child:
            mlflow.log_metric("loss", 7)
        with pytest.raises(MlflowException, match="already logged with value='1'"):
            mlflow.log_param("p", 2)
    found = client.get_run(run.info.run_id)
    assert (found.info.status, found.info.run_name, found.info.user_id is not None) == ("FINISHED", "first", True)
    assert found.data.metrics == {"loss": math.inf, "x": 1.5, "y": 2}
    assert found.data.params == {"p": "1", "q": "2", "r": "[3]"}
    assert (found.data.tags["a"], found.data.tags["mlflow.note.content"]) == ("1", "note")
    assert "gone" not in found.data.tags
    assert found.inputs.dataset_inputs[0].dataset.name == "frame"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in history] == [1, 2, 3] and math.isnan(history[1].value)
    assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == run.info.run_id


def test_a_run_that_fails_and_one_that_goes_on(client: MlflowClient) -> None:
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as run:
        _ = 1 / 0
    assert client.get_run(run.info.run_id).info.status == "FAILED"
    with mlflow.start_run(run_id=run.info.run_id):
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def test_artifacts(client: MlflowClient, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "ü f.txt").write_text("umlaut")
    (tree / "zeros.bin").write_bytes(bytes(3_000_000))
    with mlflow.start_run() as run:
        mlflow.log_text("hello", "texts/a.txt")
        mlflow.log_dict({"a": 1}, "d.json")
        mlflow.log_artifacts(str(tree), "tree")
        mlflow.log_artifact(str(tree / "zeros.bin"))
    run_id = run.info.run_id
    assert [one.path for one in client.list_artifacts(run_id)] == ["d.json", "texts", "tree", "zeros.bin"]
    assert [(one.path, one.file_size) for one in client.list_artifacts(run_id, "tree")] == [
        ("tree/sub", None),
        ("tree/zeros.bin", 3_000_000),
    ]
    assert client.list_artifacts(run_id, "d.json") == []
    copy = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(tmp_path / "copy")))
    assert (copy / "tree" / "sub" / "ü f.txt").read_text() == "umlaut"
    assert (copy / "tree" / "zeros.bin").read_bytes() == bytes(3_000_000)
    assert mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/d.json") == {"a": 1}


def test_a_model_is_logged_registered_and_loaded(client: MlflowClient) -> None:
    model = LogisticRegression().fit(FRAME, TARGET)
    with mlflow.start_run() as run:
        mlflow.log_metric("acc", 0.5)
        info = mlflow.sklearn.log_model(
            model, name="model", registered_model_name="iris", input_example=FRAME, **LOGGED
        )
        mlflow.log_metric("acc", 0.9, model_id=info.model_id)
    run_id = run.info.run_id
    again = mlflow.register_model(f"runs:/{run_id}/model", "iris", tags={"z": "1"})
    assert (again.version, again.run_id) == ("2", run_id)
    client.set_registered_model_alias("iris", "champion", "1")
    client.transition_model_version_stage("iris", "2", "Production")
    expected = list(model.predict(FRAME))
    for uri in (
        info.model_uri,
        f"models:/{info.model_id}",
        f"runs:/{run_id}/model",
        "models:/iris/1",
        "models:/iris/latest",
        "models:/iris@champion",
        "models:/iris/Production",
    ):
        assert list(mlflow.pyfunc.load_model(uri).predict(FRAME)) == expected, uri
    assert client.get_model_version("iris", "1").run_id == run_id
    assert mlflow.get_logged_model(info.model_id).metrics[0].value == 0.9
    assert [one.model_id for one in client.get_run(run_id).outputs.model_outputs] == [info.model_id]
    experiment = client.get_run(run_id).info.experiment_id
    found = mlflow.search_logged_models([experiment], filter_string="metrics.acc > 0.6", output_format="list")
    assert [one.model_id for one in found] == [info.model_id]


def test_the_registry(client: MlflowClient) -> None:
    client.create_registered_model("plain", tags={"a": "b"}, description="d")
    with pytest.raises(MlflowException) as raised:
        client.create_registered_model("Plain")
    assert raised.value.error_code == "RESOURCE_ALREADY_EXISTS"
    with mlflow.start_run() as run:
        mlflow.log_text("x", "files/a.txt")
    for number in ("1", "2", "3"):
        source = f"{run.info.artifact_uri}/files"
        assert client.create_model_version("plain", source, run.info.run_id).version == number
    client.update_model_version("plain", "1", "first")
    client.set_model_version_tag("plain", "1", "t", "u")
    client.set_registered_model_tag("plain", "c", "d")
    client.delete_registered_model_tag("plain", "a")
    client.set_registered_model_alias("plain", "best", "2")
    client.transition_model_version_stage("plain", "2", "Staging")
    client.transition_model_version_stage("plain", "3", "Staging", archive_existing_versions=True)
    stages = {one.version: one.current_stage for one in client.search_model_versions("name='plain'")}
    assert stages == {"1": "None", "2": "Archived", "3": "Staging"}
    assert {one.version for one in client.get_latest_versions("plain")} == {"1", "2", "3"}
    assert [one.version for one in client.get_latest_versions("plain", ["Staging"])] == ["3"]
    assert client.get_model_version_by_alias("plain", "best").version == "2"
    model = client.get_registered_model("plain")
    assert (model.description, model.tags, model.aliases) == ("d", {"c": "d"}, {"best": "2"})
    first = client.get_model_version("plain", "1")
    assert (first.description, first.tags, first.status) == ("first", {"t": "u"}, "READY")
    copied = client.copy_model_version("models:/plain/1", "copy")
    path = Path(mlflow.artifacts.download_artifacts(f"models:/copy/{copied.version}"))
    assert (path / "a.txt").read_text() == "x"
    assert [one.name for one in client.search_registered_models("name LIKE 'p%'")] == ["plain"]
    assert {one.name for one in client.search_registered_models()} >= {"plain", "copy"}
    found = client.search_model_versions(
        "name='plain' and tags.t = 'u'", order_by=["version_number ASC"], max_results=1
    )
    assert [one.version for one in found] == ["1"]
    client.delete_model_version("plain", "2")
    with pytest.raises(MlflowException, match="not found"):
        client.get_model_version_by_alias("plain", "best")
    client.delete_registered_model("plain")
    with pytest.raises(MlflowException, match="not found"):
        client.get_registered_model("plain")


def test_searching_runs(client: MlflowClient) -> None:
    for number in range(5):
        with mlflow.start_run(run_name=f"run {number}"):
            mlflow.log_metric("m", number % 3)
            mlflow.log_param("p", number)
    found = mlflow.search_runs(filter_string="metrics.m >= 1 and params.p != '1'", order_by=["metrics.m DESC"])
    assert list(found["params.p"]) == ["2", "4"]
    experiment = client.get_experiment_by_name("test_searching_runs")
    names: list[str] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id], max_results=2, page_token=token, order_by=["start_time ASC"]
        )
        names += [run.info.run_name for run in page]
        token = page.token
        if not token:
            break
    assert names == [f"run {number}" for number in range(5)]
    assert len(client.search_runs([experiment.experiment_id], "attributes.run_name LIKE 'run _'")) == 5


def test_experiments(client: MlflowClient) -> None:
    made = client.create_experiment("one", tags={"a": "b"})
    client.rename_experiment(made, "two")
    client.set_experiment_tag(made, "c", "d")
    assert client.get_experiment(made).tags == {"a": "b", "c": "d"}
    assert [one.name for one in client.search_experiments(filter_string="tags.c = 'd'")] == ["two"]
    client.delete_experiment(made)
    assert client.get_experiment(made).lifecycle_stage == "deleted"
    assert client.search_experiments(filter_string="name = 'two'") == []
    client.restore_experiment(made)
    run_id = client.create_run(made).info.run_id
    client.set_terminated(run_id, "KILLED")
    client.delete_run(run_id)
    assert client.search_runs([made]) == []
    client.restore_run(run_id)
    assert client.get_run(run_id).info.status == "KILLED"
    assert client.get_experiment("0").name == "Default"


def test_autolog(client: MlflowClient) -> None:
    mlflow.sklearn.autolog(log_models=False)
    try:
        with mlflow.start_run() as run:
            LogisticRegression(C=0.25).fit(FRAME, TARGET)
    finally:
        mlflow.sklearn.autolog(disable=True)
    found = client.get_run(run.info.run_id)
    assert found.data.params["C"] == "0.25"
    assert "training_score" in found.data.metrics


def test_nothing_was_asked_that_is_not_served(server: MlflowServer) -> None:
    """Runs last: whatever the tests above made mlflow ask was answered on purpose."""
    assert [one for one in server.operations_asked() if one[2] >= 405 or one[2] in (401, 403)] == []
