"""Lists, children, archive and the end of command jobs, by the SDK."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import pytest

from tests.support.zaffre_server import ZaffreServer, eventually


@pytest.fixture(scope="module")
def three(ml: Any, bare: Any, client_environment: ZaffreServer) -> list[str]:
    """Three finished jobs, told apart by tags and properties."""
    from azure.ai.ml import Output, command

    names = []
    for number, colour in enumerate(("red", "green", "blue")):
        job = command(
            command="echo kept > ${{outputs.x}}/a",
            environment=bare,
            tags={"colour": colour, "of-three": ""},
            outputs={"x": Output(type="uri_folder", name=f"three-{colour}")},
        )
        job.properties = {"number": str(number), "of-three": "yes"}
        names.append(ml.jobs.create_or_update(job).name)
    for name in names:
        assert client_environment.wait_for_job(name) == "Completed"
    return names


def delete(ml: Any, server: ZaffreServer, name: str) -> None:
    """By the SDK where it can; before 1.35 it has no way to."""
    if hasattr(ml.jobs, "begin_delete"):
        ml.jobs.begin_delete(name).result()
        return
    path = f"{server.scope}/jobs/{name}?api-version=2023-04-01-preview"
    assert server.request("DELETE", path).status in (202, 204)
    eventually(lambda: server.request("GET", path).status, lambda status: status == 404, seconds=60)


def listed(ml: Any, **query: Any) -> list[str]:
    return [job.name for job in ml.jobs.list(**query)]


def test_lists_by_tag_property_and_view(ml: Any, three: list[str], client_environment: ZaffreServer) -> None:
    assert listed(ml, tag="of-three") == three[::-1]
    assert listed(ml, tag="colour=green") == [three[1]]
    assert listed(ml, properties="of-three=yes,number=2") == [three[2]]
    assert listed(ml, properties="of-three", job_type="Command") == three[::-1]
    assert listed(ml, tag="of-three", job_type="Sweep") == []
    assert listed(ml, tag="of-three", schedule_defined=True) == []
    assert listed(ml, tag="of-three", schedule_defined=False) == three[::-1]

    ml.jobs.archive(three[1])
    assert listed(ml, tag="of-three") == [three[2], three[0]]
    assert listed(ml, tag="of-three", list_view_type="ArchivedOnly") == [three[1]]
    assert listed(ml, tag="of-three", list_view_type="All") == three[::-1]
    ml.jobs.restore(three[1])
    assert listed(ml, tag="of-three") == three[::-1]

    first = client_environment.request("GET", f"{client_environment.scope}/jobs?$top=2&tag=of-three").json
    assert [job["name"] for job in first["value"]] == three[:0:-1]
    making = client_environment.request("GET", f"{client_environment.scope}/jobs?assetName=three-red").json
    assert [job["name"] for job in making["value"]] == [three[0]]
    refused = client_environment.request("GET", f"{client_environment.scope}/jobs?$orderBy=name")
    assert (refused.status, refused.json["error"]["target"]) == (400, "$orderBy")


def test_nested_runs_are_the_jobs_children(ml: Any, bare: Any, client_environment: ZaffreServer) -> None:
    import mlflow
    from azure.ai.ml import command

    parent = ml.jobs.create_or_update(command(command="sleep 600", environment=bare)).name
    server = client_environment
    eventually(lambda: server.status(parent), lambda state: state == "Running", seconds=90)
    with mlflow.start_run(run_id=parent):
        for number in range(3):
            with mlflow.start_run(nested=True, run_name=f"child {number}"):
                mlflow.log_metric("loss", number)
    children = list(ml.jobs.list(parent_job_name=parent))
    assert [child.display_name for child in children] == ["child 0", "child 1", "child 2"]
    assert {child.status for child in children} == {"Completed"}
    assert server.status(parent) == "Running", "the end of MLflow's run is not the end of the job"
    page = server.request("GET", f"/history/v1.0{server.scope}/runs/{parent}/children?$top=2").json
    assert len(page["value"]) == 2
    token = page["continuationToken"]  # and no link: `$top` asks for that many in all
    rest = server.request(
        "GET", f"/history/v1.0{server.scope}/runs/{parent}/children?$top=2&$continuationtoken={token}"
    ).json
    assert [run["displayName"] for run in rest["value"]] == ["child 2"]
    assert "nextLink" not in page and "nextLink" not in rest and "continuationToken" not in rest

    delete(ml, server, parent)
    for child in children:
        with pytest.raises(Exception, match="not found"):
            mlflow.get_run(child.name)


def blobs_of(server: ZaffreServer, name: str) -> list[str]:
    with contextlib.closing(sqlite3.connect(f"file:{server.database_file}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT name FROM blobs WHERE name LIKE ? ORDER BY name", (f"%{name}%",))
        return [row[0] for row in found]


def test_a_deleted_job_leaves_only_what_became_an_asset(ml: Any, bare: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import Output, command

    server = client_environment
    job = command(
        command="echo a > ${{outputs.kept}}/a; echo b > ${{outputs.gone}}/b; echo c > outputs/model.bin; echo d > outputs/other",
        environment=bare,
        outputs={"kept": Output(type="uri_folder", name="outlives"), "gone": Output(type="uri_folder")},
    )
    name = ml.jobs.create_or_update(job).name
    assert server.wait_for_job(name) == "Completed"
    from azure.ai.ml.entities import Model

    path = f"azureml://jobs/{name}/outputs/artifacts/paths/outputs/model.bin"
    ml.models.create_or_update(Model(name="outlives", version="1", path=path))
    assert len(blobs_of(server, name)) >= 5
    delete(ml, server, name)
    assert blobs_of(server, name) == [f"ExperimentRun/dcid.{name}/outputs/model.bin", f"azureml/{name}/kept/a"]
    with pytest.raises(Exception, match=name):
        ml.jobs.get(name)
    assert server.request("GET", f"/history/v1.0{server.scope}/runs/{name}").status == 404
    assert ml.data.get("outlives", version="1").path.endswith(f"{name}/kept/")
    delete(ml, server, name)  # again: nothing is left to do
    # A job of the same name would write over what the assets stand on.
    refused = server.put_job(name, "echo another")
    assert refused.status == 409 and f"'{name}'" in refused.json["error"]["message"], refused.body
    for kind in ("data", "models"):
        assert server.request("DELETE", f"{server.scope}/{kind}/outlives?api-version=2023-08-01-preview").status == 204


def test_a_running_job_is_ended_before_it_is_deleted(ml: Any, bare: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import command

    server = client_environment
    name = ml.jobs.create_or_update(command(command="echo on; sleep 987653", environment=bare)).name
    eventually(lambda: server.status(name), lambda state: state == "Running", seconds=90)
    folder = next((server.home / "jobs").glob(f"*/{name}"))
    path, sent = f"{server.scope}/jobs/{name}?api-version=2023-04-01-preview", server.job(name)["properties"]
    assert server.request("DELETE", path).status == 202
    # Whoever submits it again at this moment must not be told of the job that is about to go.
    assert server.request("PUT", path, {"properties": sent}).status in (201, 409)
    delete(ml, server, name)
    assert blobs_of(server, name) == []
    with pytest.raises(Exception, match=name):
        ml.jobs.get(name)
    eventually(folder.exists, lambda there: not there, seconds=30)
    # The name is free again, and nothing of the old job is taken for the new one's.
    again = command(command="echo anew", environment=bare, name=name)
    assert ml.jobs.create_or_update(again).name == name
    assert server.wait_for_job(name) == "Completed"
    assert server.job_log(name) == "anew\n"


def test_what_cannot_be_stored_stays_with_the_job(ml: Any, bare: Any, client_environment: ZaffreServer) -> None:
    from azure.ai.ml import Output, command

    server = client_environment
    job = command(
        command="""echo hours of work > "${{outputs.out}}/$(printf 'a\\001b')"; echo said""",
        environment=bare,
        outputs={"out": Output(type="uri_folder")},
    )
    name = ml.jobs.create_or_update(job).name
    assert server.wait_for_job(name) == "Failed"
    details = server.request("GET", f"/history/v1.0{server.scope}/runs/{name}/details").json
    assert "control characters" in details["error"]["error"]["message"]
    assert server.request("POST", "/zaffre/v1/collect", {"dryRun": False}).status == 200
    kept = next((server.home / "jobs").glob(f"*/{name}/out/out/*"))
    assert kept.read_text() == "hours of work\n"
    assert server.job_log(name) == "said\n"
    delete(ml, server, name)
    assert server.request("POST", "/zaffre/v1/collect", {"dryRun": False}).status == 200
    assert not kept.exists()


def test_a_parent_is_named_and_must_exist(server: ZaffreServer, three: list[str]) -> None:
    assert server.put_job("child-of-three", "true", parentJobName=three[0]).status == 201
    run = server.request("GET", f"/history/v1.0{server.scope}/runs/child-of-three").json
    assert (run["parentRunId"], run["rootRunId"]) == (three[0], three[0])
    assert server.put_job("child-of-none", "true", parentJobName="nobody").status == 400
    assert server.wait_for_job("child-of-three") == "Completed"
