"""The launcher's own parts, and the launcher as a whole under the oldest and the newest Python there is."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.execution.events import read_events
from zaffre.execution.executors.local import _ENTRY
from zaffre.execution.launcher_zip import launcher_zip
from zaffre.execution.plan import JobPlan
from zaffre_launcher import events as launcher_events
from zaffre_launcher import linux
from zaffre_launcher.codec import decode, encode
from zaffre_launcher.events import EventLog
from zaffre_launcher.main import main

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def other_pythons() -> list[Path]:
    versions = Path.home() / ".pyenv" / "versions"
    found = [path for minor in (8, 13) for path in sorted(versions.glob(f"3.{minor}.*/bin/python3"))]
    return found or [Path(sys.executable)]


@given(_JSON)
def test_the_codec_is_json(value: object) -> None:
    text = encode(value)
    assert json.loads(text) == value
    assert "\n" not in text
    assert decode(text) == value
    assert decode(msgspec.json.encode(value).decode()) == value


@pytest.mark.parametrize("text", ["", "{", "[1,]", '{"a":1} x', "nul"])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text)


def test_numbers_go_on_after_a_crash_that_tore_a_line(tmp_path: Path) -> None:
    EventLog(str(tmp_path)).add("started", {"pid": 1})
    with open(tmp_path / "events.jsonl", "ab") as file:
        file.write(b'{"n":2,"v":1,"t":"20')
    again = EventLog(str(tmp_path))
    assert again.kinds == {"started"}
    again.add("ended", {"reason": "exited"}, durable=True)
    assert [(event.n, event.kind) for event in read_events(tmp_path)] == [(1, "started"), (2, "ended")]


def test_a_full_disk_takes_the_reserve_and_then_the_launcher_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(str(tmp_path))
    log.reserve()
    reserve = tmp_path / "launcher.reserve"
    assert reserve.stat().st_size > 0
    real, waited = os.write, []

    def write(file: int, data: bytes) -> int:
        if reserve.exists() or not waited:
            if not reserve.exists() or len(data) < 2:
                raise OSError(errno.ENOSPC, "full")
            return real(file, data[:5])  # a torn line, which must not stay
        return real(file, data)

    monkeypatch.setattr(launcher_events.os, "write", write)
    monkeypatch.setattr(launcher_events.time, "sleep", waited.append)
    log.add("ended", {"reason": "exited"})
    assert not reserve.exists()
    assert waited == [1.0]
    assert [event.kind for event in read_events(tmp_path)] == ["ended"]


def test_a_sample_is_dropped_rather_than_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(str(tmp_path))

    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(launcher_events.os, "write", full)
        log.add("usage", {}, insist=False)
    log.add("ended", {})
    assert [event.n for event in read_events(tmp_path)] == [1]


def test_descendants_are_found_in_any_session() -> None:
    with subprocess.Popen(["bash", "-c", "setsid sleep 1000 & echo $!; read x"], stdin=-1, stdout=-1) as shell:
        assert shell.stdout is not None
        child = int(shell.stdout.readline())
        found = {process.pid for process in linux.descendants(os.getpid())}
        assert {shell.pid, child} <= found
        os.kill(child, 9)


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("python", other_pythons(), ids=lambda path: path.parts[-3])
def test_it_runs_under_any_python(python: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    plan = JobPlan(
        run_id="r", command="(setsid sleep 1000 &); echo 'hé'; exit 3", usage_s=0.1, bell=str(tmp_path / "b")
    )
    (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
    command = [python, "-I", "-S", "-W", "error::DeprecationWarning", "-c", _ENTRY, launcher_zip(tmp_path), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    events = read_events(folder)
    assert {"started", "usage", "ended"} == {event.kind for event in events}
    assert events[-1].data["exit_code"] == 3
    assert events[-1].data["last_lines"] == ["hé"]


def test_it_imports_little() -> None:
    """Each of these costs every job 5 to 30 ms."""
    code = "import sys, zaffre_launcher.main; print(*sorted(sys.modules))"
    source = str(Path(launcher_events.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": source}, capture_output=True, text=True, check=True
    )
    heavy = {
        "typing",
        "enum",
        "re",
        "json",
        "ctypes",
        "signal",
        "subprocess",
        "socket",
        "pathlib",
        "threading",
        "asyncio",
    }
    assert heavy.isdisjoint(done.stdout.split())
