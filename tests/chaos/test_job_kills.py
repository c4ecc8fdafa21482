"""`kill -9` of application, supervisor and nginx at random moments of jobs' lives."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from tests.chaos.clients import PatientServer, Writer, kill
from tests.support.zaffre_server import eventually
from zaffre.supervisor import client

LINES = 60
COMMAND = f"for i in $(seq 1 {LINES}); do echo line $i; sleep 0.03; done"
LOG = "".join(f"line {i}\n" for i in range(1, LINES + 1))
LIFE_S = 2.5  # of such a job, a little more than it takes
VICTIMS = ("application", "supervisor", "nginx")


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
