"""A disk that is full: writes are refused by name, reads go on, nothing acknowledged is lost, and it passes by itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.clients import PatientServer, Tracking
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.uploads import answer, kept, upload
from tests.support.zaffre_server import Answer, eventually

CLIENTS = 4


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("full") / "disk", megabytes=96) as made:
        yield made


@pytest.fixture(scope="module")
def server(disk: SmallDisk) -> Iterator[PatientServer]:
    made = PatientServer(disk.folder / "home")
    made.up()
    yield made
    made.destroy()


class Logger:
    """Logs steps of one metric until one is not acknowledged; `acknowledged` are those that were, `refused` the answer that was not."""

    def __init__(self, tracking: Tracking, run: str, key: str) -> None:
        self.key = key
        self._tracking, self._run = tracking, run
        self.acknowledged: list[int] = []
        self.refused: Answer | None = None
        self._thread = threading.Thread(target=self._log, daemon=True)
        self._thread.start()

    def result(self) -> Answer:
        self._thread.join(120)
        assert self.refused is not None, "no write was refused, although the disk is full"
        return self.refused

    def _log(self) -> None:
        step = 0
        while True:
            metrics = [
                {"key": self.key, "value": i / 2, "timestamp": 1_700_000_000_000 + i, "step": i}
                for i in range(step, step + 50)
            ]
            answer = self._tracking.ask("POST", "runs/log-batch", {"run_id": self._run, "metrics": metrics})
            if answer.status != 200:
                self.refused = answer
                return
            self.acknowledged += range(step, step + 50)
            step += 50


def test_writes_are_refused_reads_go_on_and_it_passes(disk: SmallDisk, server: PatientServer, tmp_path: Path) -> None:
    tracking = Tracking(server)
    go = tmp_path / "go"
    waiting = f"echo begun; while [ ! -e {go} ]; do sleep 0.05; done"
    assert server.put_job("meanwhile", waiting).status == 201
    eventually(lambda: server.status("meanwhile"), lambda state: state == "Running", what="a running job")
    eventually(lambda: server.job_log("meanwhile"), bool, what="its first line")
    run = tracking.start_run("full")
    loggers = [Logger(tracking, run, f"m{i}") for i in range(CLIENTS)]
    eventually(lambda: min(len(one.acknowledged) for one in loggers), lambda n: n > 100, what="some metrics")
    done = threading.Event()

    def keep_full() -> None:
        while not done.is_set():
            disk.fill()
            done.wait(0.02)

    filler = threading.Thread(target=keep_full, daemon=True)
    filler.start()
    for one in loggers:
        refused = one.result()
        assert refused.status == 507, refused.body
        assert refused.json["error_code"] == "RESOURCE_EXHAUSTED"
        assert "disk" in refused.json["message"]
        assert "repeat" in refused.json["message"]
    for one in loggers:  # what was acknowledged can be read while the disk is full
        assert sorted(p["step"] for p in tracking.history(run, one.key)) == one.acknowledged
    uploaded = server.request(
        "PUT", f"/tracking{server.scope}/api/2.0/mlflow-artifacts/artifacts/full/a.bin", bytes(1_000_000)
    )
    assert uploaded.status == 507, uploaded.body
    version = server.request("PUT", f"{server.scope}/data/full/versions/1?api-version=2024-04-01", _data())
    assert version.status == 507, version.body
    assert "disk" in version.json["error"]["message"]
    assert server.request("GET", "/healthz", token=None).status == 200
    go.touch()  # the job ends while nothing of it can be written
    server.kill("application")  # one that comes up on a full disk must not give up
    assert tracking.ask("GET", "runs/get", {"run_id": run}).status == 200
    done.set()
    filler.join()
    disk.free()

    def works() -> int:
        point = {"run_id": run, "key": "after", "value": 1.0, "timestamp": 1, "step": 1}
        return tracking.ask("POST", "runs/log-metric", point).status

    eventually(works, lambda status: status == 200, what="writes, now that there is space")
    for one in loggers:
        assert sorted(p["step"] for p in tracking.history(run, one.key)) == one.acknowledged
    assert server.request("PUT", f"{server.scope}/data/full/versions/1?api-version=2024-04-01", _data()).status == 201
    assert server.wait_for_job("meanwhile") == "Completed"
    assert server.job_log("meanwhile") == "begun\n"
    assert server.put_job("after", "echo done").status == 201
    assert server.wait_for_job("after") == "Completed"


def test_a_disk_that_fills_up_under_an_upload(disk: SmallDisk, server: PatientServer) -> None:
    """The upload fitted when it began, so nginx keeps it, and is where the disk fails."""
    path, half = f"/tracking{server.scope}/api/2.0/mlflow-artifacts/artifacts/full/b.bin", bytes(8_000_000)
    with upload(server, path, 16_000_000, token=server.credentials["api_key"]) as connection:
        connection.send(half)
        eventually(lambda: kept(server), bool, what="a file of nginx's")
        disk.fill()
        with contextlib.suppress(ConnectionError):  # it need not read what it cannot keep
            connection.send(half)
        status, told, _ = answer(connection)
    assert (status, told["error_code"]) == (507, "RESOURCE_EXHAUSTED") and "repeat" in told["message"]
    eventually(lambda: kept(server), lambda found: not found, what="the half is gone")
    assert server.request("GET", path).status == 404
    disk.free()
    assert server.request("PUT", path, half + half).status == 200
    assert server.request("GET", path).body == half + half


def _data() -> dict[str, object]:
    uri = "azureml://datastores/workspaceblobstore/paths/full/"
    return {"properties": {"dataType": "uri_folder", "dataUri": uri}}
