"""`zaffre up --no-edge`: the application ends TLS itself, everything works but scoring, and that says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.zaffre_server import ZaffreServer


@pytest.fixture(scope="module")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZaffreServer]:
    running = ZaffreServer(tmp_path_factory.mktemp("no-edge") / "home", arguments=("--no-edge",)).up()
    yield running
    running.destroy()


def test_jobs_run(bare_server: ZaffreServer) -> None:
    assert bare_server.put_job("hello", "echo hello").status == 201
    assert bare_server.wait_for_job("hello") == "Completed"
    assert bare_server.job_log("hello") == "hello\n"


def test_scoring_is_refused_with_the_reason(bare_server: ZaffreServer) -> None:
    answer = bare_server.request("POST", "/endpoints/any/score", {})
    assert (answer.status, answer.json["error"]["code"]) == (501, "NotImplemented")
    assert "--no-edge" in answer.json["error"]["message"]
    path = f"{bare_server.scope}/onlineEndpoints/any"
    assert bare_server.request("PUT", path, {"location": "local", "properties": {"authMode": "Key"}}).status == 501


def test_what_lies_in_the_home_is_for_its_owner(bare_server: ZaffreServer) -> None:
    open_to_others = [
        path for path in Path(bare_server.home).rglob("*") if path.lstat().st_mode & 0o077 and not path.is_symlink()
    ]
    assert [path for path in open_to_others if path.name != "bundle.pem" and "environments" not in path.parts] == []
