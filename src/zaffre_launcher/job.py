"""One job from its first process to its last: output, limits, cancelling, usage, the end."""

from __future__ import annotations

import os
import select
import time

from zaffre_launcher import linux
from zaffre_launcher.bell import Bell
from zaffre_launcher.child import fork_child
from zaffre_launcher.linux import signals
from zaffre_launcher.plan import job_environment, make_folders
from zaffre_launcher.userlog import UserLog

TYPE_CHECKING = False  # `typing` is never imported: 20 ms
if TYPE_CHECKING:
    from typing import Any

    from zaffre_launcher.events import EventLog
    from zaffre_launcher.plan import Plan

_LOOK_FOR_WISHES_S = 1.0  # the files `cancel` and `kill`, for the case that a signal was lost
_LINGER_S = 1.0  # for what the command left running: `> >(tee log)` still has lines to print
_LEFTOVER_GRACE_S = 2.0
_KILL_AGAIN_S = 0.1
_GIVE_UP_S = 30.0  # a process in uninterruptible sleep can't be killed; the job's end must be told all the same


class Job:
    """Runs a plan in its folder and tells `events` what happened. Single-threaded: one poll over output and signals."""

    def __init__(self, plan: Plan, folder: str, events: EventLog) -> None:
        self._plan = plan
        self._folder = folder
        self._events = events
        self._bell = Bell(plan.bell, plan.run_id)
        self._main_pid = 0
        self._main_status: int | None = None
        self._main_ended_at = 0.0
        self._nobody_left = False
        self._reason: str | None = None
        self._kill_at: float | None = None
        self._first_kill: float | None = None
        self._largest_rss = 0

    def run(self) -> None:
        """Start the command, stay until the last of its processes is gone, write `ended`."""
        make_folders(self._plan, self._folder)
        self._events.reserve()
        wakeups = _listen_to_signals()
        if self._wish() is not None:
            never_ran: dict[str, Any] = {"exit_code": None, "signal": None, "reason": "canceled", "last_lines": []}
            self._tell("ended", never_ran, durable=True)
            self._events.release()
            return
        linux.adopt_orphans()
        log = UserLog(os.path.join(self._folder, "user_logs", "std_log.txt"))
        cwd = os.path.join(self._folder, self._plan.cwd)
        child = fork_child(self._plan.command, cwd, job_environment(self._plan, self._folder), log.writer)
        log.close_writer()
        self._main_pid = child.pid
        try:
            self._events.add("started", {"pid": child.pid, "launcher_pid": os.getpid()}, durable=True)
            failure = child.release()
            self._bell.ring()
            self._watch(log, wakeups)
        finally:
            if not self._nobody_left:
                _signal_all(signals.SIGKILL)
        log.drain()
        self._tell("ended", self._ending(log, failure), durable=True)
        self._events.release()

    def _watch(self, log: UserLog, wakeups: int) -> None:
        poll = select.poll()
        poll.register(log.reader, select.POLLIN)
        poll.register(wakeups, select.POLLIN)
        now = started = time.monotonic()
        next_usage = started + self._plan.usage_s
        next_look = started
        while True:
            if now >= next_look or self._wished_by_signal(wakeups):
                next_look = now + _LOOK_FOR_WISHES_S
                self._follow_wish()
            if self._plan.timeout_s is not None and now >= started + self._plan.timeout_s:
                self._stop("timeout", self._plan.grace_s)
            self._reap(now)
            if self._main_status is not None and (self._nobody_left or self._clear_leftovers(now)):
                return
            if self._kill_at is not None and now >= self._kill_at:
                self._kill(now)
            if now >= next_usage:
                next_usage = now + self._plan.usage_s
                self._report_usage()
            owed = self._bell.due()
            if owed is not None and now >= owed:
                self._bell.ring_soon()
            deadlines = [next_look, next_usage, owed, self._kill_at]
            if self._main_status is not None and self._kill_at is None:
                deadlines.append(self._main_ended_at + _LINGER_S)
            elif self._plan.timeout_s is not None and self._main_status is None and self._reason is None:
                deadlines.append(started + self._plan.timeout_s)
            wait = min(d for d in deadlines if d is not None) - time.monotonic()
            ready = poll.poll(max(0.0, wait) * 1000 + 1)
            if any(fd == log.reader for fd, _ in ready):
                if log.copy_some():
                    self._bell.ring_soon()
                elif log.closed:
                    poll.unregister(log.reader)
            now = time.monotonic()

    def _wished_by_signal(self, wakeups: int) -> bool:
        try:
            received = os.read(wakeups, 4096)
        except BlockingIOError:
            return False
        wished = signals.SIGTERM in received
        if wished and self._wish() is None:
            self._stop("canceled", self._plan.grace_s)
        return wished

    def _follow_wish(self) -> None:
        wish = self._wish()
        if wish == "kill":
            self._stop("canceled", 0.0)
        elif wish == "cancel":
            self._stop("canceled", self._plan.grace_s)

    def _wish(self) -> str | None:
        for wish in ("kill", "cancel"):
            if os.path.exists(os.path.join(self._folder, wish)):
                return wish
        return None

    def _stop(self, reason: str, grace: float) -> None:
        """Ask every process of the job to end and set when they are made to; a later wish may hasten it."""
        if self._main_status is not None and self._reason is None:
            return  # it ended by itself just before
        kill_at = time.monotonic() + grace
        if self._reason is None:
            self._reason = reason
            if grace > 0:
                _signal_all(signals.SIGTERM)
                _signal_all(signals.SIGCONT)
        if self._kill_at is None or kill_at < self._kill_at:
            self._kill_at = kill_at

    def _clear_leftovers(self, now: float) -> bool:
        """End what the command left behind; True when it has to be left, unkillable."""
        if self._kill_at is None and now >= self._main_ended_at + _LINGER_S:
            self._kill_at = now + _LEFTOVER_GRACE_S
            _signal_all(signals.SIGTERM)
            _signal_all(signals.SIGCONT)
        return self._first_kill is not None and now >= self._first_kill + _GIVE_UP_S

    def _kill(self, now: float) -> None:
        if self._first_kill is None:
            self._first_kill = now
        self._kill_at = now + _KILL_AGAIN_S  # again, for what was forked meanwhile
        _signal_all(signals.SIGKILL)

    def _reap(self, now: float) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._nobody_left = True
                return
            if pid == 0:
                return
            if pid == self._main_pid:
                self._main_status = status
                self._main_ended_at = now

    def _report_usage(self) -> None:
        living = linux.descendants(os.getpid())
        rss = sum(process.rss for process in living)
        self._largest_rss = max(self._largest_rss, rss)
        usage = {"cpu_s": round(_reaped_cpu() + sum(process.cpu_s for process in living), 2), "rss": rss}
        self._tell("usage", {**usage, "processes": len(living)}, insist=False)

    def _ending(self, log: UserLog, failure: str | None) -> dict[str, Any]:
        status = self._main_status if self._main_status is not None else 0
        signal_number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        ending: dict[str, Any] = {
            "exit_code": os.WEXITSTATUS(status) if signal_number is None else None,
            "signal": signal_number,
            "reason": self._reason or ("failed_to_start" if failure else "exited"),
            "last_lines": log.last_lines(),
            "cpu_s": round(_reaped_cpu(), 2),
            "rss": self._largest_rss,
        }
        if failure:
            ending["error"] = failure
        if log.error:
            ending["log_error"] = log.error
            ending["log_lost_bytes"] = log.lost_bytes
        if not self._nobody_left:
            ending["left"] = [process.pid for process in linux.descendants(os.getpid())]
        return ending

    def _tell(self, kind: str, data: dict[str, Any], durable: bool = False, insist: bool = True) -> None:
        self._events.add(kind, data, durable, insist)
        self._bell.ring()


def _listen_to_signals() -> int:
    """A pipe on which the numbers of signals arrive, so that one poll sees everything."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signals.set_wakeup_fd(writer)
    for number in (signals.SIGTERM, signals.SIGCHLD):
        signals.signal(number, _note)
    for number in (signals.SIGINT, signals.SIGHUP):
        signals.signal(number, signals.SIG_IGN)
    return reader


def _note(number: int, frame: object) -> None:
    """A handler in Python must exist for the number to be written to the pipe."""


def _signal_all(number: int) -> None:
    for process in linux.descendants(os.getpid()):
        try:
            os.kill(process.pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # gone meanwhile; or it became another user, whom only the kill of its parents reaches


def _reaped_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system
