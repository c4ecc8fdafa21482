"""`kill -9` around deployments: while one is made, while it scores, and of the model server itself."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.clients import ARM, PatientServer, kill
from tests.support.zaffre_server import eventually
from zaffre.store import crashpoint

DEPLOYMENT = "workspaces/onlineEndpoints/deployments"
SCRIPT = """
import os

def init():
    if os.path.exists(os.environ.get("BROKEN", "/nowhere")):
        raise RuntimeError("broken on purpose")

def run(data):
    return {"pid": os.getpid(), "got": data}
"""
ENVIRONMENT = {
    "image": "python:3.11",
    "condaFile": "dependencies: [{pip: ['azureml-inference-server-http']}]",
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PatientServer]:
    """A server with an endpoint; its application dies before and after it has made the deployment `third`."""
    server = PatientServer(
        tmp_path_factory.mktemp("deployments") / "home",
        environment={
            crashpoint.VARIABLE: ";".join(
                f"{DEPLOYMENT}/third/Creating>Succeeded/{when}" for when in ("before", "after")
            )
        },
    ).up()
    answer = server.request("PUT", f"{server.scope}/onlineEndpoints/chaos?{ARM}", {"properties": {"authMode": "Key"}})
    assert answer.status == 201, answer.body
    wait_for(server, "onlineEndpoints/chaos")
    yield server
    server.destroy()


def test_a_deployment_is_made_although_the_application_dies(serving: PatientServer) -> None:
    """The first one builds its environment meanwhile."""
    put_deployment(serving, "first")
    kill(serving, "application")
    assert wait_for(serving, "onlineEndpoints/chaos/deployments/first") == "Succeeded"
    assert score(serving, "first")["got"] == '"hello"'


def test_a_deployment_is_made_although_the_supervisor_dies(serving: PatientServer) -> None:
    put_deployment(serving, "second")
    kill(serving, "supervisor")
    serving.up()
    assert wait_for(serving, "onlineEndpoints/chaos/deployments/second") == "Succeeded"
    assert score(serving, "second")["got"] == '"hello"'


def test_death_at_the_very_end_of_the_making(serving: PatientServer) -> None:
    operation = put_deployment(serving, "third")
    marks = serving.home / "run" / "crashpoints"
    eventually(lambda: len(list(marks.glob("*"))), lambda deaths: deaths == 2, seconds=60, what="both deaths")
    assert wait_for(serving, "onlineEndpoints/chaos/deployments/third") == "Succeeded"
    assert serving.request("GET", operation).json["status"] == "Succeeded"
    assert score(serving, "third")["got"] == '"hello"'


def test_scoring_goes_on(serving: PatientServer) -> None:
    """Neither a request nor the model server is lost with application or supervisor."""
    before = score(serving, "first")["pid"]
    seen: list[Any] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            try:
                seen.append(score(serving, "first")["pid"])
            except (OSError, AssertionError) as error:
                seen.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for victim in ("application", "supervisor"):
            kill(serving, victim)
            reached = len(seen)
            eventually(
                lambda reached=reached: len(seen), lambda count, reached=reached: count > reached + 5, what="scores"
            )
            if victim == "supervisor":
                serving.up()
            wait_for(serving, "onlineEndpoints/chaos")
        reached = len(seen)
        eventually(lambda: len(seen), lambda count: count > reached + 5, what="scores")
    finally:
        done.set()
        thread.join()
    assert set(seen) == {before}


def test_a_dead_model_server_is_started_again(serving: PatientServer) -> None:
    before = score(serving, "first")["pid"]
    os.kill(model_server(before), signal.SIGKILL)
    os.kill(before, signal.SIGKILL)

    def look() -> int:
        try:
            return int(score(serving, "first")["pid"])
        except AssertionError:
            return before

    eventually(look, lambda pid: pid != before, seconds=60, what="another model server")
    assert wait_for(serving, "onlineEndpoints/chaos/deployments/first") == "Succeeded"


def test_a_deployment_that_does_not_come_back_says_so_until_it_does(serving: PatientServer, tmp_path: Path) -> None:
    put_deployment(serving, "fourth", BROKEN=str(tmp_path / "broken"))
    assert wait_for(serving, "onlineEndpoints/chaos/deployments/fourth") == "Succeeded"
    before = score(serving, "fourth")["pid"]
    (tmp_path / "broken").touch()
    os.kill(model_server(before), signal.SIGKILL)
    os.kill(before, signal.SIGKILL)
    path = f"{serving.scope}/onlineEndpoints/chaos/deployments/fourth?{ARM}"

    def state(wanted: str) -> dict[str, Any]:
        found: dict[str, Any] = eventually(
            lambda: serving.request("GET", path).json["properties"],
            lambda properties: properties["provisioningState"] == wanted,
            seconds=90,
            what=wanted,
        )
        return found["properties"]

    told = state("Failed")
    assert "broken on purpose" in told["zaffre.error"]
    assert (told["zaffre.instances"], told["zaffre.restarts"]) == ("0 of 1 ready", "1")
    (tmp_path / "broken").unlink()
    assert "zaffre.error" not in state("Succeeded")
    assert score(serving, "fourth")["pid"] != before


def test_a_replaced_server_ends_although_the_application_died(serving: PatientServer) -> None:
    old = score(serving, "fourth")["pid"]
    leader = model_server(old)
    put_deployment(serving, "fourth", COLOR="new", created=200)
    assert wait_for(serving, "onlineEndpoints/chaos/deployments/fourth") == "Succeeded"
    kill(serving, "application")
    assert score(serving, "fourth")["pid"] != old
    eventually(lambda: Path(f"/proc/{leader}").exists(), lambda there: not there, seconds=90, what="the old one's end")
    eventually(lambda: releases(serving), lambda count: count == 4, what="the end of its folder")


def test_nothing_is_left_over(serving: PatientServer) -> None:
    """After a delete no model server of that deployment lives and its folder is gone."""
    assert releases(serving) == 4
    path = f"{serving.scope}/onlineEndpoints/chaos/deployments/third?{ARM}"
    assert serving.request("DELETE", path).status == 202
    kill(serving, "application")
    eventually(lambda: serving.request("GET", path).status, lambda status: status == 404)
    assert releases(serving) == 3


def test_a_deleted_workspace_ends_its_servers(serving: PatientServer) -> None:
    """The last test of this server: it has no workspace any more."""
    pid = score(serving, "first")["pid"]
    assert serving.request("DELETE", f"{serving.scope}?{ARM}").status == 202
    path = f"{serving.scope}?{ARM}"
    eventually(
        lambda: serving.request("GET", path).status,
        lambda status: status == 404,
        seconds=120,
        what="the workspace's end",
    )
    assert releases(serving) == 0 and not Path(f"/proc/{pid}").exists()


def releases(server: PatientServer) -> int:
    return len(list((server.home / "deployments").glob("*")))


def put_deployment(server: PatientServer, name: str, *, created: int = 201, **variables: str) -> str:
    """Ask for a deployment; the path of its operation."""
    body = {
        "properties": {
            "codeConfiguration": {"codeId": code(server), "scoringScript": "score.py"},
            "environmentId": server.environment_version("serving", ENVIRONMENT),
            "endpointComputeType": "Managed",
            "environmentVariables": variables,
        },
        "sku": {"name": "Default", "capacity": 1},
    }
    path = f"{server.scope}/onlineEndpoints/chaos/deployments/{name}?{ARM}"
    answer = server.request("PUT", path, body)
    assert answer.status == created, answer.body
    assert answer.json["properties"]["provisioningState"] in ("Creating", "Updating")
    return answer.headers["azure-asyncoperation"].removeprefix(server.address) + f"?{ARM}"


def code(server: PatientServer) -> str:
    """The id of a code version that holds the scoring script."""
    path = f"{server.scope}/codes/chaos/versions/1"
    upload = server.request("POST", f"{path}/startPendingUpload?{ARM}", {}).json["blobReferenceForConsumption"]
    address, _, sas = upload["credential"]["sasUri"].removeprefix(server.address).partition("?")
    blob = f"{address}/code/score.py?{sas}"
    made = server.request("PUT", blob, SCRIPT.encode(), headers={"x-ms-blob-type": "BlockBlob"}, token=None)
    assert made.status == 201, made.body
    answer = server.request("PUT", f"{path}?{ARM}", {"properties": {"codeUri": f"{upload['blobUri']}/code"}})
    assert answer.status in (200, 201), answer.body
    return str(answer.json["id"])


def wait_for(server: PatientServer, path: str) -> str:
    """The state in which an endpoint or a deployment comes to rest."""

    def look() -> str:
        answer = server.request("GET", f"{server.scope}/{path}?{ARM}")
        assert answer.status == 200, answer.body
        return str(answer.json["properties"]["provisioningState"])

    return eventually(look, lambda state: state in ("Succeeded", "Failed"), seconds=180, what=path)


_keys: dict[str, str] = {}


def score(server: PatientServer, deployment: str) -> dict[str, Any]:
    """One scored request; it is not asked twice."""
    if server.address not in _keys:
        answer = server.request("POST", f"{server.scope}/onlineEndpoints/chaos/listKeys?{ARM}")
        _keys[server.address] = answer.json["primaryKey"]
    answer = server.request_once(
        "POST",
        "/endpoints/chaos/score",
        json.dumps("hello").encode(),
        headers={"azureml-model-deployment": deployment},
        token=_keys[server.address],
    )
    assert answer.status == 200, f"{answer.status}: {answer.body!r}"
    found: dict[str, Any] = answer.json
    return found


def model_server(worker: int) -> int:
    """The pid of the model server a worker belongs to: the leader of its session."""
    return os.getsid(worker)
