"""Assets in every form a client can give them: files, folders, tables, custom paths; models by type; environments by build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer

ARM = "api-version=2023-04-01-preview"
PATHS = "azureml://datastores/workspaceblobstore/paths"
TABLE = "paths:\n  - file: ./rows.csv\ntransformations:\n  - read_delimited: {delimiter: ','}\n"
MLMODEL = (
    "flavors:\n  python_function: {loader_module: mlflow.sklearn, python_version: 3.11}\n  sklearn: {code: null}\n"
)


@pytest.mark.parametrize(
    ("uri", "type_", "kept"),
    [
        (f"{PATHS}/custom/a.csv", "uri_file", f"{PATHS}/custom/a.csv"),
        (f"{PATHS}/custom", "uri_folder", f"{PATHS}/custom/"),
        ("https://example.org/data/titanic.csv", "uri_file", "https://example.org/data/titanic.csv"),
        ("wasbs://c@account.blob.core.windows.net/x", "uri_folder", "wasbs://c@account.blob.core.windows.net/x/"),
        ("abfss://c@account.dfs.core.windows.net/x/", "uri_folder", "abfss://c@account.dfs.core.windows.net/x/"),
    ],
)
def test_custom_paths(ml: Any, uri: str, type_: str, kept: str) -> None:
    from azure.ai.ml.entities import Data

    made = ml.data.create_or_update(Data(name=f"custom-{type_}", path=uri, type=type_))
    assert made.path.endswith(kept.removeprefix("azureml://")) and made.type == type_
    assert ml.data.get(made.name, made.version).path == made.path


def test_a_table_is_looked_into(server: ZaffreServer, ml: Any, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Data

    (tmp_path / "MLTable").write_text(TABLE)
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    made = ml.data.create_or_update(Data(name="table", path=str(tmp_path), type="mltable", skip_validation=True))
    assert made.path.endswith("/") and made.type == "mltable"
    answer = server.request("GET", f"{server.scope}/data/table/versions/1?{ARM}").json["properties"]
    assert answer["referencedUris"] == ["./rows.csv"]
    # Once more without what the SDK read out of it.
    body = {"properties": {"dataType": "mltable", "dataUri": made.path}}
    again = server.request("PUT", f"{server.scope}/data/table/versions/2?{ARM}", body)
    assert again.status == 201 and again.json["properties"]["referencedUris"] == ["./rows.csv"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "there is no"),
        ("paths: [", "not valid YAML"),
        ("just a text", "expected a mapping"),
        ("transformations: []", "paths"),
        ("paths: []", "each of 'paths'"),
        ("paths: [{color: red}]", "each of 'paths'"),
        ("paths: [{file: 7}]", "file"),
        ("paths: [{file: a}]\ntransformations: {a: b}", "transformations"),
    ],
)
def test_what_is_no_table_is_refused(server: ZaffreServer, ml: Any, tmp_path: Path, text: str | None, why: str) -> None:
    from azure.ai.ml.entities import Data

    (tmp_path / ("MLTable" if text is not None else "rows.csv")).write_text(text or "a,b")
    folder = ml.data.create_or_update(Data(name="no-table-folder", path=str(tmp_path), type="uri_folder"))
    body = {"properties": {"dataType": "mltable", "dataUri": folder.path}}
    answer = server.request("PUT", f"{server.scope}/data/no-table/versions/1?{ARM}", body)
    assert answer.status == 400 and why in answer.json["error"]["message"], answer.body
    assert "properties.dataUri" in answer.json["error"]["message"]
    assert server.request("GET", f"{server.scope}/data/no-table?{ARM}").status == 404


def test_an_mlflow_model_tells_its_flavors(ml: Any, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Model

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text(MLMODEL)
    made = ml.models.create_or_update(Model(name="flavored", path=str(tmp_path / "model"), type="mlflow_model"))
    assert set(made.flavors) == {"python_function", "sklearn"}
    assert made.flavors["python_function"]["loader_module"] == "mlflow.sklearn"
    assert (made.type, ml.models.get("flavored", "1").flavors) == ("mlflow_model", made.flavors)


def test_an_mlflow_model_without_its_file_is_refused(ml: Any, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import HttpResponseError

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("none")
    with pytest.raises(HttpResponseError, match="MLmodel"):
        ml.models.create_or_update(Model(name="unflavored", path=str(tmp_path / "model"), type="mlflow_model"))


def test_models_of_one_file_and_of_triton(ml: Any, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Model

    (tmp_path / "model.pt").write_bytes(b"weights")
    made = ml.models.create_or_update(Model(name="file", path=str(tmp_path / "model.pt"), stage="Development"))
    assert (made.type, made.stage, made.flavors) == ("custom_model", "Development", None)
    ml.models.download("file", "1", download_path=str(tmp_path / "down"))
    assert (tmp_path / "down" / "file" / "model.pt").read_bytes() == b"weights"
    triton = tmp_path / "repository" / "net" / "1"
    triton.mkdir(parents=True)
    (triton / "model.onnx").write_bytes(b"net")
    assert (
        ml.models.create_or_update(Model(name="triton", path=str(tmp_path / "repository"), type="triton_model")).type
        == "triton_model"
    )


def test_a_build_context_is_kept_under_its_whole_address(server: ZaffreServer, ml: Any, tmp_path: Path) -> None:
    """The SDK's join of the address loses the storage account (wire.md §7.2); the answer has it again."""
    from azure.ai.ml.entities import BuildContext, Environment

    (tmp_path / "Dockerfile").write_text("FROM python:3.11\n")
    built = Environment(name="built", build=BuildContext(path=str(tmp_path)))
    made = ml.environments.create_or_update(built)
    assert made.version == "1" and made.build.dockerfile_path == "Dockerfile"
    assert (
        made.build.path.startswith(f"{server.address}/zf")
        and ".blob.core.windows.net/azureml-blobstore-" in made.build.path
    )
    again = ml.environments.create_or_update(Environment(name="built", build=BuildContext(path=str(tmp_path))))
    assert again.version == "1", "the same context is the same version"
    ml.environments.archive("built", version="1")
    ml.environments.restore("built", version="1")
    # The other form of the address is the same context, too.
    body = {"properties": {"build": {"contextUri": made.build.path, "dockerfilePath": "Dockerfile"}}}
    assert server.request("PUT", f"{server.scope}/environments/built/versions/1?{ARM}", body).status == 200


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({}, "properties.image"),
        ({"image": "a", "build": {"contextUri": "https://github.com/a/b.git"}}, "properties.build"),
        ({"build": {}}, "contextUri"),
        ({"build": {"contextUri": "nowhere"}}, "properties.build.contextUri"),
        ({"build": {"contextUri": "/etc"}}, "properties.build.contextUri"),
        (
            {"build": {"contextUri": "https://github.com/a/b.git", "dockerfilePath": "../D"}},
            "properties.build.dockerfilePath",
        ),
        ({"build": {"contextUri": f"{PATHS}/none/"}}, "properties.build.dockerfilePath"),
        ({"image": "a", "osType": "Plan9"}, "properties.osType"),
        ({"image": "a", "condaFile": "dependencies: ["}, "properties.condaFile"),
        (
            {"image": "a", "inferenceConfig": {"livenessRoute": {"path": "/"}}},
            "properties.inferenceConfig.livenessRoute",
        ),
        ({"image": "a", "autoRebuild": "Sometimes"}, "properties.autoRebuild"),
    ],
)
def test_environments_that_cannot_be(server: ZaffreServer, properties: dict[str, Any], field: str) -> None:
    answer = server.request("PUT", f"{server.scope}/environments/cannot/versions/1?{ARM}", {"properties": properties})
    assert answer.status == 400 and field in answer.json["error"]["message"], answer.body
    assert server.request("GET", f"{server.scope}/environments/cannot?{ARM}").status == 404


def test_environments_with_all_their_fields(ml: Any) -> None:
    from azure.ai.ml.entities import Environment

    routes = {
        name: {"path": f"/{name}", "port": 8080} for name in ("liveness_route", "readiness_route", "scoring_route")
    }
    conda = {"name": "c", "channels": ["conda-forge"], "dependencies": ["python=3.11", {"pip": ["six"]}]}
    made = ml.environments.create_or_update(
        Environment(
            name="whole",
            image="python:3.11",
            conda_file=conda,
            inference_config=routes,
            tags={"a": "b"},
            description="d",
        )
    )
    found = ml.environments.get("whole", "1")
    assert (found.conda_file, found.inference_config, found.os_type) == (conda, made.inference_config, "Linux")
    assert (found.tags, found.description) == ({"a": "b"}, "d")
    assert found.inference_config["scoring_route"]["port"] == 8080 if isinstance(found.inference_config, dict) else True


def test_the_latest_environment_is_tried_first(ml: Any) -> None:
    """The same definition keeps its number, with new tags; another one gets the next (wire.md §5.3)."""
    from azure.ai.ml.entities import Environment

    versions = []
    for image, tags in (("python:3.11", {}), ("python:3.11", {"new": "tag"}), ("python:3.12", {}), ("python:3.11", {})):
        versions.append(
            ml.environments.create_or_update(Environment(name="latest-first", image=image, tags=tags)).version
        )
    assert versions == ["1", "1", "2", "3"]
    assert ml.environments.get("latest-first", "1").tags == {"new": "tag"}
