"""Two servers on one PostgreSQL: what one writes the other reads, neither does the other's work, and one may be killed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos.clients import PatientServer, Tracking
from tests.support.databases import empty_database
from tests.support.zaffre_server import eventually

ARM = "api-version=2024-04-01"
Two = tuple[PatientServer, PatientServer]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """They start at the same time, on an empty database."""
    folder = tmp_path_factory.mktemp("two")
    environment = {"ZAFFRE_DATABASE_URL": empty_database(), "ZAFFRE_SHARED": str(folder / "shared")}
    servers = tuple(PatientServer(folder / name, environment=environment) for name in ("one", "other"))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(PatientServer.up, servers))
    yield servers[0], servers[1]
    for server in servers:
        server.destroy()


def test_they_are_one_platform(two: Two) -> None:
    """One owner, one default workspace; a key of one is good at the other."""
    one, other = two
    for path in (f"{one.scope}?{ARM}", "/zaffre/v1/keys"):
        answers = [server.request("GET", path) for server in two]
        assert [answer.status for answer in answers] == [200, 200], answers
    assert (
        one.request("GET", f"{one.scope}?{ARM}").json["properties"]["workspaceId"]
        == (other.request("GET", f"{other.scope}?{ARM}").json["properties"]["workspaceId"])
    )
    swapped = other.request("GET", f"{other.scope}?{ARM}", token=one.credentials["api_key"])
    assert swapped.status == 200
    keys = one.request("GET", "/zaffre/v1/keys").json["value"]
    assert len({key["principalId"] for key in keys}) == 1


def test_a_stranger_does_not_start(two: Two, tmp_path: Path) -> None:
    """Its keys are its own: it could read no secret, and would seal new ones that nobody else can."""
    stranger = PatientServer(
        tmp_path / "home", environment={"ZAFFRE_DATABASE_URL": two[0].environment["ZAFFRE_DATABASE_URL"]}
    )
    with pytest.raises(AssertionError, match="set ZAFFRE_SHARED to the folder of the others"):
        stranger.up()


def test_what_both_write_is_there_once(two: Two) -> None:
    """Metrics of one run by clients of both, one of which dies and comes back; every acknowledged one is there once."""
    trackings = [Tracking(server) for server in two]
    run = trackings[0].start_run("both")
    acknowledged: list[list[int]] = [[] for _ in range(8)]
    half = threading.Barrier(9)

    def log(number: int) -> None:
        tracking = trackings[number % 2]
        for batch in range(20):
            steps = range(batch * 10, batch * 10 + 10)
            points = [
                {"key": key, "value": step / 3, "timestamp": 1_700_000_000_000 + step, "step": step * 8 + number}
                for step in steps
                for key in (("a", "b") if number % 3 else ("b", "a"))  # in orders that would block each other
            ]
            answer = tracking.ask("POST", "runs/log-batch", {"run_id": run, "metrics": points})
            assert answer.status == 200, answer.body
            acknowledged[number] += [step * 8 + number for step in steps]
            if batch == 10:
                half.wait(60)

    with ThreadPoolExecutor(8) as pool:
        logging = [pool.submit(log, number) for number in range(8)]
        half.wait(60)
        two[1].kill("application")
        for one in logging:
            one.result()
    expected = sorted(step for steps in acknowledged for step in steps)
    for tracking in trackings:
        for key in ("a", "b"):
            assert sorted(point["step"] for point in tracking.history(run, key)) == expected


def test_one_name_is_one_experiment(two: Two) -> None:
    trackings = [Tracking(server) for server in two]
    with ThreadPoolExecutor(2) as pool:
        for number in range(10):
            name = f"same-{number}"
            made = list(pool.map(lambda one: one.ask("POST", "experiments/create", {"name": name}), trackings))  # noqa: B023
            assert sorted(answer.status for answer in made) == [200, 400], made
            found = [one.ask("GET", "experiments/get-by-name", {"experiment_name": name}) for one in trackings]
            assert found[0].json == found[1].json


def test_versions_are_counted_by_both(two: Two) -> None:
    """Next versions of one registered model, made by both at once."""
    trackings = [Tracking(server) for server in two]
    assert trackings[0].ask("POST", "registered-models/create", {"name": "counted"}).status == 200

    def make(number: int) -> str:
        body = {"name": "counted", "source": f"mlflow-artifacts:/counted/{number}"}
        answer = trackings[number % 2].ask("POST", "model-versions/create", body)
        assert answer.status == 200, answer.body
        return str(answer.json["model_version"]["version"])

    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(make, range(20)))
    assert sorted(map(int, versions)) == list(range(1, 21))


def test_stored_bytes_are_read_at_the_other(two: Two) -> None:
    one, other = two
    content = os.urandom(300_000)
    path = f"/tracking{one.scope}/api/2.0/mlflow-artifacts/artifacts/shared/a.bin"
    assert one.request("PUT", path, content).status == 200
    assert other.request("GET", path).body == content


def test_a_job_runs_once_and_is_cancelled_from_the_other(two: Two) -> None:
    one, other = two
    assert one.put_job("here", "echo once").status == 201
    assert other.put_job("there", "echo once; sleep 300").status == 201
    assert other.wait_for_job("here") == "Completed"
    eventually(lambda: one.status("there"), lambda state: state == "Running", what="the other server's job")
    assert one.job_log("here") == "once\n"
    assert one.request("POST", f"{one.scope}/jobs/there/cancel?{ARM}").status in (200, 202)
    assert one.wait_for_job("there") == "Canceled"
    assert not (one.home / "jobs").exists() or not list((one.home / "jobs").glob("*/there"))


def test_what_one_ends_is_over_at_the_other(two: Two) -> None:
    """A workspace that is deleted and a key that is revoked, both remembered by the other server."""
    one, other = two
    scope = one.scope.replace("/workspaces/", "/workspaces/second-")
    body = {"location": "local", "properties": {}}
    assert one.request("PUT", f"{scope}?{ARM}", body).status in (200, 201, 202)
    asked = f"/tracking{scope}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    eventually(lambda: other.request("GET", asked).status, lambda status: status == 200, what="the new workspace")
    key = one.request("POST", "/zaffre/v1/keys", {"name": "short"}).json
    assert other.request("GET", asked, token=key["key"]).status == 200
    assert one.request("DELETE", f"/zaffre/v1/keys/{key['id']}").status in (200, 204)
    eventually(
        lambda: other.request("GET", asked, token=key["key"]).status,
        lambda status: status == 401,
        what="the revocation",
    )
    assert one.request("DELETE", f"{scope}?{ARM}").status in (200, 202)
    eventually(lambda: other.request("GET", asked).status, lambda status: status in (404, 409), what="the deletion")
