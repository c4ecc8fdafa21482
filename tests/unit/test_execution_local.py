"""The local executor and its launcher with real processes: what a job's folder says must be what happened."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from zaffre import processes
from zaffre.execution.bell import BellSocket
from zaffre.execution.errors import LaunchError
from zaffre.execution.events import Event, read_events
from zaffre.execution.executors.base import Executor
from zaffre.execution.executors.local import LocalExecutor, reap_orphans
from zaffre.execution.launcher_zip import launcher_zip
from zaffre.execution.plan import JobPlan
from zaffre.processes import Identity

DEADLINE = 60.0


@pytest.fixture
def executor(tmp_path: Path) -> LocalExecutor:
    return LocalExecutor(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs" / "run-1"


def plan(command: str, **fields: object) -> JobPlan:
    return JobPlan(run_id="run-1", command=command, **fields)  # type: ignore[arg-type]


def until(condition: Callable[[], object], what: str) -> None:
    """Look again and again until it is so; a failure says what never came."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE:.0f} s"
        time.sleep(0.005)


def finish(executor: Executor, folder: Path) -> Event:
    """Wait for the end and give its event."""

    async def wait() -> Event:
        seen = 0
        while True:
            await asyncio.wait_for(executor.wait(folder, seen), DEADLINE)
            observation = executor.observe(folder, seen)
            for event in observation.events:
                seen = event.n
                if event.kind == "ended":
                    return event
            assert observation.alive, (folder / "launcher.log").read_text()

    return asyncio.run(wait())


def run(executor: Executor, folder: Path, job: JobPlan) -> Event:
    executor.start(job, folder)
    return finish(executor, folder)


def output(folder: Path) -> str:
    log = folder / "user_logs" / "std_log.txt"
    return log.read_text() if log.exists() else ""


def pid_alive(pid: int) -> bool:
    return processes.identify(pid) is not None


def test_a_job_prints_and_ends(executor: LocalExecutor, folder: Path) -> None:
    ended = run(executor, folder, plan("echo to stdout; echo to stderr >&2; printf 'no end'"))
    assert output(folder) == "to stdout\nto stderr\nno end"
    assert ended.data["reason"] == "exited"
    assert (ended.data["exit_code"], ended.data["signal"]) == (0, None)
    assert ended.data["last_lines"] == ["to stdout", "to stderr", "no end"]
    events = read_events(folder)
    assert [(event.n, event.kind) for event in events] == [(1, "started"), (2, "ended")]
    assert read_events(folder, after=1) == events[1:]
    until(lambda: not executor.alive(folder), "the launcher's end")
    assert not executor.observe(folder).died
    assert not (folder / "plan.json").exists(), "the plan carries secrets"
    assert not (folder / "launcher.reserve").exists()


@pytest.mark.parametrize(
    ("command", "exit_code", "signal_number"),
    [("exit 3", 3, None), ("no-such-program-anywhere", 127, None), ("kill -9 $$", None, 9)],
)
def test_how_it_ended(
    executor: LocalExecutor, folder: Path, command: str, exit_code: int | None, signal_number: int | None
) -> None:
    data = run(executor, folder, plan(command)).data
    assert (data["exit_code"], data["signal"], data["reason"]) == (exit_code, signal_number, "exited")


def test_its_environment_is_the_plan_and_nothing_of_the_server(
    executor: LocalExecutor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_SECRET", "1")
    job = plan(
        "env; pwd", interpreter="/opt/x/bin/python", environment={"A": 'é "$B"\n', "LANG": "C"}, outputs=("out/a",)
    )
    run(executor, folder, job)
    lines = output(folder).splitlines()
    assert 'A=é "$B"' in lines
    assert "LANG=C" in lines
    assert "PYTHONUNBUFFERED=1" in lines
    assert f"HOME={folder}/home" in lines
    assert f"TMPDIR={folder}/tmp" in lines
    assert "VIRTUAL_ENV=/opt/x" in lines
    assert next(line for line in lines if line.startswith("PATH=")).startswith("PATH=/opt/x/bin:/usr/local/sbin:")
    assert lines[-1] == str(folder / "wd")
    assert (folder / "out" / "a").is_dir()
    assert "SERVER_SECRET" not in output(folder)


def test_plan_and_log_are_private(executor: LocalExecutor, folder: Path) -> None:
    executor.start(plan("cat"), folder)
    assert (folder / "plan.json").stat().st_mode & 0o777 == 0o600
    finish(executor, folder)  # stdin is /dev/null, so `cat` ends
    assert (folder / "user_logs" / "std_log.txt").stat().st_mode & 0o777 == 0o600


def test_every_line_arrives_once_and_in_order(executor: LocalExecutor, folder: Path) -> None:
    run(executor, folder, plan("seq 1 100000"))
    assert output(folder) == "".join(f"{number}\n" for number in range(1, 100001))


def test_output_is_there_before_the_end(executor: LocalExecutor, folder: Path) -> None:
    executor.start(plan("printf 'half a line'; mkfifo gate; read x < gate; echo ' and the rest'"), folder)
    until(lambda: output(folder) == "half a line", "the first output")
    until((folder / "wd" / "gate").exists, "the gate")
    (folder / "wd" / "gate").write_text("go\n")
    assert finish(executor, folder).data["exit_code"] == 0
    assert output(folder) == "half a line and the rest\n"


def test_timeout(executor: LocalExecutor, folder: Path) -> None:
    ended = run(executor, folder, plan("trap 'echo asked; exit 0' TERM; sleep 1000 & wait", timeout_s=0.3))
    assert ended.data["reason"] == "timeout"
    assert output(folder) == "asked\n"


def test_timeout_kills_what_does_not_listen(executor: LocalExecutor, folder: Path) -> None:
    command = "trap '' TERM; echo $$; while :; do sleep 1000; done"
    ended = run(executor, folder, plan(command, timeout_s=0.3, grace_s=0.3))
    assert (ended.data["reason"], ended.data["signal"]) == ("timeout", signal.SIGKILL)
    assert not pid_alive(int(output(folder)))


def test_cancel_ends_the_whole_tree(executor: LocalExecutor, folder: Path) -> None:
    # A child in a session of its own, and one whose parent has gone: both have left the group and the session.
    command = (
        "setsid bash -c 'echo $BASHPID; exec sleep 1000' & "
        "(setsid nohup bash -c 'echo $BASHPID; trap \"\" TERM; while :; do sleep 1000; done' &) ; "
        "sleep 1000"
    )
    executor.start(plan(command, grace_s=0.5), folder)
    until(lambda: output(folder).count("\n") == 2, "both children")
    executor.cancel(folder)
    ended = finish(executor, folder)
    assert ended.data["reason"] == "canceled"
    assert not any(pid_alive(int(pid)) for pid in output(folder).split())


def test_kill_does_not_wait_for_the_grace(executor: LocalExecutor, folder: Path) -> None:
    executor.start(plan("trap '' TERM; echo $$; while :; do sleep 1000; done", grace_s=600), folder)
    until(lambda: output(folder), "the start")
    executor.cancel(folder)
    executor.kill(folder)
    assert finish(executor, folder).data["reason"] == "canceled"


def test_canceled_before_it_started(executor: LocalExecutor, folder: Path) -> None:
    executor.cancel(folder)
    ended = run(executor, folder, plan("echo ran"))
    assert (ended.data["reason"], ended.data["exit_code"]) == ("canceled", None)
    assert [event.kind for event in read_events(folder)] == ["ended"]
    assert output(folder) == ""


def test_a_leftover_that_holds_the_pipe_does_not_hang_the_job(executor: LocalExecutor, folder: Path) -> None:
    ended = run(executor, folder, plan("setsid sleep 1000 & echo $!; exit 4"))
    assert (ended.data["reason"], ended.data["exit_code"]) == ("exited", 4)
    assert not pid_alive(int(output(folder)))


def test_a_full_disk_loses_output_not_the_end(executor: LocalExecutor, folder: Path) -> None:
    (folder / "user_logs").mkdir(parents=True)
    (folder / "user_logs" / "std_log.txt").symlink_to("/dev/full")
    ended = run(executor, folder, plan("echo lost; exit 5"))
    assert ended.data["exit_code"] == 5
    assert ended.data["log_error"] == "No space left on device"
    assert ended.data["log_lost_bytes"] == len("lost\n")
    assert ended.data["last_lines"] == ["lost"]


def test_usage_is_told_while_it_runs(executor: LocalExecutor, folder: Path) -> None:
    executor.start(plan("while :; do :; done", usage_s=0.2, grace_s=0.1), folder)
    until(lambda: len([e for e in read_events(folder) if e.kind == "usage"]) >= 2, "two samples")
    executor.kill(folder)
    finish(executor, folder)
    usage = [event.data for event in read_events(folder) if event.kind == "usage"]
    assert usage[-1]["cpu_s"] > 0
    assert usage[-1]["rss"] > 100_000
    assert usage[-1]["processes"] >= 1
    numbers = [event.n for event in read_events(folder)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_started_many_times_it_runs_once(executor: LocalExecutor, folder: Path, tmp_path: Path) -> None:
    job = plan("echo once")
    for _ in range(5):
        LocalExecutor(tmp_path).start(job, folder)  # each knows nothing of the others, as after a restart
    executor.start(job, folder)
    finish(executor, folder)
    executor.start(job, folder)
    until(lambda: not executor.alive(folder), "the launchers' end")
    assert output(folder) == "once\n"
    assert [event.kind for event in read_events(folder)] == ["started", "ended"]


def test_the_caller_is_killed_between_two_starts(executor: LocalExecutor, folder: Path, tmp_path: Path) -> None:
    job = plan("echo once; mkfifo gate; read x < gate")
    caller = (
        "import os, signal, sys, msgspec; from pathlib import Path\n"
        "from zaffre.execution.executors.local import LocalExecutor; from zaffre.execution.plan import JobPlan\n"
        "plan = msgspec.json.decode(sys.argv[1], type=JobPlan)\n"
        "LocalExecutor(Path(sys.argv[2])).start(plan, Path(sys.argv[3])); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    arguments = [sys.executable, "-c", caller, msgspec.json.encode(job).decode(), str(tmp_path), str(folder)]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    executor.start(job, folder)
    until((folder / "wd" / "gate").exists, "the gate")
    assert executor.alive(folder), "it outlives its caller"
    (folder / "wd" / "gate").write_text("go\n")
    assert finish(executor, folder).data["exit_code"] == 0
    assert output(folder) == "once\n"


def test_the_launcher_is_killed(executor: LocalExecutor, folder: Path) -> None:
    executor.start(plan("setsid sleep 1000 & echo $!; sleep 1000 & echo $!; wait"), folder)
    until(lambda: output(folder).count("\n") == 2, "both children")
    assert reap_orphans(folder) == [], "a living launcher's job is left alone"
    launcher = msgspec.json.decode((folder / "launcher.json").read_bytes(), type=Identity)
    assert processes.send(launcher, signal.SIGKILL)
    asyncio.run(asyncio.wait_for(executor.wait(folder, after=1), DEADLINE))
    observation = executor.observe(folder)
    assert observation.died
    assert not observation.alive
    left = {int(pid) for pid in output(folder).split()}
    assert left <= set(reap_orphans(folder))
    until(lambda: not any(pid_alive(pid) for pid in left), "the orphans' end")
    executor.start(plan("echo again"), folder)
    assert not executor.alive(folder), "what has started is never started again"


def test_kill_reaches_what_a_dead_launcher_left(executor: LocalExecutor, folder: Path) -> None:
    executor.start(plan("setsid sleep 1000 & echo $!; wait"), folder)
    until(lambda: output(folder), "the child")
    launcher = msgspec.json.decode((folder / "launcher.json").read_bytes(), type=Identity)
    processes.send(launcher, signal.SIGKILL)
    until(lambda: not executor.alive(folder), "the launcher's end")
    executor.kill(folder)
    until(lambda: not pid_alive(int(output(folder))), "the child's end")


def test_the_bell_rings_for_events_and_output(executor: LocalExecutor, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "bell"

    async def listen() -> int:
        rung: asyncio.Queue[str] = asyncio.Queue()
        bell = BellSocket(path, rung.put_nowait)
        bell.open()
        try:
            executor.start(plan("echo hello; sleep 0.3; for i in $(seq 200); do echo $i; done", bell=str(path)), folder)
            heard = 0
            # Start, output, end at least; a listener that was held up hears them later than they happened.
            while heard < 3 or not any(event.kind == "ended" for event in read_events(folder)):
                assert await asyncio.wait_for(rung.get(), DEADLINE) == "run-1"
                heard += 1
            return heard
        finally:
            bell.close()

    assert asyncio.run(listen()) <= 12


def test_launchers_that_ended_unseen_are_reaped_by_the_next_start(executor: LocalExecutor, folder: Path) -> None:
    first = folder.with_name("first")
    executor.start(plan("true"), first)
    pid = executor._started[first].pid
    until(lambda: _state(pid) == "Z", "the end of the first launcher")
    executor.start(plan("true"), folder)
    assert _state(pid) is None and set(executor._started) == {folder}


def _state(pid: int) -> str | None:
    """The letter that /proc tells of a process; None when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def test_a_bell_nobody_hears_is_no_trouble(executor: LocalExecutor, folder: Path, tmp_path: Path) -> None:
    assert run(executor, folder, plan("echo x", bell=str(tmp_path / "nobody"))).data["exit_code"] == 0


def test_a_command_too_long_for_the_kernel_fails_to_start(executor: LocalExecutor, folder: Path) -> None:
    ended = run(executor, folder, plan("true #" + "x" * 300_000))
    assert ended.data["reason"] == "failed_to_start"
    assert "Argument list too long" in ended.data["error"]


def test_a_launcher_that_cannot_start_says_so(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(LaunchError, match="run-1"):
        LocalExecutor(tmp_path, python="/no/python").start(plan("true"), folder)


def test_a_torn_last_line_is_left_for_later(folder: Path) -> None:
    folder.mkdir(parents=True)
    whole = b'{"n":1,"v":1,"t":"","kind":"started","data":{"pid":1,"launcher_pid":2}}\n'
    (folder / "events.jsonl").write_bytes(whole + b'{"n":2,"v":1,"ki')
    assert [event.n for event in read_events(folder)] == [1]
    assert read_events(folder.parent) == []


def test_the_zip_is_named_by_its_content_and_made_once(tmp_path: Path) -> None:
    path = launcher_zip(tmp_path)
    made = path.stat().st_mtime_ns
    assert launcher_zip(tmp_path) == path
    assert path.stat().st_mtime_ns == made
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    usage = subprocess.run([sys.executable, "-I", path], capture_output=True, text=True, check=False)
    assert (usage.returncode, usage.stderr) == (2, "usage: launcher FOLDER\n")
