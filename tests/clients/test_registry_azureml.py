"""The registry `azureml` by the SDK: read-only, and its curated environments by every name a job may use."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer

NAME = "sklearn-1.5"
ID = f"azureml://registries/azureml/environments/{NAME}/versions/1"


@pytest.fixture(scope="module")
def registry(client_environment: ZaffreServer) -> Any:
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    return MLClient(DefaultAzureCredential(), registry_name="azureml")


def test_its_environments_are_listed_and_found(registry: Any) -> None:
    names = {one.name: one.latest_version for one in registry.environments.list()}
    assert names[NAME] == "1" and len(names) > 3
    assert [(one.name, one.version) for one in registry.environments.list(name=NAME)] == [(NAME, "1")]
    newest, pinned = registry.environments.get(NAME, label="latest"), registry.environments.get(NAME, version="1")
    assert newest.id == pinned.id == ID
    assert newest.image == f"mcr.microsoft.com/azureml/curated/{NAME}:1" and "scikit-learn" in newest.description
    assert (
        registry.environments.get("minimal-py311-inference", version="1").inference_config["scoringRoute"]["port"]
        == 5001
    )


def test_there_is_nothing_else_in_it(registry: Any) -> None:
    for assets in (registry.components, registry.models, registry.data):
        assert list(assets.list()) == []
    with pytest.raises(Exception, match="There is no model 'gpt' in the registry 'azureml'"):
        registry.models.get("gpt", version="1")
    with pytest.raises(Exception, match=f"There is no environment 'other'.*{NAME}"):
        registry.environments.get("other", version="1")
    with pytest.raises(Exception, match="has no version 'x'"):
        registry.environments.get(NAME, version="x")


def test_it_is_a_resource_of_every_group(ml: Any) -> None:
    found = ml.registries.get("azureml")
    assert found.name == "azureml" and found.discovery_url.endswith("/registries/azureml/discovery")
    assert [one.name for one in ml.registries.list()] == ["azureml"]
    with pytest.raises(Exception, match="There is no registry 'mine'"):
        ml.registries.get("mine")


def test_it_is_read_only(registry: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml.entities import Environment

    with pytest.raises(Exception, match="The registry 'azureml' is read-only"):
        registry.environments.create_or_update(Environment(name="mine", version="1", image="python:3.11"))
    path = "/mferp/managementfrontend/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices"
    answer = client_environment.request("DELETE", f"{path}/registries/azureml/environments/{NAME}/versions/1")
    assert (answer.status, answer.json["error"]["code"]) == (403, "RegistryReadOnly")
    assert client_environment.request("PUT", f"{path}/registries/other/environments/x", {}).status == 404


def test_another_registry_is_missed_by_name(client_environment: ZaffreServer) -> None:
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    with pytest.raises(Exception, match="There is no registry 'other' on this server; it has 'azureml'"):
        MLClient(DefaultAzureCredential(), registry_name="other").environments.get("x", version="1")


def test_a_workspace_knows_them_with_their_prefix(ml: Any) -> None:
    from azure.ai.ml.entities import Environment

    newest = ml.environments.get("AzureML-" + NAME, label="latest")
    assert newest.version == "1" and newest.id.endswith(f"/environments/AzureML-{NAME}/versions/1")
    assert ml.environments.get("AzureML-" + NAME, version="22").version == "22"
    with pytest.raises(Exception, match="cannot be changed"):
        ml.environments.create_or_update(Environment(name="AzureML-mine", version="1", image="python:3.11"))
    assert not [one.name for one in ml.environments.list() if one.name.startswith("AzureML-")]


@pytest.mark.parametrize(
    "name",
    [
        ID,
        f"azureml://registries/azureml/environments/{NAME}/labels/latest",
        f"AzureML-{NAME}@latest",
        f"azureml:AzureML-{NAME}:22",
    ],
)
def test_a_job_may_name_one_in_any_way(ml: Any, client_environment: ZaffreServer, name: str) -> None:
    """Submitted and cancelled at once: what the environment is made of is other tests' business."""
    from azure.ai.ml import command

    job = ml.jobs.create_or_update(command(command="true", environment=name, experiment_name="curated names"))
    assert NAME in job.environment
    ml.jobs.begin_cancel(job.name).wait()


def test_a_name_that_is_none_is_refused_at_the_door(ml: Any) -> None:
    from azure.ai.ml import command

    for name, message in (
        ("azureml://registries/azureml/environments/other/versions/1", "'other' is not among those"),
        ("azureml://registries/mine/environments/x/versions/1", "There is no registry 'mine'"),
        (f"AzureML-{NAME}:latest", "has no version 'latest'"),
    ):
        with pytest.raises(Exception, match=message):
            ml.jobs.create_or_update(command(command="true", environment=name))


def test_models_and_data_of_a_registry_are_missed_by_name(ml: Any) -> None:
    """Azure's own registry has models that many examples name; here the error says that there are none."""
    from azure.ai.ml import Input, command

    path = "azureml://registries/azureml/models/mistral/versions/1"
    job = command(command="ls ${{inputs.m}}", environment="AzureML-sklearn-1.5@latest", inputs={"m": Input(path=path)})
    with pytest.raises(Exception, match=r"inputs\.m\.uri.*no models in the registry 'azureml'.*'mistral'"):
        ml.jobs.create_or_update(job)
