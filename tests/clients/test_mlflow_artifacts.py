"""Large artifacts by the real client through the whole server: sent by nginx, in parts, and at signed addresses."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests
from mlflow import MlflowClient

from tests.support.zaffre_server import ZaffreServer

SIZE = 21 * 1024 * 1024 + 17
Ask = Callable[..., requests.Response]


@pytest.fixture
def client(client_environment: ZaffreServer, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    uri = client_environment.variables["MLFLOW_TRACKING_URI"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return MlflowClient(uri, uri)


@pytest.fixture
def run(client: MlflowClient) -> str:
    return str(client.create_run("0").info.run_id)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "weights of all.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def ask(client_environment: ZaffreServer) -> Iterator[Ask]:
    """A request below the tracking URI, as the client would send it."""
    uri, token = (client_environment.variables[f"MLFLOW_TRACKING_{name}"] for name in ("URI", "TOKEN"))
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        yield lambda verb, path, **more: session.request(verb, f"{uri}/api/2.0/{path}", **more)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetched(client: MlflowClient, run: str, name: str, to: Path) -> str:
    to.mkdir()
    return digest(Path(client.download_artifacts(run, name, str(to))))


def test_a_large_file_is_sent_by_the_edge(
    client: MlflowClient, run: str, large: Path, ask: Ask, tmp_path: Path
) -> None:
    client.log_artifact(run, str(large), "deep/er")
    assert fetched(client, run, f"deep/er/{large.name}", tmp_path / "to") == digest(large)
    address = f"mlflow-artifacts/artifacts/ExperimentRun/dcid.{run}/deep/er/{large.name}"
    answer = ask("GET", address, headers={"Range": f"bytes={SIZE - 5}-"})
    assert (answer.status_code, answer.content) == (206, large.read_bytes()[-5:])
    assert answer.headers["content-range"] == f"bytes {SIZE - 5}-{SIZE - 1}/{SIZE}"
    answer = ask("GET", address)
    assert (
        answer.headers["content-length"] == str(SIZE)
        and "weights%20of%20all.bin" in answer.headers["content-disposition"]
    )
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-request-id"]
    assert not {"last-modified", "etag", "x-accel-redirect"} & set(answer.headers)
    # What a file is called says what it is, not who sent it; in a browser it is a file to keep either way.
    page = f"mlflow-artifacts/artifacts/ExperimentRun/dcid.{run}/a.json"
    assert ask("PUT", page, data=b"<script>", headers={"Content-Type": "text/html"}).status_code == 200
    answer = ask("GET", page)
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["content-disposition"] == "attachment; filename=a.json"
    # nginx would compare conditions with times of its own; ours are not kept for artifacts, so there are none to fail.
    assert ask("GET", address, headers={"If-Match": '"x"'}).status_code == 200


def test_stored_bytes_are_nobodys_to_ask_for(run: str, ask: Ask, client_environment: ZaffreServer) -> None:
    address = client_environment.variables["MLFLOW_TRACKING_URI"].partition("/tracking")[0]
    name = hashlib.sha256(b"x").hexdigest()
    assert ask("PUT", f"mlflow-artifacts/artifacts/ExperimentRun/dcid.{run}/x", data=b"x").status_code == 200
    for path in (
        f"/_zf/objects/{name[:2]}/{name}",
        f"//_zf/objects/{name[:2]}/{name}",
        f"/%5fzf/objects/{name[:2]}/{name}",
    ):
        answer = requests.get(f"{address}{path}", timeout=30)
        assert answer.status_code in (401, 404) and answer.content != b"x", path


def test_a_file_goes_in_parts_and_comes_in_parts(
    client: MlflowClient, run: str, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    send = requests.Session.send

    def watched(session: requests.Session, request: requests.PreparedRequest, **more: Any) -> requests.Response:
        asked.append(f"{request.method} {request.url}")
        return send(session, request, **more)

    monkeypatch.setattr(requests.Session, "send", watched)
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 * 1024 * 1024))
    monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(4 * 1024 * 1024))
    client.log_artifact(run, str(large), "parts")
    assert sum(one.startswith("PUT") and "comp=block&" in one for one in asked) == 5
    assert [(one.path, one.file_size) for one in client.list_artifacts(run, "parts")] == [(f"parts/{large.name}", SIZE)]
    assert fetched(client, run, f"parts/{large.name}", tmp_path / "in parts") == digest(large)
    assert sum(one.startswith("GET") and "sig=" in one for one in asked) == 6
    monkeypatch.delenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD")
    assert fetched(client, run, f"parts/{large.name}", tmp_path / "whole") == digest(large)
    # Logged again, smaller: the new one is there, whole.
    (tmp_path / large.name).write_bytes(b"abc")
    client.log_artifact(run, str(tmp_path / large.name), "parts")
    assert mlflow.artifacts.load_text(f"runs:/{run}/parts/{large.name}") == "abc"


def test_an_upload_that_is_given_up_leaves_nothing(run: str, ask: Ask) -> None:
    folder = f"ExperimentRun/dcid.{run}/folder"
    begun = ask("POST", f"mlflow-artifacts/mpu/create/{folder}", json={"path": "/home/me/a.bin", "num_parts": 2}).json()
    upload = {"path": "/home/me/a.bin", "upload_id": begun["upload_id"]}
    assert [one["part_number"] for one in begun["credentials"]] == [1, 2]
    assert requests.put(begun["credentials"][1]["url"], data=b"second", timeout=30).status_code == 201
    # One part is missing; then it comes, and completing twice is once.
    parts = {**upload, "parts": [{"part_number": 2, "etag": ""}, {"part_number": 1, "etag": ""}]}
    missing = ask("POST", f"mlflow-artifacts/mpu/complete/{folder}", json=parts)
    assert (missing.status_code, missing.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert requests.put(begun["credentials"][0]["url"], data=b"first ", timeout=30).status_code == 201
    for _ in range(2):
        assert ask("POST", f"mlflow-artifacts/mpu/complete/{folder}", json=parts).json() == {}
        assert ask("GET", f"mlflow-artifacts/artifacts/{folder}/a.bin").content == b"first second"
    # Another one of the same file, given up: what was there stays, and its parts are gone.
    again = ask("POST", f"mlflow-artifacts/mpu/create/{folder}", json={"path": "a.bin"}).json()
    assert requests.put(again["credentials"][0]["url"], data=b"other", timeout=30).status_code == 201
    given_up = {"path": "a.bin", "upload_id": again["upload_id"]}
    assert ask("POST", f"mlflow-artifacts/mpu/abort/{folder}", json=given_up).json() == {}
    late = ask("POST", f"mlflow-artifacts/mpu/complete/{folder}", json={**given_up, "parts": [{"part_number": 1}]})
    assert late.status_code == 400
    assert ask("GET", f"mlflow-artifacts/artifacts/{folder}/a.bin").content == b"first second"


@pytest.mark.parametrize(
    ("operation", "fields", "field"),
    [
        ("create", {"path": "a", "num_parts": 0}, "num_parts"),
        ("create", {"path": "a", "num_parts": 10_001}, "num_parts"),
        ("create", {"path": "a", "num_parts": "many"}, "num_parts"),
        ("create", {"path": ""}, "path"),
        ("create", {"path": "a/.."}, "path"),
        ("complete", {"path": "a", "upload_id": "../x", "parts": [{"part_number": 1}]}, "upload"),
        ("complete", {"path": "a", "parts": [{"part_number": 1}]}, "upload_id"),
        ("complete", {"path": "a", "upload_id": "0" * 32}, "parts"),
        ("complete", {"path": "a", "upload_id": "0" * 32, "parts": [{"part_number": 1}] * 2}, "parts"),
        ("complete", {"path": "a", "upload_id": "0" * 32, "parts": [{"part_number": 0}]}, "part_number"),
        ("abort", {"path": "a", "upload_id": "%"}, "upload"),
    ],
)
def test_nonsense_is_named(run: str, ask: Ask, operation: str, fields: dict[str, Any], field: str) -> None:
    answer = ask("POST", f"mlflow-artifacts/mpu/{operation}/ExperimentRun/dcid.{run}", json=fields)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert field in answer.json()["message"]


def test_signed_addresses(client: MlflowClient, run: str, ask: Ask) -> None:
    model = client.create_logged_model("0", "m")
    for owner in ({"run_id": run}, {"model_id": model.model_id}):
        asked = ask("POST", "mlflow/artifacts/presigned-upload-url", json={**owner, "path": "a b/c.txt"}).json()
        put = requests.put(asked["presigned_url"], data=b"signed", headers=asked["headers"], timeout=30)
        assert put.status_code == 201
    assert [one.path for one in client.list_artifacts(run, "a b")] == ["a b/c.txt"]
    assert [one.path for one in client.list_logged_model_artifacts(model.model_id, "a b")] == ["a b/c.txt"]
    asked = ask("POST", "mlflow/artifacts/presigned-download-url", json={"run_id": run, "path": "a b/c.txt"}).json()
    assert asked["file_size"] == 6 and requests.get(asked["presigned_url"], timeout=30).content == b"signed"
    assert (
        requests.put(asked["presigned_url"], data=b"x", headers={"x-ms-blob-type": "BlockBlob"}, timeout=30).status_code
        == 403
    )
    for fields, status in (
        ({"run_id": run, "path": "none"}, 404),
        ({"run_id": run, "path": "../x"}, 400),
        ({"run_id": run, "path": "a", "expiration": 0}, 400),
        ({"run_id": run, "path": "a", "expiration": 604_801}, 400),
        ({"path": "a"}, 400),
        ({"run_id": "none", "path": "a"}, 404),
    ):
        assert ask("POST", "mlflow/artifacts/presigned-download-url", json=fields).status_code == status, fields
    both = {"run_id": run, "model_id": model.model_id, "path": "a"}
    for wrong in ({"path": "a"}, both):
        assert ask("POST", "mlflow/artifacts/presigned-upload-url", json=wrong).status_code == 400
