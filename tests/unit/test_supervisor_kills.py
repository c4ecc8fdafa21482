"""`kill -9` of every part: what goes on, and what the next start finds."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_support.harness import Up, deployment, eventually, model_servers

from zaffre.supervisor import client, platform_linux
from zaffre.supervisor.identity import Identity

ENDPOINT = {
    "name": "ep",
    "auth": "key",
    "keys": ["Key1"],
    "weights": [["blue", 1]],
    "deployments": [deployment("ep", "blue")],
}


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    found = Up(tmp_path / "home")
    with model_servers(found.home, "blue"):
        try:
            assert found.start().plan(ENDPOINT) is None
            yield found
        finally:
            found.clean()


class Load:
    """Calls something over and over on a thread while the block runs; `results` are the status codes, or the errors."""

    def __init__(self, call: Any) -> None:
        self.results: list[Any] = []
        self._call = call
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        eventually(lambda: len(self.results) > 2, "the load runs")
        return self

    def __exit__(self, *_: object) -> None:
        reached = len(self.results)
        eventually(lambda: len(self.results) > reached + 2, "the load goes on after that")
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self.results.append(self._call()[0])
            except OSError as error:
                self.results.append(error)


def workers(master: int) -> set[int]:
    return {pid for pid in platform_linux.session_members(master) if pid != master}


def test_the_application_is_started_again_and_requests_wait(up: Up) -> None:
    nginx = up.status["nginx"]["pid"]
    with Load(lambda: up.score("ep", "Key1")) as scoring:
        dead = up.kill("application")
        status, value, _ = up.request("GET", "/waited")  # in the backlog, until there is another
        assert status == 200 and value["pid"] != dead
        eventually(lambda: up.status["application"]["ready"], "the application is ready again")
    assert set(scoring.results) == {200}
    assert up.status["application"]["restarts"] == 1 and up.status["nginx"]["pid"] == nginx
    assert up.plan(ENDPOINT, {"name": "more", "auth": "key"}) is None  # the channel is a new one


def test_the_supervisor_takes_the_application_along_and_the_next_one_adopts_nginx(up: Up) -> None:
    before = up.status
    application = Identity.of(before["application"]["pid"])
    assert application is not None
    with Load(lambda: up.score("ep", "Key1")) as scoring:
        up.kill("supervisor")
        eventually(lambda: not application.alive(), "the application ended with its supervisor")
        status, value, headers = up.request("GET", "/")
        assert (status, value["error"]["code"]) == (503, "ServiceUnavailable") and "retry-after" not in headers
        assert client.status(up.home) is None
        up.start()
        assert up.status["nginx"] == {**before["nginx"], "adopted": True}
        assert up.request("GET", "/")[0] == 200
    assert set(scoring.results) == {200}
    # A change of files works on the adopted one, and so does the stop.
    assert up.plan(ENDPOINT, {"name": "more", "auth": "key"}) is None
    client.stop(up.home)
    assert Identity.of(before["nginx"]["pid"]) is None


def test_nginx_is_started_again_on_our_sockets(up: Up) -> None:
    dead = up.status["nginx"]["pid"]
    orphans = workers(dead)
    assert orphans
    with Load(lambda: up.score("ep", "Key1")) as scoring:
        os.kill(dead, signal.SIGKILL)
        eventually(lambda: up.status["nginx"]["pid"] not in (None, dead), "another nginx runs")
        eventually(lambda: not workers(dead), "the workers of the dead one have left")
    assert set(scoring.results) == {200}
    assert up.plan(ENDPOINT, {"name": "more", "auth": "key"}) is None


def test_an_adopted_nginx_is_replaced_when_it_dies(up: Up) -> None:
    up.kill("supervisor")
    dead = up.start().status["nginx"]["pid"]
    assert up.status["nginx"]["adopted"]
    os.kill(dead, signal.SIGKILL)
    found = eventually(
        lambda: up.status if up.status["nginx"]["pid"] not in (None, dead) else None, "another nginx runs"
    )
    assert not found["nginx"]["adopted"]
    assert up.score("ep", "Key1")[0] == 200 and up.request("GET", "/")[0] == 200
    eventually(lambda: not workers(dead), "the workers of the dead one have left")


def test_both_supervisor_and_nginx_master(up: Up) -> None:
    dead = up.status["nginx"]["pid"]
    up.kill("supervisor")
    os.kill(dead, signal.SIGKILL)
    assert up.score("ep", "Key1")[0] == 200  # its workers live on, and hold the port
    up.start()
    assert up.status["nginx"]["pid"] != dead and not up.status["nginx"]["adopted"]
    assert up.score("ep", "Key1")[0] == 200 and up.request("GET", "/")[0] == 200


def test_an_adopted_nginx_of_another_version_is_replaced(up: Up) -> None:
    old = up.status["nginx"]["pid"]
    up.kill("supervisor")
    record = up.home / "run" / "nginx.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "version": "1.2.3"}))
    up.start()
    eventually(lambda: up.status["nginx"]["pid"] not in (None, old), "nginx was replaced")
    assert up.score("ep", "Key1")[0] == 200


def test_a_recycled_pid_is_not_ours(up: Up) -> None:
    """A record whose start time is another's: neither adopted nor signalled."""
    up.kill("supervisor")
    record = up.home / "run" / "nginx.json"
    text = record.read_text()
    innocent = Identity.own()
    real = Identity.from_json(json.loads(text))
    assert real is not None
    forged = {**innocent.to_json(), "start_time": innocent.start_time + 1, "addresses": [], "version": ""}
    record.write_text(json.dumps(forged))
    os.kill(real.pid, signal.SIGTERM)
    eventually(lambda: not real.alive(), "nginx has ended")
    up.start()
    assert not up.status["nginx"]["adopted"]


def test_another_port_replaces_the_adopted_nginx(up: Up) -> None:
    old, port = up.status["nginx"]["pid"], up.port
    up.kill("supervisor")
    with socket.create_server(("127.0.0.1", 0)) as free:
        other = free.getsockname()[1]
    up.start("--port", str(other))
    assert up.port == other != port
    assert up.status["nginx"]["pid"] != old and up.score("ep", "Key1")[0] == 200
    eventually(lambda: Identity.of(old) is None, "the old nginx has left")
