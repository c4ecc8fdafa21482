"""Assets, datastores and computes by the unmodified SDK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def test_the_workspace_has_what_the_sdk_needs(ml: Any) -> None:
    workspace = ml.workspaces.get(ml.workspace_name)
    assert workspace.name == ml.workspace_name
    assert workspace.mlflow_tracking_uri.startswith("azureml://")
    assert [found.name for found in ml.workspaces.list()] == [workspace.name]
    stores = {store.name for store in ml.datastores.list()}
    assert {"workspaceblobstore", "workspaceartifactstore"} <= stores
    assert ml.datastores.get_default().name == "workspaceblobstore"


def test_data_versions_count_up_and_never_change(ml: Any, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Data

    made = []
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text(str(number))
        made.append(
            ml.data.create_or_update(Data(name="numbers", path=str(tmp_path / f"{number}.csv"), type="uri_file"))
        )
    assert [data.version for data in made] == ["1", "2", "3"]
    assert ml.data.get("numbers", label="latest").version == "3"
    assert [data.version for data in ml.data.list("numbers")] == ["3", "2", "1"]
    assert "numbers" in [data.name for data in ml.data.list()]
    ml.data.archive("numbers", version="3")
    assert ml.data.get("numbers", label="latest").version == "2"


def test_folders_keep_their_trailing_slash(ml: Any, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Data

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    data = ml.data.create_or_update(Data(name="folder", path=str(tmp_path / "folder"), type="uri_folder"))
    assert ml.data.get("folder", data.version).path.endswith("/folder/")


def test_models_from_a_local_folder(ml: Any, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Model

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(bytes(1000))
    model = ml.models.create_or_update(
        Model(name="plain", path=str(tmp_path / "model"), type="custom_model", tags={"a": "b"})
    )
    assert model.version == "1"
    again = ml.models.get("plain", "1")
    assert (again.tags, again.type) == ({"a": "b"}, "custom_model")
    ml.models.download("plain", "1", download_path=str(tmp_path / "down"))
    assert (tmp_path / "down" / "plain" / "model" / "weights.bin").read_bytes() == bytes(1000)


def test_environments_are_kept_as_defined(ml: Any) -> None:
    from azure.ai.ml.entities import Environment

    first = ml.environments.create_or_update(Environment(name="env", image="python:3.11"))
    same = ml.environments.create_or_update(Environment(name="env", image="python:3.11"))
    other = ml.environments.create_or_update(Environment(name="env", image="python:3.12"))
    assert [first.version, same.version, other.version] == ["1", "1", "2"]
    assert ml.environments.get("env", "1").image == "python:3.11"


def test_a_cluster_is_a_record_with_an_honest_state(ml: Any) -> None:
    from azure.ai.ml.entities import AmlCompute

    made = ml.compute.begin_create_or_update(
        AmlCompute(name="cpu-cluster", size="Standard_DS3_v2", min_instances=0, max_instances=2)
    ).result()
    assert made.provisioning_state == "Succeeded"
    assert ml.compute.get("cpu-cluster").max_instances == 2
    assert "cpu-cluster" in [compute.name for compute in ml.compute.list()]
    ml.compute.begin_delete("cpu-cluster").result()
    with pytest.raises(Exception, match="cpu-cluster"):
        ml.compute.get("cpu-cluster")


def test_an_unknown_workspace_names_the_command_that_makes_it(ml: Any) -> None:
    from azure.ai.ml import MLClient
    from azure.core.exceptions import ResourceNotFoundError
    from azure.identity import DefaultAzureCredential

    other = MLClient(DefaultAzureCredential(), "my-sub", "my-group", "my-workspace")
    with pytest.raises(
        ResourceNotFoundError,
        match="zaffre env --subscription my-sub --resource-group my-group --workspace my-workspace",
    ):
        other.workspaces.get("my-workspace")


def test_what_is_not_served_says_so(ml: Any) -> None:
    with pytest.raises(Exception, match="does not serve the operation Schedules_List yet"):
        list(ml.schedules.list())


def test_a_model_is_not_packaged_and_is_told_so(ml: Any, tmp_path: Path) -> None:
    from azure.ai.ml.entities import AzureMLOnlineInferencingServer, Model, ModelPackage

    (tmp_path / "weights").write_text("w")
    ml.models.create_or_update(Model(name="unpackaged", path=str(tmp_path / "weights"), version="1"))
    wish = ModelPackage(target_environment="packed", inferencing_server=AzureMLOnlineInferencingServer())
    with pytest.raises(Exception, match="does not serve the operation ModelVersions_Package yet"):
        ml.models.package("unpackaged", "1", wish)
