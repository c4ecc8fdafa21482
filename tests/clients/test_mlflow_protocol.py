"""MLflow's protocol at the edges its own clients never reach: wrong fields, odd numbers, other people's tokens, 501s."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.support.mlflow_server import MlflowServer
from zaffre.protocols.mlflow import requests
from zaffre.protocols.mlflow.table import operations
from zaffre.store.unit import PLATFORM


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


@pytest.fixture
def run(server: MlflowServer) -> str:
    status, answer = server.ask("POST", "mlflow/runs/create", {"experiment_id": "0", "run_name": "r"})
    assert status == 200
    return str(answer["run"]["info"]["run_id"])


def data(server: MlflowServer, run: str) -> dict[str, Any]:
    status, answer = server.ask("GET", f"mlflow/runs/get?run_id={run}")
    assert status == 200
    found: dict[str, Any] = answer["run"]["data"]
    return found


def test_numbers_come_as_protobuf_writes_them(server: MlflowServer, run: str) -> None:
    for value in ("NaN", "Infinity", "-Infinity", "1.5", 2):
        body = {"run_id": run, "key": f"k{value}", "value": value, "timestamp": "1700000000000", "step": "-3"}
        assert server.ask("POST", "mlflow/runs/log-metric", body) == (200, {})
    found = {one["key"]: one for one in data(server, run)["metrics"]}
    assert [found[f"k{value}"]["value"] for value in ("NaN", "Infinity", "-Infinity", "1.5", 2)] == [
        "NaN",
        "Infinity",
        "-Infinity",
        1.5,
        2.0,
    ]
    assert (found["k2"]["timestamp"], found["k2"]["step"]) == (1_700_000_000_000, -3)
    _, history = server.ask("GET", f"mlflow/metrics/get-history?run_uuid={run}&metric_key=kNaN")
    assert history["metrics"][0]["value"] == "NaN"


LONG = "x" * 251


@pytest.mark.parametrize(
    ("operation", "fields", "field"),
    [
        ("log-metric", {"key": "m", "timestamp": 1}, "value"),
        ("log-metric", {"key": "m", "value": 1}, "timestamp"),
        ("log-metric", {"key": "m", "value": "much", "timestamp": 1}, "value"),
        ("log-metric", {"key": "m", "value": True, "timestamp": 1}, "value"),
        ("log-metric", {"key": "m", "value": 1, "timestamp": -1}, "timestamp"),
        ("log-metric", {"key": "m", "value": 1, "timestamp": 1, "step": 2**63}, "step"),
        ("log-metric", {"key": LONG, "value": 1, "timestamp": 1}, "key"),
        ("log-metric", {"key": "", "value": 1, "timestamp": 1}, "key"),
        ("log-metric", {"key": "a\u0000b", "value": 1, "timestamp": 1}, "name"),
        ("log-metric", {"key": "a?b", "value": 1, "timestamp": 1}, "name"),
        ("log-parameter", {"value": "x"}, "key"),
        ("set-tag", {"key": "t", "value": 5}, "value"),
        ("log-batch", {"metrics": [{"key": "m", "value": 1, "timestamp": 1}] * 1001}, "metrics"),
        ("log-batch", {"params": [{"key": f"p{n}", "value": ""} for n in range(101)]}, "params"),
        ("log-batch", {"tags": [{"key": f"p{n}", "value": ""} for n in range(101)]}, "tags"),
        ("log-batch", {"params": [{"key": "p", "value": "1"}, {"key": "p", "value": "1"}]}, "p"),
        ("log-batch", {"metrics": [{"key": "m", "value": 1}]}, "metrics[0]"),
        ("update", {"status": "DONE"}, "status"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_kept(
    server: MlflowServer, run: str, operation: str, fields: dict[str, Any], field: str
) -> None:
    before = data(server, run)
    status, answer = server.ask("POST", f"mlflow/runs/{operation}", {"run_id": run, **fields})
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert field in answer["message"]
    assert data(server, run) == before


def test_a_batch_has_a_total_too(server: MlflowServer, run: str) -> None:
    metrics = [{"key": f"m{n}", "value": 1, "timestamp": 1} for n in range(1000)]
    body = {"run_id": run, "metrics": metrics, "params": [{"key": "p", "value": "1"}]}
    status, answer = server.ask("POST", "mlflow/runs/log-batch", body)
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert server.ask("POST", "mlflow/runs/log-batch", {"run_id": run, "metrics": metrics}) == (200, {})
    assert len(data(server, run)["metrics"]) == 1000


@pytest.mark.parametrize("text", ["\u0000", "\\u0000"])
def test_a_text_may_speak_of_nul_but_hold_none(server: MlflowServer, run: str, text: str) -> None:
    status, _ = server.ask("POST", "mlflow/runs/set-tag", {"run_id": run, "key": "t", "value": text})
    assert status == (400 if text == "\0" else 200)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "mlflow/runs/log-metric", b"{", 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "mlflow/runs/log-metric", b"\xff", 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "mlflow/runs/log-metric", b"[1]", 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "mlflow/runs/set-tag", {"key": "a", "value": "b"}, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "mlflow/runs/get?run_id=nope", None, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "mlflow/runs/get?run_id=%00", None, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "mlflow/experiments/get?experiment_id=nope", None, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "mlflow/experiments/get", None, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "mlflow/runs/create", {"experiment_id": "nope"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "mlflow/runs/search", {"experiment_ids": ["0"], "filter": "x"}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "mlflow/runs/search", {"experiment_ids": ["0"], "max_results": 0}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "mlflow/runs/search", {"run_view_type": "SOME"}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "mlflow/runs/search", {"filter": "datasets.profile = 'x'"}, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "mlflow/logged-models/m-1", None, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "mlflow/registered-models/get?name=nope", None, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "mlflow/registered-models/create", {"name": "a:b"}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "mlflow/model-versions/create", {"name": "nope", "source": "s3://b/k"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "mlflow/model-versions/create", {"name": "m", "source": "/home/me/m"}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "mlflow/model-versions/create", {"name": "m", "source": "file:///m"}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "mlflow/model-versions/create", {"name": "m", "source": "m"}, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "mlflow-artifacts/artifacts/ExperimentRun/dcid.x/none", None, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("PUT", "mlflow-artifacts/artifacts/a/../b", b"x", 400, "INVALID_PARAMETER_VALUE"),
        ("PUT", "mlflow-artifacts/artifacts/a/%2e%2e/b", b"x", 400, "INVALID_PARAMETER_VALUE"),
        ("PUT", "mlflow-artifacts/artifacts/a//b", b"x", 400, "INVALID_PARAMETER_VALUE"),
        ("PUT", "mlflow-artifacts/artifacts/_containers/other/b", b"x", 501, "NOT_IMPLEMENTED"),
        ("GET", "mlflow-artifacts/artifacts?path=../x", None, 400, "INVALID_PARAMETER_VALUE"),
    ],
)  # fmt: skip
def test_failures_have_mlflows_form(
    server: MlflowServer, method: str, path: str, body: Any, status: int, code: str
) -> None:
    found, answer = server.ask(method, path, body)
    assert (found, answer["error_code"]) == (status, code)
    assert answer["message"]


def test_every_operation_is_a_route_and_those_not_served_say_so(server: MlflowServer) -> None:
    refused = set()
    for one in operations():
        version, path = (one.path.split("/")[2], "/".join(one.path.split("/")[3:])) if "/api/" in one.path else ("", "")
        if version != "3.0":
            continue
        status, answer = server.ask(one.verb, path.replace("{", "").replace("}", ""), {}, version="3.0")
        assert status == 501 or status < 500, one
        if status == 501:
            refused.add(one.operation)
            assert (answer["error_code"], one.operation in answer["message"]) == ("NOT_IMPLEMENTED", True), one
    assert "createGatewayGuardrail" in refused
    assert not refused & {"getServerInfo", "startTraceV3", "searchTracesV3", "createAssessment"}
    assert server.ask("PUT", "mlflow-artifacts/mpu/create/a/b", b"x")[0] == 405


def test_who_may_ask(server: MlflowServer, run: str) -> None:
    status, answer = server.ask("GET", f"mlflow/runs/get?run_id={run}", token="nonsense")
    assert (status, answer["error_code"]) == (401, "UNAUTHENTICATED")
    assert server.ask("GET", f"mlflow/runs/get?run_id={run}", token=server.run_token("any"))[0] == 200
    stranger = server.tokens.mint_run(server.other.id, "job", "me", 1)[0]
    status, answer = server.ask("GET", f"mlflow/runs/get?run_id={run}", token=stranger)
    assert (status, answer["error_code"]) == (403, "PERMISSION_DENIED")


def test_a_job_may_log_but_not_say_that_it_has_ended(server: MlflowServer) -> None:
    def work(unit):
        experiment = server.tracking.ensure_experiment(unit, server.workspace.id, "train")
        server.tracking.create_run(
            unit,
            server.workspace.id,
            "job-7",
            experiment.pk,
            origin="job",
            status="Running",
            display_name="Job",
            user="me",
        )

    server.database.write_now(work)
    token = server.run_token("job-7")
    body = {"run_id": "job-7", "status": "FINISHED", "end_time": 5}
    status, answer = server.ask("POST", "mlflow/runs/update", body, token=token)
    assert (status, answer["run_info"]["status"], answer["run_info"].get("end_time")) == (200, "RUNNING", None)
    assert answer["run_info"]["artifact_uri"] == "mlflow-artifacts:/ExperimentRun/dcid.job-7"
    metric = {"run_id": "job-7", "key": "m", "value": 1, "timestamp": 1}
    assert server.ask("POST", "mlflow/runs/log-metric", metric, token=token) == (200, {})


def test_artifacts_of_a_place_of_the_users_own(server: MlflowServer) -> None:
    body = {"name": "outside", "artifact_location": "s3://bucket/x/"}
    _, made = server.ask("POST", "mlflow/experiments/create", body)
    _, answer = server.ask("POST", "mlflow/runs/create", {"experiment_id": made["experiment_id"]})
    info = answer["run"]["info"]
    assert info["artifact_uri"] == f"s3://bucket/x/{info['run_id']}/artifacts"
    assert server.ask("GET", f"mlflow/artifacts/list?run_id={info['run_id']}")[0] == 501
    status, answer = server.ask("POST", "mlflow/experiments/create", {"name": "outside"})
    assert (status, answer["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")


def test_artifacts_list_in_pages_of_folders_and_files(server: MlflowServer, run: str) -> None:
    for name in ("b.txt", "a/one", "a/two", "a/deep/three", "ü ?#%.txt"):
        quoted = (
            name.replace("%", "%25").replace("?", "%3F").replace("#", "%23").replace(" ", "%20").replace("ü", "%C3%BC")
        )
        path = f"mlflow-artifacts/artifacts/ExperimentRun/dcid.{run}/{quoted}"
        assert server.ask("PUT", path, name.encode()) == (200, {})
        assert server.ask("GET", path) == (200, name.encode())
    _, answer = server.ask("GET", f"mlflow/artifacts/list?run_id={run}")
    assert answer["root_uri"] == f"mlflow-artifacts:/ExperimentRun/dcid.{run}"
    assert answer["files"] == [
        {"path": "a", "is_dir": True},
        {"path": "b.txt", "is_dir": False, "file_size": 5},
        {"path": "ü ?#%.txt", "is_dir": False, "file_size": 10},
    ]
    _, answer = server.ask("GET", f"mlflow/artifacts/list?run_id={run}&path=a")
    assert [one["path"] for one in answer["files"]] == ["a/deep", "a/one", "a/two"]
    _, answer = server.ask("GET", f"mlflow-artifacts/artifacts?path=ExperimentRun/dcid.{run}/a")
    assert [one["path"] for one in answer["files"]] == ["deep", "one", "two"]
    assert server.ask("DELETE", f"mlflow-artifacts/artifacts/ExperimentRun/dcid.{run}/a") == (200, {})
    assert server.ask("DELETE", f"mlflow-artifacts/artifacts/ExperimentRun/dcid.{run}/b.txt") == (200, {})
    assert server.ask("DELETE", f"mlflow-artifacts/artifacts/ExperimentRun/dcid.{run}/b.txt")[0] == 404
    _, answer = server.ask("GET", f"mlflow/artifacts/list?run_id={run}")
    assert [one["path"] for one in answer["files"]] == ["ü ?#%.txt"]


def test_a_histories_picks_are_even(server: MlflowServer, run: str) -> None:
    points = [{"key": "m", "value": n, "timestamp": n, "step": n} for n in range(100)]
    server.ask("POST", "mlflow/runs/log-batch", {"run_id": run, "metrics": points})
    path = f"mlflow/metrics/get-history-bulk-interval?run_ids={run}&run_ids={run}&metric_key=m"
    _, answer = server.ask("GET", f"{path}&max_results=4&start_step=10&end_step=40")
    assert [one["step"] for one in answer["metrics"]] == [10, 17, 25, 33, 40] * 2  # as MLflow picks them, and the last
    assert {one["run_id"] for one in answer["metrics"]} == {run}


def test_arm_and_mlflow_see_the_same_model(server: MlflowServer, run: str) -> None:
    """A version made by ARM is MLflow's, and the other way round; numbers are shared."""
    workspace, resources = server.workspace, server.resources
    kind = resources.kinds["workspaces/models/versions"]
    uri = "azureml://datastores/workspaceblobstore/paths/LocalUpload/x/model"
    arm = {"properties": {"modelUri": uri, "modelType": "mlflow_model", "tags": {"a": "b"}, "description": "d"}}
    asyncio.run(resources.put(PLATFORM, workspace, kind, "shared", "1", arm))
    _, answer = server.ask("GET", "mlflow/model-versions/get?name=shared&version=1")
    version = answer["model_version"]
    assert (version["source"], version["tags"], version["description"]) == (uri, [{"key": "a", "value": "b"}], "d")
    _, answer = server.ask("GET", "mlflow/model-versions/get-download-uri?name=shared&version=1")
    assert answer["artifact_uri"] == f"mlflow-artifacts:/_containers/{workspace.container}/LocalUpload/x/model"

    mlmodel = b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    env: {conda: conda.yaml}\n"
    server.ask("PUT", f"mlflow-artifacts/artifacts/ExperimentRun/dcid.{run}/model/MLmodel", mlmodel)
    body = {"name": "shared", "source": f"runs:/{run}/model", "run_id": run}
    status, answer = server.ask("POST", "mlflow/model-versions/create", body)
    assert (status, answer["model_version"]["version"], answer["model_version"]["run_id"]) == (200, "2", run)
    row = asyncio.run(resources.get(workspace, kind, "shared", "2"))
    properties = row.body["properties"]
    assert properties["modelUri"] == (
        "azureml://subscriptions/sub/resourcegroups/group/workspaces/one/datastores/workspaceartifactstore"
        f"/paths/ExperimentRun/dcid.{run}/model"
    )
    assert properties["flavors"] == {
        "python_function": {"data": {"loader_module": "mlflow.sklearn", "env": '{"conda":"conda.yaml"}'}}
    }
    assert (properties["modelType"], properties["jobName"]) == ("mlflow_model", run)
    # The SDK updates tags by sending the whole body again: that is no other content.
    changed = {"properties": {**properties, "tags": {"new": "tag"}}}
    assert asyncio.run(resources.put(PLATFORM, workspace, kind, "shared", "2", changed)).created is False
    _, answer = server.ask("GET", "mlflow/model-versions/search?filter=name%3D'shared'+and+tags.new+%3D+'tag'")
    assert [one["version"] for one in answer["model_versions"]] == ["2"]
    _, answer = server.ask("GET", "mlflow/registered-models/search?filter=name+ilike+'SHARED'")
    assert [one["version"] for one in answer["registered_models"][0]["latest_versions"]] == ["2"]


def test_batches_that_are_not_waited_for(server: MlflowServer) -> None:
    """azureml-mlflow's own two calls: an answer without a tracking id says that all is written."""
    experiment = server.ask("POST", "mlflow/experiments/create", {"name": "not waited for"})[1]["experiment_id"]
    run = server.ask("POST", "mlflow/runs/create", {"experiment_id": experiment})[1]["run"]["info"]["run_id"]
    metric = {"key": "m", "value": 1, "timestamp": 1, "step": 0}
    assert server.ask("POST", "preview/mlflow/runs/log-batch-async", {"run_id": run, "metrics": [metric]}) == (200, {})
    assert server.ask("GET", f"mlflow/runs/get?run_id={run}")[1]["run"]["data"]["metrics"][0]["value"] == 1
    path = "preview/mlflow/runs/get-run-data-status"
    assert server.ask("GET", f"{path}?run_id={run}&batch_tracking_id=x") == (200, {"is_complete": True})
    assert server.ask("GET", f"{path}?run_id={run}")[0] == 400
    assert server.ask("GET", f"{path}?run_id=none&batch_tracking_id=x")[0] == 404


@pytest.mark.parametrize("name", [name for name in vars(requests) if isinstance(getattr(requests, name), type)])
def test_every_message_can_be_read(name: str) -> None:
    """A bound that msgspec cannot hold is found with the first request only."""
    type_ = getattr(requests, name)
    if issubclass(type_, msgspec.Struct):
        msgspec.json.Decoder(type_, strict=False)
