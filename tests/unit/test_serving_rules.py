"""The rules of serving that need no process: plans, restarts, probes, logs, diagnoses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.serving import backoff, console, diagnosis
from zaffre.serving.plan import DeploymentPlan, Probe
from zaffre.serving.probes import Health, Record, due_in, observe

GOOD = {
    "id": "blue-1",
    "endpoint": "ep",
    "deployment": "blue",
    "folder": "/h/deployments/blue-1",
    "interpreter": "/h/env/bin/python",
    "socket": "/h/edge/d/blue-0.sock",
    "kind": "script",
    "model_dir": "/h/models/m",
    "code_dir": "/h/code",
    "entry_script": "src/score.py",
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "../up"),
        ("id", ""),
        ("folder", "relative"),
        ("socket", "blue.sock"),
        ("workers", 0),
        ("request_timeout_s", 0),
        ("entry_script", "../outside.py"),
        ("entry_script", "/outside.py"),
        ("entry_script", None),
        ("code_dir", None),
    ],
)
def test_a_plan_that_cannot_be_is_refused(field: str, value: object) -> None:
    DeploymentPlan(**GOOD)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        DeploymentPlan(**(GOOD | {field: value}))  # type: ignore[arg-type]


def test_restarts_wait_longer_and_a_long_life_forgives() -> None:
    assert [backoff.next_delay(n, 0) for n in (0, 1, 2, 3)] == [1, 2, 4, 8]
    assert backoff.next_delay(10**6, 0) == backoff.LONGEST_S
    assert backoff.next_delay(50, backoff.STEADY_S) == 0


@given(st.integers(0, 10_000), st.floats(0, 1e9))
def test_a_delay_is_never_longer_than_the_longest(restarts: int, uptime: float) -> None:
    assert 0 <= backoff.next_delay(restarts, uptime) <= backoff.LONGEST_S
    assert backoff.next_delay(restarts, uptime) <= backoff.next_delay(restarts + 1, uptime)


def test_a_verdict_turns_only_after_the_threshold() -> None:
    probe = Probe(success_threshold=2, failure_threshold=3)
    record = Record(healthy=True)
    for ok, healthy in ((False, True), (False, True), (True, True), (False, True), (False, True), (False, False)):
        record = observe(record, Health(ok=ok), probe)
        assert record.healthy is healthy
    for ok, healthy in ((True, False), (False, False), (True, False), (True, True)):
        record = observe(record, Health(ok=ok), probe)
        assert record.healthy is healthy


def test_when_the_next_question_is_due() -> None:
    probe = Probe(initial_delay_s=10, period_s=5)
    assert due_in(probe, uptime_s=4, since_last_s=None) == 6
    assert due_in(probe, uptime_s=40, since_last_s=None) == 0
    assert due_in(probe, uptime_s=40, since_last_s=2) == 3


@given(st.lists(st.text(alphabet="ab\u00e4 ", max_size=5), max_size=60), st.integers(0, 70))
def test_the_tail_is_the_last_lines(tmp_path_factory: pytest.TempPathFactory, lines: list[str], count: int) -> None:
    folder = tmp_path_factory.mktemp("log")
    (folder / console.NAME).write_text("".join(line + "\n" for line in lines))
    assert console.tail(folder, count) == "\n".join(lines[-count:] if count else [])


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    (tmp_path / console.NAME).write_bytes(b"".join(b"%07d\n" % n for n in range(200_000)))
    tail = console.tail(tmp_path, 30_000).splitlines()
    assert (len(tail), tail[0], tail[-1]) == (30_000, "0170000", "0199999")


def test_a_log_cut_while_it_is_written_goes_on(tmp_path: Path) -> None:
    with (tmp_path / console.NAME).open("ab", buffering=0) as writer:
        writer.write(b"one\ntwo\n")
        assert not console.trim(tmp_path, 100)
        assert console.trim(tmp_path, 5)
        writer.write(b"three\n")
    assert console.tail(tmp_path, 2) == "two\nthree"
    assert (tmp_path / console.NAME).read_bytes() == b"three\n"
    assert console.tail(tmp_path, 10, since=8) == "three"


def test_no_log_is_empty(tmp_path: Path) -> None:
    assert console.tail(tmp_path, 10) == ""
    assert console.size(tmp_path) == 0


def test_the_users_exception_is_found_below_the_servers() -> None:
    text = (
        "2026-01-01 00:00:00,000 E [7] azmlinfsrv - Encountered Exception Traceback (most recent call last):\n"
        '  File "x/user_script.py", line 1, in invoke_init\n    self._user_init()\n'
        '  File "score.py", line 3, in init\n    raise OSError("disk")\nOSError: disk\n\n'
        "During handling of the above exception, another exception occurred:\n\n"
        'Traceback (most recent call last):\n  File "score.py", line 5, in init\n'
        "mypkg.errors.LoadFailed: cannot load\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        'Traceback (most recent call last):\n  File "x", line 1, in y\n'
        "azureml_inference_server_http.server.user_script.UserScriptException: Caught an unhandled exception\n"
    )
    found = diagnosis.explain(DeploymentPlan(**GOOD), "User's init function failed\n" + text)  # type: ignore[arg-type]
    assert found.reason == "init() of src/score.py raised mypkg.errors.LoadFailed: cannot load"
