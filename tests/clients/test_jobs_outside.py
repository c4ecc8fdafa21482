"""Jobs that read and write datastores outside the server: an S3 bucket here, every kind in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import obstore
import pytest

from tests.support.s3_server import KEY_ID, SECRET, s3_server
from tests.support.zaffre_server import ZaffreServer


@pytest.fixture(scope="module")
def bucket(ml: Any, tmp_path_factory: pytest.TempPathFactory, client_environment: ZaffreServer) -> Iterator[Any]:
    """A bucket with two files in a folder, known as datastore `jobs_s3`."""
    server = client_environment
    path = f"{server.scope}/datastores/jobs_s3?api-version=2024-10-01-preview"
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        store = running.bucket("jobs", **{"in__a.txt": b"one", "in__deep__b.txt": b"two"})
        properties = {
            "datastoreType": "S3", "bucketName": "jobs", "endpoint": running.address, "accessKeyId": KEY_ID,
            "credentials": {"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": SECRET}},
        }  # fmt: skip
        assert server.request("PUT", path, {"properties": properties}).status == 201
        yield store
        server.request("DELETE", path)


def test_a_job_reads_and_writes_a_bucket(ml: Any, bare: Any, bucket: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import Input, Output, command

    server, place = client_environment, "azureml://datastores/jobs_s3/paths"
    job = command(
        command="cat ${{inputs.folder}}/deep/b.txt ${{inputs.file}} > ${{outputs.out}}/both.txt; "
        "echo report > ${{outputs.report}}; echo ${{inputs.direct}}",
        environment=bare,
        inputs={
            "folder": Input(type="uri_folder", path=f"{place}/in/"),
            "file": Input(type="uri_file", path=f"{place}/in/deep/b.txt", mode="download"),
            "direct": Input(type="uri_folder", path=f"{place}/in/", mode="direct"),
        },
        outputs={
            "out": Output(type="uri_folder", path=f"{place}/out/${{{{name}}}}/", name="in-a-bucket"),
            "report": Output(type="uri_file", path=f"{place}/reports/report.txt"),
        },
    )
    name = ml.jobs.create_or_update(job).name
    assert server.wait_for_job(name) == "Completed", server.job_log(name)
    assert bytes(obstore.get(bucket, f"out/{name}/both.txt").bytes()) == b"twotwo"
    assert bytes(obstore.get(bucket, "reports/report.txt").bytes()) == b"report\n"
    assert server.job_log(name).strip().endswith("/datastores/jobs_s3/paths/in/")
    assert SECRET not in server.log()
    made = ml.data.get("in-a-bucket", label="latest")
    assert made.path.endswith(f"/datastores/jobs_s3/paths/out/{name}/")

    # An output in a bucket is an input like any other, by its job or as the asset it became.
    again = command(
        command="cat ${{inputs.by_job}}/both.txt ${{inputs.by_asset}}/both.txt",
        environment=bare,
        inputs={
            "by_job": Input(type="uri_folder", path=f"azureml://jobs/{name}/outputs/out"),
            "by_asset": Input(type="uri_folder", path=made.id),
        },
    )
    second = ml.jobs.create_or_update(again).name
    assert server.wait_for_job(second) == "Completed"
    assert server.job_log(second) == "twotwotwotwo"


def test_what_a_bucket_cannot_give_is_said(ml: Any, bare: Any, bucket: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import Input, Output, command

    place = "azureml://datastores/jobs_s3/paths"
    missing = Input(type="uri_folder", path=f"{place}/nowhere/")
    name = ml.jobs.create_or_update(command(command="true", environment=bare, inputs={"x": missing})).name
    assert client_environment.wait_for_job(name) == "Failed"
    details = client_environment.request("GET", f"/history/v1.0{client_environment.scope}/runs/{name}/details").json
    assert "nothing at 'nowhere/' of datastore 'jobs_s3'" in details["error"]["error"]["message"]
    written = Input(type="uri_folder", path=f"{place}/in/", mode="rw_mount")
    with pytest.raises(Exception, match="not mounted for writing"):
        ml.jobs.create_or_update(command(command="true", environment=bare, inputs={"x": written}))
    model = Output(type="custom_model", path=f"{place}/model/", name="a-model")
    with pytest.raises(Exception, match="lies outside"):
        ml.jobs.create_or_update(command(command="true", environment=bare, outputs={"x": model}))


def test_outputs_without_a_path_go_to_the_default_datastore(
    ml: Any, bare: Any, bucket: Any, client_environment: ZaffreServer
) -> None:
    from azure.ai.ml import Output, command

    server = client_environment
    outputs = {
        "x": Output(type="uri_folder"),
        "y": Output(type="uri_file", path="azureml://datastores/${{default_datastore}}/paths/named/y.txt"),
        "model": Output(type="custom_model", name="model-at-home"),
    }
    job = command(
        command="echo x > ${{outputs.x}}/a; echo y > ${{outputs.y}}; echo m > ${{outputs.model}}/m",
        environment=bare,
        outputs=outputs,
    )
    try:
        make_default(server, "jobs_s3")
        name = ml.jobs.create_or_update(job).name
    finally:
        make_default(server, "workspaceblobstore")
    assert server.wait_for_job(name) == "Completed", server.job_log(name)
    assert bytes(obstore.get(bucket, f"azureml/{name}/x/a").bytes()) == b"x\n"
    assert bytes(obstore.get(bucket, "named/y.txt").bytes()) == b"y\n"
    assert "/datastores/workspaceblobstore/" in ml.models.get("model-at-home", label="latest").path


def make_default(server: ZaffreServer, name: str) -> None:
    path = f"{server.scope}/datastores/{name}?api-version=2024-10-01-preview&skipValidation=true"
    properties = server.request("GET", path).json["properties"] | {"isDefault": True}
    if name == "jobs_s3":
        properties["credentials"] = {
            "credentialsType": "AccountKey",
            "secrets": {"secretsType": "AccountKey", "key": SECRET},
        }
    answer = server.request("PUT", path, {"properties": properties})
    assert answer.status in (200, 201), answer.body
