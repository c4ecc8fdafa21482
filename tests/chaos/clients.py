"""Clients that go on through a server's death as the real ones do: they ask again until they are answered."""

from __future__ import annotations

import http.client
import threading
from typing import Any
from urllib.parse import urlencode

from tests.support.zaffre_server import Answer, ZaffreServer, eventually
from zaffre.supervisor import client

ARM = "api-version=2024-04-01"


class PatientServer(ZaffreServer):
    """Asked by clients that ask again, as all of Azure's and MLflow's do, when a connection breaks or a 502 or 503 comes."""

    def request(self, *arguments: Any, **more: Any) -> Answer:
        def look() -> Answer:
            try:
                return self.request_once(*arguments, **more)
            except (OSError, http.client.HTTPException):  # the connection broke, perhaps in the middle of an answer
                return Answer(0, {}, b"")

        return eventually(look, lambda found: found.status not in (0, 502, 503), seconds=60, what="an answer")

    def request_once(self, *arguments: Any, **more: Any) -> Answer:
        """One that is not repeated."""
        return super().request(*arguments, **more)


def kill(server: ZaffreServer, victim: str) -> None:
    """`kill -9`, as soon as there is one to kill."""

    def alive() -> bool:
        status = client.status(server.home)
        return status is not None and (victim == "supervisor" or bool(status[victim]["pid"]))

    eventually(alive, bool, seconds=60, what=f"a living {victim}")
    server.kill(victim)


def pages(server: ZaffreServer, path: str) -> list[dict[str, Any]]:
    """All that an ARM list holds, page by page."""
    found: list[dict[str, Any]] = []
    link: str | None = f"{path}{'&' if '?' in path else '?'}{ARM}"
    while link is not None:
        answer = server.request("GET", link.removeprefix(server.address))
        assert answer.status == 200, answer.body
        found += answer.json["value"]
        link = answer.json.get("nextLink")
        link = f"{link}&{ARM}" if link and "api-version" not in link else link
    return found


class Tracking:
    """MLflow's REST interface without its client."""

    def __init__(self, server: ZaffreServer) -> None:
        self._server = server

    def ask(self, method: str, operation: str, body: dict[str, Any] | None = None) -> Answer:
        path = f"/tracking{self._server.scope}/api/2.0/mlflow/{operation}"
        if method == "GET":
            return self._server.request("GET", f"{path}?{urlencode(body or {})}")
        return self._server.request(method, path, body)

    def start_run(self, experiment: str) -> str:
        made = self.ask("POST", "experiments/create", {"name": experiment})
        assert made.status == 200, made.body
        run = self.ask("POST", "runs/create", {"experiment_id": made.json["experiment_id"]})
        assert run.status == 200, run.body
        return str(run.json["run"]["info"]["run_id"])

    def history(self, run: str, key: str) -> list[dict[str, Any]]:
        answer = self.ask("GET", "metrics/get-history", {"run_id": run, "metric_key": key})
        assert answer.status == 200, answer.body
        found: list[dict[str, Any]] = answer.json.get("metrics", [])
        return found


class Writer:
    """Logs metrics and makes versions of a data asset, one after the other, on a thread, until it is stopped."""

    def __init__(self, server: ZaffreServer) -> None:
        self._server = server
        self._tracking = Tracking(server)
        self._run = self._tracking.start_run("writer")
        self._acknowledged = 0
        self._done = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()

    def check(self) -> int:
        """Stop; everything that was acknowledged must be there once. How many writes of each sort that were."""
        self._done.set()
        self._thread.join(120)
        if self._failure is not None:
            raise self._failure
        assert not self._thread.is_alive(), "the writer still waits for an answer"
        expected = list(range(self._acknowledged))
        assert sorted(point["step"] for point in self._tracking.history(self._run, "m")) == expected
        versions = pages(self._server, f"{self._server.scope}/data/written/versions")
        assert sorted(int(version["name"]) for version in versions) == [i + 1 for i in expected]
        return self._acknowledged

    def _write_all(self) -> None:
        try:
            while not self._done.is_set():
                self._write(self._acknowledged)
                self._acknowledged += 1
        except BaseException as failure:  # noqa: BLE001  raised again by `check`, on the test's own thread
            self._failure = failure

    def _write(self, i: int) -> None:
        point = {"run_id": self._run, "key": "m", "value": i / 2, "timestamp": 1_700_000_000_000 + i, "step": i}
        logged = self._tracking.ask("POST", "runs/log-metric", point)
        assert logged.status == 200, logged.body
        path = f"{self._server.scope}/data/written/versions/{i + 1}?{ARM}"
        uri = f"azureml://datastores/workspaceblobstore/paths/{i}/"
        body = {"properties": {"dataType": "uri_folder", "dataUri": uri}}
        made = self._server.request("PUT", path, body)
        assert made.status in (200, 201), made.body
