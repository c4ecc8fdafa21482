"""One run, one record; one model, one record: what either client does, the other sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import command
from azure.ai.ml.entities import Model
from azure.core.exceptions import ResourceNotFoundError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.support.zaffre_server import ZaffreServer

MLMODEL = "flavors:\n  python_function:\n    loader_module: x\n"


@pytest.fixture
def client(client_environment: ZaffreServer, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    uri = client_environment.variables["MLFLOW_TRACKING_URI"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return MlflowClient(uri, uri)


def test_capitals_of_a_name_stay(ml: Any, client: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    made = ml.models.create_or_update(Model(name="Plain-Model", path=tmp_path / "weights", type="custom_model"))
    assert made.name == "Plain-Model" == ml.models.get("plain-model", made.version).name
    again = ml.models.create_or_update(Model(name="PLAIN-model", path=tmp_path / "weights", type="custom_model"))
    assert again.name == "Plain-Model" and names(ml.models.list("plain-MODEL")) == ["Plain-Model"] * 2
    assert client.get_registered_model("plain-model").name == "Plain-Model"
    assert [one.name for one in client.search_model_versions("name = 'Plain-Model'")] == ["Plain-Model"] * 2


def test_a_name_that_only_mlflow_takes(ml: Any, client: MlflowClient) -> None:
    name = "Café au lait (v 2)"
    client.create_registered_model(name, tags={"by": "mlflow"})
    run = client.create_run("0").info
    client.log_text(run.run_id, MLMODEL, "model/MLmodel")
    made = client.create_model_version(name, f"{run.artifact_uri}/model", run.run_id)
    assert name in names(ml.models.list()) and names(ml.models.list(name)) == [name]
    seen = ml.models.get(name, made.version)
    assert seen.name == name
    seen.description = "told by the SDK"
    ml.models.create_or_update(seen)
    assert client.get_model_version(name, made.version).description == "told by the SDK"
    client.rename_registered_model(name, "renamed-by-mlflow")
    assert ml.models.get("renamed-by-mlflow", made.version).description == "told by the SDK"
    for wrong in ("a/b", "a:b", " ", "..", "x" * 256, "a\nb"):
        with pytest.raises(MlflowException):
            client.create_registered_model(wrong)


def names(found: Any) -> list[str]:
    return [one.name for one in found]


def test_a_job_is_a_run_for_mlflow(ml: Any, client_environment: ZaffreServer, client: MlflowClient, bare: Any) -> None:
    wish = command(command="true", environment=bare, experiment_name="truth", display_name="first", tags={"a": "sdk"})
    job = ml.jobs.create_or_update(wish)
    assert client_environment.wait_for_job(job.name) == "Completed"
    run = client.get_run(job.name)
    assert (run.info.run_name, run.info.status, run.data.tags["a"]) == ("first", "FINISHED", "sdk")
    # What MLflow changes, the SDK sees, and the other way round.
    client.update_run(job.name, name="second")
    client.set_tag(job.name, "b", "mlflow")
    client.set_tag(job.name, "mlflow.note.content", "words")
    client.log_metric(job.name, "late", 2.5)
    seen = ml.jobs.get(job.name)
    assert (seen.display_name, seen.description, seen.tags) == ("second", "words", {"a": "sdk", "b": "mlflow"})
    seen.display_name, seen.description, seen.tags["c"] = "third", "other words", "sdk again"
    ml.jobs.create_or_update(seen)
    run = client.get_run(job.name)
    assert run.info.run_name == "third" and run.data.metrics == {"late": 2.5}
    assert run.data.tags["mlflow.note.content"] == "other words" and run.data.tags["c"] == "sdk again"
    # A run below the job is its child.
    child = client.create_run(run.info.experiment_id, tags={"mlflow.parentRunId": job.name}, run_name="below")
    client.set_terminated(child.info.run_id, "KILLED")
    below = ml.jobs.get(child.info.run_id)
    assert (below.display_name, below.status) == ("below", "Canceled")
    assert names(ml.jobs.list(parent_job_name=job.name)) == [child.info.run_id]
    # What MLflow deletes is archived for the SDK; either brings it back.
    client.delete_run(child.info.run_id)
    assert names(ml.jobs.list(parent_job_name=job.name)) == []
    client.delete_run(job.name)
    assert job.name not in names(ml.jobs.list()) and job.name in names(ml.jobs.list(list_view_type="ArchivedOnly"))
    client.restore_run(job.name)
    assert job.name in names(ml.jobs.list())
    client.delete_run(job.name)
    ml.jobs.restore(job.name)
    assert client.get_run(job.name).info.lifecycle_stage == "active" and job.name in names(ml.jobs.list())
    # The SDK has no word for it, but ARM does: a deleted job is gone for both, with what was logged below it.
    path = f"{client_environment.scope}/jobs/{job.name}?api-version=2024-01-01-preview"
    assert client_environment.request("DELETE", path).status in (200, 202, 204)
    for gone in (job.name, child.info.run_id):
        with pytest.raises(MlflowException, match="not found"):
            client.get_run(gone)
        with pytest.raises(ResourceNotFoundError):
            ml.jobs.get(gone)


def test_a_run_of_mlflows_is_seen_by_the_sdk_and_by_history(
    ml: Any, client_environment: ZaffreServer, client: MlflowClient
) -> None:
    parent = client.create_run("0", tags={"k": "v", "mlflow.note.content": "note"}, run_name="outer").info.run_id
    child = client.create_run("0", tags={"mlflow.parentRunId": parent}, run_name="inner").info.run_id
    client.set_terminated(parent, "FAILED")
    job = ml.jobs.get(parent)
    assert (job.display_name, job.status, job.description) == ("outer", "Failed", "note")
    assert job.tags == {"k": "v"}
    assert names(ml.jobs.list(parent_job_name=parent)) == [child]
    history = f"/history/v1.0{client_environment.scope}/runs/{parent}"
    told = client_environment.request("GET", history).json
    assert (told["displayName"], told["status"], told["hidden"]) == ("outer", "Failed", False)
    changed = client_environment.request("PATCH", history, {"displayName": "by history", "tags": {"k": "w"}})
    assert changed.status == 200, changed.body
    run = client.get_run(parent)
    assert (run.info.run_name, run.data.tags["k"]) == ("by history", "w")
    client.delete_run(parent)
    assert client_environment.request("GET", history).json["hidden"] is True
    assert parent not in names(ml.jobs.list())  # it is no job, and was in no list


def test_a_model_is_one_for_both(ml: Any, client: MlflowClient, code: Callable[..., Path]) -> None:
    folder = code(MLmodel=MLMODEL)
    run = client.create_run("0").info.run_id
    client.log_artifacts(run, str(folder), "model")
    client.create_registered_model("both", {"owner": "mlflow"}, "a model")
    client.create_model_version("both", f"runs:/{run}/model", run, {"n": "1"}, description="one")
    with pytest.warns(FutureWarning, match="stages"):
        client.transition_model_version_stage("both", "1", "Production")
    first = ml.models.get("both", "1")
    assert (first.stage, first.tags, first.description, first.type) == ("Production", {"n": "1"}, "one", "mlflow_model")
    made = ml.models.create_or_update(
        Model(name="both", path=str(folder), type="mlflow_model", tags={"n": "2"}, stage="Staging", description="two")
    )
    assert made.version == "2"
    second = client.get_model_version("both", "2")
    assert (second.current_stage, second.tags, second.description) == ("Staging", {"n": "2"}, "two")
    first.stage, first.tags["more"], first.description = "Archived", "sdk", "changed"
    ml.models.create_or_update(first)
    seen = client.get_model_version("both", "1")
    assert (seen.current_stage, seen.description) == ("Archived", "changed")
    assert seen.tags == {"n": "1", "more": "sdk"}
    # Out of the lists and back, then gone: for both.
    client.set_registered_model_alias("both", "champion", "2")
    ml.models.archive("both", version="2")
    assert [one.version for one in client.search_model_versions("name='both'")] == ["1"]
    ml.models.restore("both", version="2")
    assert {one.version for one in client.search_model_versions("name='both'")} == {"1", "2"}
    client.delete_model_version("both", "1")
    assert [one.version for one in ml.models.list(name="both")] == ["2"]
    with pytest.raises(ResourceNotFoundError):
        ml.models.get("both", "1")
    client.delete_registered_model("both")
    assert "both" not in names(ml.models.list())


def test_what_arm_deletes_is_gone_for_mlflow(
    ml: Any, client_environment: ZaffreServer, client: MlflowClient, code: Callable[..., Path]
) -> None:
    for text in (MLMODEL, f"{MLMODEL}# again\n"):
        ml.models.create_or_update(Model(name="going", path=str(code(MLmodel=text)), type="mlflow_model"))
    client.set_registered_model_alias("going", "champion", "2")
    path = f"{client_environment.scope}/models/going"
    gone = client_environment.request("DELETE", f"{path}/versions/2?api-version=2024-04-01")
    assert gone.status in (200, 204), gone.body
    model = client.get_registered_model("going")
    assert model.aliases == {} and [one.version for one in client.search_model_versions("name='going'")] == ["1"]
    client_environment.request("DELETE", f"{path}?api-version=2024-04-01")
    assert "going" not in [one.name for one in client.search_registered_models()]
