"""A server is backed up while clients write, restored elsewhere, and serves what it served."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.zaffre_server import Answer, ZaffreServer, eventually
from zaffre.cli.main import cli

ARM = "api-version=2025-01-01-preview"


def command(*arguments: str) -> str:
    done = CliRunner().invoke(cli, [*arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def put(server: ZaffreServer, path: str, properties: dict[str, Any]) -> Answer:
    answer = server.request("PUT", f"{server.scope}/{path}?{ARM}", {"properties": properties})
    assert answer.status in (200, 201), answer.body
    return answer


def set_tag(server: ZaffreServer, run: str, value: int) -> int:
    body = {"run_id": run, "key": "count", "value": str(value)}
    return server.request("POST", f"/tracking{server.scope}/api/2.0/mlflow/runs/set-tag", body).status


def tag_of(server: ZaffreServer, run: str) -> int:
    found = server.request("GET", f"/tracking{server.scope}/api/2.0/mlflow/runs/get?run_id={run}").json["run"]
    return int(next(tag["value"] for tag in found["data"]["tags"] if tag["key"] == "count"))


def test_a_restored_server_serves_the_same(tmp_path: Path) -> None:
    server, target = ZaffreServer(tmp_path / "home").up(), tmp_path / "target"
    other = ZaffreServer(tmp_path / "other")
    stop, counted = threading.Event(), 0
    try:
        server.put_job("done", "mkdir -p outputs; echo made > outputs/model.txt; echo hello")
        assert server.wait_for_job("done") == "Completed"
        server.put_job("running", "echo begun; sleep 600")
        eventually(lambda: server.status("running"), lambda state: state == "Running", what="the job to run")
        uri = "azureml://jobs/done/outputs/artifacts/paths/outputs/model.txt"
        model = put(server, "models/m/versions/1", {"modelUri": uri, "modelType": "custom_model"}).json["properties"]

        def write() -> None:
            nonlocal counted
            while not stop.is_set():
                assert set_tag(server, "done", counted + 1) == 200
                counted += 1

        writer = threading.Thread(target=write)
        writer.start()
        eventually(lambda: counted, lambda count: count > 5, what="a few writes")
        acknowledged = counted
        said = command("backup", str(target), "--home", str(server.home))
        assert "Backed up as" in said
        begun = counted
        eventually(lambda: counted, lambda count: count > begun, what="writes after the backup")
        stop.set()
        writer.join()
        key = server.credentials["api_key"]
        server.down()

        command("restore", str(target), "--home", str(other.home))
        other.up()
        assert other.credentials["api_key"] == key
        assert acknowledged <= tag_of(other, "done") <= begun + 1
        assert other.status("done") == "Completed"
        assert other.job_log("done") == "hello\n"
        found = other.request("GET", f"{other.scope}/models/m/versions/1?{ARM}").json["properties"]
        assert found["modelUri"] == model["modelUri"]
        assert other.wait_for_job("running") == "Failed"
        details = other.request("GET", f"/history/v1.0{other.scope}/runs/running/details").json
        assert "restored from a backup" in str(details["error"])
        other.put_job("new", "echo works")
        assert other.wait_for_job("new") == "Completed"
        refused = CliRunner().invoke(cli, ["restore", str(target), "--home", str(other.home), "--force"])
        assert refused.exit_code != 0
        assert "already running" in str(refused.exception), "not under a running server"
    finally:
        stop.set()
        server.destroy()
        other.destroy()


def test_no_server_starts_on_half_a_restore(tmp_path: Path) -> None:
    (tmp_path / ".restoring").mkdir()
    run = subprocess.run(
        [sys.executable, "-P", "-m", "zaffre.supervisor", "--home", str(tmp_path), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert "was not finished" in run.stderr
    assert not (tmp_path / "zaffre.db").exists()


@pytest.mark.parametrize("arguments", [["backup"], ["restore"], ["backup", "x", "--keep", "0"]])
def test_the_command_lines_are_checked(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, arguments).exit_code == 2
