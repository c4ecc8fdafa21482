"""Who made an asset, who uses it, and what a delete takes with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer, eventually

ARM = "api-version=2023-08-01-preview"


@pytest.fixture(scope="module")
def produced(ml: Any, bare: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A job that reads a data asset and leaves a model, `./outputs` and a file at a place of the user's own."""
    from azure.ai.ml import Input, Output, command
    from azure.ai.ml.entities import Data

    source = tmp_path_factory.mktemp("produced") / "numbers.csv"
    source.write_text("1,2,3")
    data = ml.data.create_or_update(Data(name="lineage-in", path=str(source), type="uri_file"))
    # The name of a datastore's path is the user's to choose; that the job writes there is all the server knows of it.
    job = ml.jobs.create_or_update(
        command(
            command="mkdir -p outputs && echo w > ${{outputs.model}}/weights && echo o > outputs/o.txt && "
            "echo c > ${{outputs.own}}/c.txt && cat ${{inputs.numbers}}",
            environment=bare,
            inputs={"numbers": Input(type="uri_file", path=data.id)},
            outputs={
                "model": Output(type="uri_folder"),
                "own": Output(type="uri_folder", path="azureml://datastores/workspaceblobstore/paths/lineage/own/"),
            },
        )
    )
    eventually(lambda: ml.jobs.get(job.name).status, lambda status: status == "Completed", seconds=120, what="the job")
    return job


def lineage(server: ZaffreServer, path: str) -> dict[str, list[tuple[str, str, str]]]:
    answer = server.request("GET", f"{server.scope}/{path}/lineage?{ARM}")
    assert answer.status == 200, answer.body
    for related in (one for side in answer.json.values() for one in side):
        assert server.request("GET", f"{related['id']}?{ARM}").status == 200, related
    return {side: [(one["type"], one["name"], one["role"]) for one in found] for side, found in answer.json.items()}


@pytest.mark.parametrize(
    ("uri", "role"),
    [
        ("azureml://jobs/{job}/outputs/model", "outputs.model"),
        ("azureml://jobs/{job}/outputs/artifacts/paths/outputs/", "artifacts"),
        ("runs:/{job}/outputs", "artifacts"),
        ("azureml://datastores/workspaceblobstore/paths/azureml/{job}/model/", "outputs.model"),
        ("azureml://datastores/workspaceblobstore/paths/lineage/own/", "outputs.own"),
        ("azureml://datastores/workspaceblobstore/paths/lineage/own/c.txt", "outputs.own"),
    ],
)
def test_models_know_the_job_that_made_them(server: ZaffreServer, ml: Any, produced: Any, uri: str, role: str) -> None:
    from azure.ai.ml.entities import Model

    made = ml.models.create_or_update(
        Model(name="lineage-model", path=uri.format(job=produced.name), type="custom_model")
    )
    found = ml.models.get("lineage-model", made.version)
    assert found._job_name == produced.name if hasattr(found, "_job_name") else found.job_name == produced.name
    sides = lineage(server, f"models/lineage-model/versions/{made.version}")
    assert sides == {"madeBy": [("jobs", produced.name, role)], "usedBy": [], "uses": []}
    assert ("models/versions", f"lineage-model/{made.version}", role) in lineage(server, f"jobs/{produced.name}")[
        "makes"
    ]


def test_data_from_a_job_is_kept_by_its_place(server: ZaffreServer, ml: Any, produced: Any, tmp_path: Path) -> None:
    from azure.ai.ml._artifacts._artifact_utilities import download_artifact_from_aml_uri
    from azure.ai.ml.entities import Data

    made = ml.data.create_or_update(
        Data(name="lineage-out", path=f"azureml://jobs/{produced.name}/outputs/model", type="uri_folder")
    )
    assert "/datastores/workspaceblobstore/paths/azureml/" in made.path and made.path.endswith("/model/")
    download_artifact_from_aml_uri(made.path, str(tmp_path / "down"), ml.datastores)
    assert [file.read_text() for file in (tmp_path / "down").rglob("weights")] == ["w\n"]
    assert lineage(server, "data/lineage-out/versions/1")["madeBy"] == [("jobs", produced.name, "outputs.model")]


def test_an_asset_knows_who_uses_it(server: ZaffreServer, ml: Any, produced: Any) -> None:
    used = lineage(server, "data/lineage-in/versions/1")["usedBy"]
    assert ("jobs", produced.name, "inputs.numbers.uri") in used
    uses = lineage(server, f"jobs/{produced.name}")["uses"]
    assert ("data/versions", "lineage-in/1", "inputs.numbers.uri") in uses
    assert any(type_ == "environments/versions" and role == "environmentId" for type_, _, role in uses)


def test_what_is_needed_is_not_deleted(server: ZaffreServer, ml: Any, bare: Any, code: Callable[..., Path]) -> None:
    from azure.ai.ml.entities import CommandComponent, Environment

    environment = ml.environments.create_or_update(Environment(name="needed", image="python:3.11"))
    ml.components.create_or_update(CommandComponent(name="needs", command="true", environment=environment.id))
    for path in ("environments/needed/versions/1", "environments/needed"):
        answer = server.request("DELETE", f"{server.scope}/{path}?{ARM}")
        assert answer.status == 409 and "components/versions 'needs/1'" in answer.json["error"]["message"], answer.body
    assert server.request("DELETE", f"{server.scope}/components/needs?{ARM}").status == 204
    assert server.request("DELETE", f"{server.scope}/environments/needed?{ARM}").status == 204
    assert server.request("GET", f"{server.scope}/environments/needed/versions/1?{ARM}").status == 404


def blobs(ml: Any, prefix: str) -> list[str]:
    """Names of the blobs of the workspace's store below a prefix."""
    from azure.ai.ml._artifacts._artifact_utilities import get_datastore_info
    from azure.ai.ml._utils._storage_utils import get_storage_client

    client = get_storage_client(**get_datastore_info(ml.datastores, "workspaceblobstore"))
    return [blob.name for blob in client.container_client.list_blobs(name_starts_with=prefix)]


def test_a_delete_takes_the_upload_that_nobody_else_names(server: ZaffreServer, ml: Any, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Data, Model

    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "file.bin").write_bytes(b"shared by two assets")
    data = ml.data.create_or_update(Data(name="reclaimed", path=str(tmp_path / "shared"), type="uri_folder"))
    model = ml.models.create_or_update(Model(name="reclaimed", path=str(tmp_path / "shared"), type="custom_model"))
    upload = data.path.partition("/paths/")[2]
    assert upload.strip("/") == model.path.partition("/paths/")[2].strip("/") and len(blobs(ml, upload)) == 1
    assert server.request("DELETE", f"{server.scope}/data/reclaimed/versions/1?{ARM}").status == 204
    assert len(blobs(ml, upload)) == 1, "the model still names it"
    assert server.request("DELETE", f"{server.scope}/models/reclaimed?{ARM}").status == 204
    assert blobs(ml, upload) == []
    # The client, who looks first whether it is there, uploads it again.
    ml.data.create_or_update(Data(name="reclaimed", path=str(tmp_path / "shared"), type="uri_folder", version="2"))
    assert len(blobs(ml, upload)) == 1


def test_what_the_user_put_at_a_place_of_his_own_stays(server: ZaffreServer, ml: Any, produced: Any) -> None:
    from azure.ai.ml.entities import Data

    uri = "azureml://datastores/workspaceblobstore/paths/lineage/own/"
    ml.data.create_or_update(Data(name="kept", path=uri, type="uri_folder"))
    assert server.request("DELETE", f"{server.scope}/data/kept?{ARM}").status == 204
    assert blobs(ml, "lineage/own/") == ["lineage/own/c.txt"]


def test_a_lost_upload_is_told_and_not_registered(server: ZaffreServer) -> None:
    """Another client's delete may come between the look and the PUT."""
    for kind, field in (("data", "dataUri"), ("models", "modelUri")):
        body = {"properties": {field: "azureml://datastores/workspaceblobstore/paths/LocalUpload/0123/gone/"}}
        answer = server.request("PUT", f"{server.scope}/{kind}/lost/versions/1?{ARM}", body)
        assert answer.status == 400 and "upload it" in answer.json["error"]["message"], answer.body


@pytest.mark.parametrize("uri", ["azureml://jobs/nobody/outputs/model", "runs:/nobody/model"])
def test_what_no_job_made_is_no_asset(server: ZaffreServer, uri: str) -> None:
    for kind, field in (("data", "dataUri"), ("models", "modelUri")):
        answer = server.request("PUT", f"{server.scope}/{kind}/nobodys/versions/1?{ARM}", {"properties": {field: uri}})
        assert answer.status == 404 and "'nobody'" in answer.json["error"]["message"], answer.body


def test_code_goes_with_its_container(server: ZaffreServer, ml: Any, code: Callable[..., Path]) -> None:
    from azure.ai.ml.entities._assets._artifacts.code import Code

    made = ml._code.create_or_update(Code(path=str(code(main__py="print('code that goes')"))))
    path = made.path.removeprefix(server.address).rpartition("/")[0]
    container = path.split("/")[2]
    assert container.startswith("code-")
    found = f"{server.scope}/codes/{made.name}/versions/{made.version}?{ARM}"
    assert server.request("DELETE", found).status == 204
    listing = server.request(
        "GET",
        f"/{path.split('/')[1]}/{container}?restype=container&comp=list",
        token=server.token("https://storage.azure.com"),
    )
    assert listing.status == 404, listing.body
