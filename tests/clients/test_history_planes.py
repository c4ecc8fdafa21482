"""The run history's planes by the generated clients of the SDK and of azureml-mlflow, and without one where none asks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer


@pytest.fixture(scope="module")
def made(client_environment: ZaffreServer) -> dict[str, str]:
    """A run with children of two states, and one without any."""
    server, made = client_environment, {}

    def mlflow(path: str, body: Any) -> Any:
        answer = server.request("POST", f"/tracking{server.scope}/api/2.0/mlflow/{path}", body)
        assert answer.status == 200, answer.body
        return answer.json

    experiment = mlflow("experiments/create", {"name": "history planes"})["experiment_id"]
    made["experiment"] = experiment
    made["parent"] = mlflow("runs/create", {"experiment_id": experiment, "run_name": "parent"})["run"]["info"]["run_id"]
    for number in range(7):
        tags = [{"key": "mlflow.parentRunId", "value": made["parent"]}, {"key": "odd", "value": str(number % 2)}]
        one = mlflow("runs/create", {"experiment_id": experiment, "run_name": f"child {number}", "tags": tags})
        made[f"child {number}"] = one["run"]["info"]["run_id"]
        if number % 2:
            mlflow("runs/update", {"run_id": made[f"child {number}"], "status": "FAILED"})
    return made


def test_children_in_pages_and_filtered(client_environment: ZaffreServer, made: dict[str, str]) -> None:
    server = client_environment
    path = f"/history/v1.0{server.scope}/runs/{made['parent']}/children"

    def names(answer: Any) -> list[str]:
        assert answer.status == 200, answer.body
        return [one["displayName"] for one in answer.json["value"]]

    assert names(server.request("GET", path)) == [f"child {number}" for number in range(7)]
    first = server.request("GET", f"{path}?$top=2")
    assert names(first) == ["child 0", "child 1"] and "nextLink" not in first.json
    token = first.json["continuationToken"]
    second = server.request("GET", f"{path}?$top=2&$continuationtoken={token}&$filter=status%20eq%20'Failed'")
    assert names(second) == ["child 3", "child 5"] and "continuationToken" not in second.json
    odd = server.request("GET", f"{path}?$filter=tags/odd%20eq%20'0'%20and%20runType%20eq%20'mlflow.run'")
    assert names(odd) == ["child 0", "child 2", "child 4", "child 6"]
    for query, message in (
        ("$top=0", "$top"),
        ("$continuationtoken=x", "$continuationtoken"),
        ("$filter=colour%20eq%201", "there is no field 'colour'"),
    ):
        answer = server.request("GET", f"{path}?{query}")
        assert answer.status == 400 and message in answer.json["error"]["message"]
    assert server.request("GET", f"{path}?$orderby=status").status == 501
    assert server.request("GET", path.replace(made["parent"], "none")).status == 404


def test_children_of_a_run_by_the_sdk(ml: Any, made: dict[str, str]) -> None:
    found = ml.jobs._runs_operations.get_run_children(made["parent"], max_results=3)
    assert [one.display_name for one in found] == ["child 0", "child 1", "child 2"]


def test_artifacts_by_the_generated_client(client_environment: ZaffreServer, made: dict[str, str]) -> None:
    """All of a run's artifact calls that azureml-mlflow's client has, by the experiment's name and by its id."""
    from azure.core.exceptions import ResourceNotFoundError
    from azure.identity import DefaultAzureCredential
    from azure.storage.blob import BlobClient
    from azureml.mlflow._restclient.run_artifact import AzureMachineLearningWorkspaces
    from azureml.mlflow._restclient.run_artifact.models import ArtifactPath, ArtifactPathList

    server, run = client_environment, made["child 0"]
    client = AzureMachineLearningWorkspaces(
        DefaultAzureCredential(), base_url=server.address, credential_scopes=[f"{server.address}/.default"]
    ).run_artifacts
    names = server.credentials
    scope = {
        "subscription_id": names["subscription"],
        "resource_group_name": names["resource_group"],
        "workspace_name": names["workspace"],
        "run_id": run,
    }
    by_name, by_id = {**scope, "experiment_name": "history planes"}, {**scope, "experiment_id": made["experiment"]}
    paths = ["a.txt", "deep/b c.txt", "deep/ü.txt", "../up.txt", "/root.txt"]
    asked = client.batch_create_empty_artifacts(
        body=ArtifactPathList(paths=[ArtifactPath(path=p) for p in paths]), **by_name
    )
    assert set(asked.errors) == {"../up.txt", "/root.txt"} and "relative" in asked.errors["../up.txt"].error.message
    assert list(client.list_in_container(**by_name)) == [], "asking for an address makes nothing"
    for path in paths[:3]:
        address = asked.artifact_content_information[path].content_uri
        assert address.startswith(f"{server.address}/zf")
        BlobClient.from_blob_url(address).upload_blob(path.encode())
    for call, where in ((client.list_in_container, by_name), (client.list_in_container_by_experiment_id, by_id)):
        assert [one.path for one in call(**where)] == ["a.txt", "deep/b c.txt", "deep/ü.txt"]
    assert [one.path for one in client.list_in_path(path="deep", **by_name)] == ["deep/b c.txt", "deep/ü.txt"]
    found = client.get_by_id(path="deep/ü.txt", **by_name)
    assert found.artifact_id == f"ExperimentRun/dcid.{run}/deep/ü.txt"
    assert found.data_path.data_store_name == "workspaceartifactstore"
    information = client.get_content_information_by_experiment_id(path="deep/b c.txt", **by_id)
    assert BlobClient.from_blob_url(information.content_uri).download_blob().readall() == b"deep/b c.txt"
    assert client.get_sas_uri(path="a.txt", **by_name).startswith(server.address)
    links = {one.path: one.content_uri for one in client.list_sas_by_prefix(path="deep", **by_name)}
    assert BlobClient.from_blob_url(links["deep/ü.txt"]).download_blob().readall() == "deep/ü.txt".encode()
    with pytest.raises(ResourceNotFoundError, match="There is no artifact 'none'"):
        client.get_content_information(path="none", **by_name)
    with pytest.raises(ResourceNotFoundError, match="in experiment 'other'"):
        list(client.list_in_container(**{**by_name, "experiment_name": "other"}))
    with pytest.raises(ResourceNotFoundError, match="There is no run 'none'"):
        list(client.list_in_container(**{**by_name, "run_id": "none"}))


def test_an_upload_replaces_only_what_it_was_asked_for(client_environment: ZaffreServer, made: dict[str, str]) -> None:
    """Of two that were both told to replace the same file, the second fails, as without replacing."""
    server = client_environment
    path = f"/history/v1.0{server.scope}/experiments/history%20planes/runs/{made['child 1']}/artifacts/batch/metadata"

    def address() -> str:
        answer = server.request("POST", path, {"paths": [{"path": "one.txt"}]})
        return str(answer.json["artifactContentInformation"]["one.txt"]["contentUri"]).removeprefix(server.address)

    def put(where: str, content: bytes) -> int:
        headers = {"x-ms-blob-type": "BlockBlob", "If-None-Match": "*", "x-ms-version": "2021-06-08"}
        return server.request("PUT", where, content, headers=headers, token=None).status

    new = address()
    assert (put(new, b"1"), put(new, b"2")) == (201, 409)
    first, second = address(), address()
    assert (put(first, b"3"), put(second, b"4")) == (201, 412)
    assert server.request("GET", address(), token=None).body == b"3"


def test_a_large_file_replaces_one_in_blocks(client_environment: ZaffreServer, made: dict[str, str]) -> None:
    """As azure-storage-blob sends what is larger than one request, here than 64 KiB."""
    from azure.core.exceptions import HttpResponseError
    from azure.storage.blob import BlobClient

    server = client_environment
    path = f"/history/v1.0{server.scope}/experiments/history%20planes/runs/{made['child 2']}/artifacts"

    def address() -> str:
        answer = server.request("POST", f"{path}/batch/metadata", {"paths": [{"path": "big.bin"}]})
        return str(answer.json["artifactContentInformation"]["big.bin"]["contentUri"])

    def upload(where: str, content: bytes) -> None:
        BlobClient.from_blob_url(where, max_single_put_size=65536, max_block_size=65536).upload_blob(content)

    upload(address(), b"1" * 200_000)
    stale = address()
    upload(address(), b"2" * 300_000)
    with pytest.raises(HttpResponseError, match="has changed"):
        upload(stale, b"3" * 200_000)
    assert server.request("GET", f"{path}/contentinfo?path=big.bin").status == 200
    assert BlobClient.from_blob_url(address()).download_blob().readall() == b"2" * 300_000


def test_folders_of_the_artifact_service(client_environment: ZaffreServer) -> None:
    from azure.core.exceptions import HttpResponseError
    from azure.identity import DefaultAzureCredential
    from azure.storage.blob import BlobClient
    from azureml.mlflow._restclient.artifact import AzureMachineLearningWorkspaces
    from azureml.mlflow._restclient.artifact.models import ArtifactPath, ArtifactPathList

    server = client_environment
    client = AzureMachineLearningWorkspaces(
        DefaultAzureCredential(), base_url=server.address, credential_scopes=[f"{server.address}/.default"]
    ).artifacts
    names = server.credentials
    scope = (names["subscription"], names["resource_group"], names["workspace"])
    body = ArtifactPathList(paths=[ArtifactPath(path="model/MLmodel")])
    asked = client.batch_create_empty_artifacts(*scope, "LocalUpload", "planes", body=body)
    BlobClient.from_blob_url(asked.artifact_content_information["model/MLmodel"].content_uri).upload_blob(b"x: 1")
    assert [one.path for one in client.list_in_container(*scope, "LocalUpload", "planes")] == ["model/MLmodel"]
    assert client.get(*scope, "LocalUpload", "planes", path="model/MLmodel").origin == "LocalUpload"
    assert client.get_content_information(*scope, "LocalUpload", "planes", path="model/MLmodel").content_uri
    assert b"".join(client.download(*scope, "LocalUpload", "planes", path="model/MLmodel")) == b"x: 1"
    with pytest.raises(HttpResponseError, match="can be read here"):
        client.batch_create_empty_artifacts(*scope, "_containers", "other", body=body)
    with pytest.raises(HttpResponseError, match="must not have empty"):
        list(client.list_in_container(*scope, "_containers", "other%2F..%2Fazureml"))


def test_where_assets_lie_many_at_once(ml: Any, client_environment: ZaffreServer, tmp_path: Any) -> None:
    from azure.ai.ml.entities import Data, Model

    server = client_environment
    (tmp_path / "f.txt").write_text("x")
    data = ml.data.create_or_update(Data(name="planes", path=str(tmp_path), type="uri_folder"))
    model = ml.models.create_or_update(Model(name="planes", path=str(tmp_path), type="custom_model"))

    found = ml.jobs._dataset_dataplane_operations.get_batch_dataset_uris([data.id])
    place = found.values_property[data.id]
    assert place.uri.startswith("azureml://subscriptions/") and place.uri.endswith(data.path.removeprefix("azureml://"))
    assert place.type == "uri_folder"
    models = f"/modelregistry/v1.0{server.scope}/models/batchGetResolvedUris"
    answer = server.request("POST", models, {"values": [model.id, "azureml:planes:1"]})
    assert {one["path"].rstrip("/") for one in answer.json["values"].values()} == {model.path.rstrip("/")}
    assert {one["type"] for one in answer.json["values"].values()} == {"custom_model"}
    resolve = f"/data/v1.0{server.scope}/dataversion/batchGetResolvedUris"
    old = server.request("POST", resolve, {"values": [data.id]}, headers={"User-Agent": "azure-ai-ml/1.34.0 x"})
    assert old.json["values"][data.id]["type"] == "UriFolder"
    assert server.request("POST", resolve, {"values": ["azureml:none:1"]}).json == {"values": {}}, (
        "left out, as by Azure"
    )
    for values, message in ((["nonsense"], "names no asset"), ([1], "values")):
        answer = server.request("POST", resolve, {"values": values})
        assert (answer.status, message in answer.json["error"]["message"]) == (400, True), answer.body


def test_tokens_for_runs(client_environment: ZaffreServer, made: dict[str, str]) -> None:
    """For a run that goes on, in its own experiment; good in its workspace and for nobody else's run."""
    server = client_environment
    base = f"/history/v1.0{server.scope}"
    by_name = f"{base}/experiments/history%20planes/runs/{made['parent']}/token"
    answer = server.request("GET", by_name)
    assert (
        answer.status == 200 and answer.json["expiryTimeUtc"] > "20" and answer.headers["cache-control"] == "no-store"
    )
    token = answer.json["token"]
    by_id = f"{base}/experimentids/{made['experiment']}/runs/{{}}/token"
    assert server.request("GET", by_id.format(made["parent"]), token=token).status == 200
    for path, caller, status in (
        (by_id.format(made["child 0"]), token, 403),  # another run's
        (by_id.format(made["child 1"]), "key", 403),  # it has failed
        (by_id.format("none"), "key", 404),
        (by_name.replace("history%20planes", "other"), "key", 404),
    ):
        assert server.request("GET", path, token=caller).status == status, path


def test_run_data_is_asked_of_one_run(client_environment: ZaffreServer, made: dict[str, str]) -> None:
    path = f"/history/v1.0{client_environment.scope}/rundata"
    found = client_environment.request("POST", path, {"runId": made["parent"], "selectRunMetadata": True})
    assert found.json["runMetadata"]["runId"] == made["parent"] and found.json["runMetadata"]["outputs"] == {}
    for body, field in (
        ({}, "runId"),
        ({"runId": 1}, "runId"),
        ({"runId": "x", "selectRunMetadata": "y"}, "selectRunM"),
    ):
        answer = client_environment.request("POST", path, body)
        assert answer.status == 400 and field in answer.json["error"]["message"]
    assert client_environment.request("POST", path, {"runId": "none"}).status == 404
