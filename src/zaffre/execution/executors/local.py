"""Jobs as processes of this machine: one detached launcher each, which outlives the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from zaffre import processes
from zaffre.execution.errors import LaunchError
from zaffre.execution.events import FILE, read_events
from zaffre.execution.executors.base import Observation
from zaffre.execution.launcher_zip import launcher_zip
from zaffre.execution.plan import JobPlan
from zaffre.processes import Identity, Row

# Not `python launcher.pyz`: that imports `runpy` and doubles the start.
_ENTRY = (
    "import sys; sys.path.insert(0, sys.argv[1]); from zaffre_launcher.main import main; sys.exit(main(sys.argv[2:]))"
)
# The launcher's own; the job gets what its plan says.
_LAUNCHER_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_FIRST_LOOK_S = 0.02
_LAST_LOOK_S = 1.0


class LocalExecutor:
    """`home` keeps the launcher's zip; `python` runs it and has nothing to do with the job's own interpreter."""

    def __init__(self, home: Path, python: str = sys.executable) -> None:
        self._home = home
        self._python = python
        self._started: dict[Path, subprocess.Popen[bytes]] = {}

    def start(self, plan: JobPlan, folder: Path) -> None:
        if (folder / FILE).exists() and read_events(folder):
            return
        if self.alive(folder):
            return
        self._reap()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(folder / "plan.json", msgspec.json.encode(plan))
        try:
            with open(folder / "launcher.log", "ab", opener=_private) as output:
                process = subprocess.Popen(
                    [self._python, "-I", "-S", "-c", _ENTRY, str(launcher_zip(self._home)), str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=folder,
                    env=_LAUNCHER_ENVIRONMENT,
                    start_new_session=True,
                )
        except OSError as error:
            raise LaunchError(f"The launcher of job '{plan.run_id}' could not be started: {error}.") from error
        self._started[folder] = process

    def _reap(self) -> None:
        """Launchers that ended after their job was last looked at would else stay in the process table for good."""
        for folder, process in list(self._started.items()):
            if process.poll() is not None:
                self._started.pop(folder, None)

    def cancel(self, folder: Path) -> None:
        self._wish(folder, "cancel")

    def kill(self, folder: Path) -> None:
        self._wish(folder, "kill")
        if not self.alive(folder):
            reap_orphans(folder)

    def alive(self, folder: Path) -> bool:
        process = self._started.get(folder)
        if process is not None:
            if process.poll() is None:
                return True
            self._started.pop(folder, None)  # another thread may have seen it first
        launcher = _launcher(folder)
        return launcher is not None and processes.is_alive(launcher)

    def observe(self, folder: Path, after: int = 0) -> Observation:
        alive = self.alive(folder)  # before the events: an end written in between must not look like a death
        events = read_events(folder)
        ended = any(event.kind == "ended" for event in events)
        return Observation(
            events=[event for event in events if event.n > after], alive=alive, died=not alive and not ended
        )

    async def wait(self, folder: Path, after: int = 0) -> None:
        ended = asyncio.Event()
        with _watch_end(self._pid(folder), ended):
            size, pause = -1, _FIRST_LOOK_S
            while True:
                alive = self.alive(folder)
                grown = _size(folder / FILE)
                if grown != size:
                    size = grown
                    if read_events(folder, after):
                        return
                if not alive:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), pause)
                pause = min(pause * 1.5, _LAST_LOOK_S)

    def _wish(self, folder: Path, wish: str) -> None:
        """The file tells a launcher of any age, one that has not started yet too; the signal only makes it quick."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(folder / wish, b"")
        launcher = _launcher(folder)
        if launcher is not None:
            processes.send(launcher, signal.SIGTERM)

    def _pid(self, folder: Path) -> int | None:
        process = self._started.get(folder)
        if process is not None:
            return process.pid
        launcher = _launcher(folder)
        return launcher.pid if launcher is not None else None


def reap_orphans(folder: Path) -> list[int]:
    """Kill what a dead launcher left of the job in `folder`; returns the pids. Does nothing while the launcher lives.

    A process belongs to the job when it carries the job's mark in its environment, is in the launcher's session, or
    descends from one that does.
    """
    launcher = _launcher(folder)
    if launcher is not None and processes.is_alive(launcher):
        return []
    killed: list[int] = []
    while found := [row for row in _left_by(folder, launcher) if row.pid not in killed]:
        for row in found:  # until none is new: a dying tree may still fork
            processes.send(Identity(pid=row.pid, start=row.start, boot=processes.boot_id()), signal.SIGKILL)
            killed.append(row.pid)
    return killed


def _left_by(folder: Path, launcher: Identity | None) -> list[Row]:
    rows = [row for row in processes.table() if row.state != "Z"]
    mark = os.fsencode(os.path.realpath(folder))
    session = launcher.pid if launcher is not None and launcher.boot == processes.boot_id() else None
    since = launcher.start if launcher is not None else 0
    found = {
        row.pid: row
        for row in rows
        if (row.session == session and row.start >= since)
        or processes.environment_of(row.pid).get(b"ZAFFRE_JOB_FOLDER") == mark
    }
    while more := [row for row in rows if row.parent in found and row.pid not in found]:
        found.update((row.pid, row) for row in more)
    found.pop(os.getpid(), None)
    return list(found.values())


def _launcher(folder: Path) -> Identity | None:
    try:
        return msgspec.json.decode((folder / "launcher.json").read_bytes(), type=Identity)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _watch_end(pid: int | None, ended: asyncio.Event) -> Iterator[None]:
    """Set `ended` when the process has ended. Where it can't be watched, looking now and then must do."""
    try:
        handle = os.pidfd_open(pid) if pid is not None else None
    except OSError:
        handle = None
    if handle is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def note() -> None:
        loop.remove_reader(handle)
        ended.set()

    loop.add_reader(handle, note)
    try:
        yield
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _write_private(path: Path, content: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    with open(fresh, "wb", opener=_private) as file:
        file.write(content)
    fresh.rename(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
