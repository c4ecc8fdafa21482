"""`kill -9` of application, supervisor and nginx at random moments of jobs' lives, and a minute without any server."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.clients import PatientServer, Tracking, Writer, kill
from tests.support.zaffre_server import eventually
from zaffre.supervisor import client

LINES = 60
COMMAND = f"for i in $(seq 1 {LINES}); do echo line $i; sleep 0.03; done"
LOG = "".join(f"line {i}\n" for i in range(1, LINES + 1))
LIFE_S = 2.5  # of such a job, a little more than it takes
VICTIMS = ("application", "supervisor", "nginx")
STEPS = 60
METRICS = f"""python -c "
import mlflow, time
for i in range({STEPS}):
    mlflow.log_metric('m', i / 4, step=i)
    print('step', i, flush=True)
    time.sleep(0.1)
"
"""


@pytest.fixture(scope="module", autouse=True)
def outage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outage | None]:
    """The minute without a server goes by beside the other tests, on a home of its own."""
    if not any(test_metrics_through_a_minute_without_a_server.__name__ in item.name for item in request.session.items):
        yield None
        return
    running = Outage(PatientServer(tmp_path_factory.mktemp("outage") / "home"))
    yield running
    running.server.destroy()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PatientServer]:
    server = PatientServer(tmp_path_factory.mktemp("kills") / "home").up()
    yield server
    server.destroy()


@pytest.fixture(scope="module")
def writer(killed: PatientServer) -> Writer:
    return Writer(killed)


@pytest.mark.parametrize("seed", range(10))
def test_each_part_is_killed_at_a_random_moment_of_a_job(killed: PatientServer, writer: Writer, seed: int) -> None:
    chance = random.Random(seed)
    names = []
    for victim in chance.sample(VICTIMS, len(VICTIMS)):
        name = f"kill-{victim}-{seed}"
        assert killed.put_job(name, COMMAND).status in (200, 201)
        threading.Event().wait(chance.uniform(0, LIFE_S))  # the moment itself: it must not depend on what is seen
        kill(killed, victim)
        if victim == "supervisor":
            killed.up()
        names.append(name)
    for name in names:
        assert killed.wait_for_job(name) == "Completed"
        assert killed.job_log(name) == LOG


def test_every_acknowledged_write_is_there_once(killed: PatientServer, writer: Writer) -> None:
    assert writer.check() > 50
    eventually(lambda: client.status(killed.home), lambda status: bool(status and status["application"]["ready"]))
    assert killed.request("GET", "/readyz", token=None).status == 200


def test_metrics_through_a_minute_without_a_server(outage: Outage) -> None:
    assert outage.result() >= 60
    assert outage.server.status("metrics") == "Completed"
    lines = outage.server.job_log("metrics").splitlines()
    # mlflow adds two lines of its own when the program ends.
    assert [line for line in lines if line.startswith("step")] == [f"step {i}" for i in range(STEPS)]
    found = Tracking(outage.server).history("metrics", "m")
    assert [(point["step"], point["value"]) for point in found] == [(i, i / 4) for i in range(STEPS)]


class Outage:
    """A job that logs by the real mlflow while its server is stopped, stays away for a minute, and comes back."""

    def __init__(self, server: PatientServer) -> None:
        self.server = server
        self._seconds = 0.0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self) -> float:
        """How long there was no server, once the job is over."""
        self._thread.join(400)
        if self._failure is not None:
            raise self._failure
        assert not self._thread.is_alive(), f"the job is still {self.server.status('metrics')}"
        return self._seconds

    def _run(self) -> None:
        try:
            self._live()
        except BaseException as failure:  # noqa: BLE001  raised again by `result`, on the test's own thread
            self._failure = failure

    def _live(self) -> None:
        server = self.server.up()
        conda = "dependencies: [{pip: ['mlflow-skinny==3.15.0']}]"
        environment = server.environment_version("mlflow", {"image": "python:3.11", "condaFile": conda})
        answer = server.put_job("metrics", METRICS, environmentId=environment)
        assert answer.status == 201, answer.body
        eventually(
            lambda: server.status("metrics"), lambda state: state != "Preparing", seconds=180, what="the environment"
        )
        eventually(lambda: server.job_log("metrics"), lambda log: "step 9\n" in log, seconds=60, what="ten metrics")
        assert server.down(cancel_jobs=False)["running_jobs"] == ["metrics"]
        gone = time.monotonic()
        threading.Event().wait(60)
        self._seconds = time.monotonic() - gone
        server.up()
        assert server.wait_for_job("metrics", seconds=180) == "Completed"
