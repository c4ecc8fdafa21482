"""`kill -9` of the application at every change of a job's state, before its commit and after it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import ANY

import pytest

from tests.chaos.clients import ARM, PatientServer, kill
from tests.chaos.failing_application import REASON
from tests.support.zaffre_server import eventually
from zaffre.store import crashpoint, jobs

ROOT = Path(__file__).parents[2]
LINES = 20
PRINT = f"for i in $(seq 1 {LINES}); do echo line $i; done"
EXPECTED = "".join(f"line {i}\n" for i in range(1, LINES + 1))
BEFORE_START = (jobs.NOT_STARTED, jobs.PREPARING, jobs.QUEUED, jobs.STARTING)
DELETIONS = {when: f"jobs/doomed-{when}/{jobs.FINALIZING}>{jobs.CANCELED}/{when}" for when in ("before", "after")}
KILLS = [(old, new, when) for old, new in jobs.TRANSITIONS for when in ("before", "after")]


def job_name(old: str, new: str, when: str) -> str:
    """The name tells the failing application what to do with the job."""
    what = "job"
    if old in BEFORE_START and new == jobs.CANCEL_REQUESTED:
        what = f"hold-{old}"
    elif old in BEFORE_START and new == jobs.FINALIZING:
        what = f"fail-{old}"
    return f"{what}-{old}-{new}-{when}"


def point(old: str, new: str, when: str) -> str:
    return f"jobs/{job_name(old, new, when)}/{old}>{new}/{when}"


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PatientServer]:
    """A server whose application dies once at each of the points."""
    server = PatientServer(
        tmp_path_factory.mktemp("chaos") / "home",
        arguments=("--application", "tests.chaos.failing_application", "--longest-delay", "0.2"),
        environment={
            crashpoint.VARIABLE: ";".join([*(point(*kill) for kill in KILLS), *DELETIONS.values()]),
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src"))),
        },
    )
    yield server.up()
    server.destroy()


@pytest.mark.parametrize(("old", "new", "when"), KILLS, ids=lambda value: str(value))
def test_a_job_survives_the_death_of_the_application(dying: PatientServer, old: str, new: str, when: str) -> None:
    name = job_name(old, new, when)
    canceled = jobs.CANCEL_REQUESTED in (old, new) or new == jobs.CANCELED
    command = PRINT
    if canceled:
        command += "; sleep 600"
    elif new == jobs.FAILED:
        command += "; exit 3"
    outputs = {"made": {"jobOutputType": "uri_folder", "assetName": name}} if new == jobs.COMPLETED else {}
    if outputs:
        command += "; touch ${{outputs.made}}/file"
    assert dying.put_job(name, command, outputs=outputs).status in (200, 201)
    if canceled:
        held_in = old if new == jobs.CANCEL_REQUESTED else jobs.RUNNING
        eventually(lambda: dying.status(name), lambda state: state == held_in, what=f"{name} to be {held_in}")
        if held_in == jobs.RUNNING:
            eventually(lambda: dying.job_log(name), lambda log: log == EXPECTED, what=f"the log of {name}")
        # A client whose request was cut off asks again.
        asked = dying.request("POST", f"{dying.scope}/jobs/{name}/cancel?{ARM}")
        assert asked.status in (200, 202), asked.body

    mark = crashpoint.mark(dying.home / "run" / "crashpoints", point(old, new, when))
    eventually(mark.exists, bool, what=f"the death at {mark.name}")
    ended = dying.wait_for_job(name)

    never_ran = old in BEFORE_START and new in (jobs.CANCEL_REQUESTED, jobs.FINALIZING)
    failed = new == jobs.FAILED or (old in BEFORE_START and new == jobs.FINALIZING)
    assert ended == (jobs.CANCELED if canceled else jobs.FAILED if failed else jobs.COMPLETED)
    details = dying.request("GET", f"/history/v1.0{dying.scope}/runs/{name}/details").json
    if never_ran:
        assert "user_logs/std_log.txt" not in details["logFiles"]
    else:
        assert dying.job_log(name) == EXPECTED
    assert (details["error"] is None) == (not failed)
    if outputs:
        versions = dying.request("GET", f"{dying.scope}/data/{name}/versions?{ARM}").json["value"]
        assert [version["name"] for version in versions] == ["1"], "an output is registered exactly once"
    folder = next((dying.home / "jobs").iterdir(), dying.home) / name
    eventually(folder.exists, lambda there: not there, what=f"the folder of {name} to go")


@pytest.mark.parametrize("when", DELETIONS)
def test_a_deleted_job_is_gone_whenever_the_application_dies(dying: PatientServer, when: str) -> None:
    name = f"doomed-{when}"
    assert dying.put_job(name, f"{PRINT}; sleep 600").status in (200, 201)
    eventually(lambda: dying.status(name), lambda state: state == jobs.RUNNING, what=f"{name} to run")
    path = f"{dying.scope}/jobs/{name}?{ARM}"
    assert dying.request("DELETE", path).status == 202
    mark = crashpoint.mark(dying.home / "run" / "crashpoints", DELETIONS[when])
    eventually(mark.exists, bool, what=f"the death at {mark.name}")
    eventually(lambda: dying.request("GET", path).status, lambda status: status == 404, what=f"the end of {name}")
    folder = next((dying.home / "jobs").iterdir(), dying.home) / name
    dying.put_job(name, PRINT)  # the name is free, and the old job's folder is none of the new one's
    assert dying.wait_for_job(name) == jobs.COMPLETED
    assert dying.job_log(name) == EXPECTED
    eventually(folder.exists, lambda there: not there, what=f"the folder of {name} to go")


def test_a_job_whose_outputs_cannot_be_stored_ends(dying: PatientServer) -> None:
    """It says so, and its log is still there, in the job's own folder."""
    name = "fail-Finalizing-outputs"
    assert dying.put_job(name, PRINT).status in (200, 201)
    assert dying.wait_for_job(name) == jobs.FAILED
    details = dying.request("GET", f"/history/v1.0{dying.scope}/runs/{name}/details").json
    assert REASON in details["error"]["error"]["message"]
    kill(dying, "application")
    again = dying.request("GET", f"/history/v1.0{dying.scope}/runs/{name}/details").json
    assert again == {**details, "logFiles": ANY}
    assert dying.job_log(name) == EXPECTED


def test_nothing_is_left_in_a_passing_state(dying: PatientServer) -> None:
    """Runs after the kills above: what they left, all jobs together."""
    answer = dying.request("GET", f"{dying.scope}/jobs?api-version=2024-01-01-preview&$top=1000&listViewType=All")
    states = {job["name"]: job["properties"]["status"] for job in answer.json["value"]}
    assert {name: state for name, state in states.items() if state not in jobs.TERMINAL} == {}
    assert "Traceback" not in (dying.home / "logs" / "application.log").read_text()


def test_the_list_of_transitions_is_whole() -> None:
    """`jobs.move` refuses what the list does not name, and nothing else moves a job."""
    for old in (*jobs.ACTIVE, *jobs.TERMINAL):
        for new in (*jobs.ACTIVE, *jobs.TERMINAL):
            if (old, new) not in jobs.TRANSITIONS:
                with pytest.raises(ValueError, match=f"never goes from {old} to {new}"):
                    jobs.move(None, None, (old,), new)  # type: ignore[arg-type]
    sources = sorted((ROOT / "src" / "zaffre").rglob("*.py"))
    moves_a_run = re.compile(r"\.transition\((?!\s*tables\.resources\b)")  # controllers of endpoints move resources
    movers = {
        str(path.relative_to(ROOT / "src" / "zaffre")) for path in sources if moves_a_run.search(path.read_text())
    }
    # The tracking service's own guard keeps it off jobs.
    assert movers == {"store/jobs.py", "store/tracking/runs.py", "services/tracking/runs.py"}
