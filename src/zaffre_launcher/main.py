"""Runs one job: takes its lock, says who it is, starts the command once and stays with it until all of it has ended.

Started as `python -I -S`, detached, with the job's folder as argument. What it leaves there: `launcher.json` (its
identity), `events.jsonl` (what happened), `user_logs/std_log.txt` (what the job printed).
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

from zaffre_launcher import linux
from zaffre_launcher.codec import encode
from zaffre_launcher.events import EventLog
from zaffre_launcher.job import Job
from zaffre_launcher.plan import read_plan

_PATIENCE_S = 5.0


def main(arguments: list[str]) -> int:
    """Run the job in the folder named; 0 also where there was nothing to do because it is running or has run."""
    if len(arguments) != 1:
        sys.stderr.write("usage: launcher FOLDER\n")
        return 2
    folder = os.path.realpath(arguments[0])
    lock = os.open(os.path.join(folder, "launcher.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    if not _take(lock, folder):
        return 0
    events = EventLog(folder)
    if events.kinds & {"started", "ended"}:
        return 0
    _write_identity(folder)
    Job(read_plan(folder), folder, events).run()
    # The plan carries tokens and secrets; they are not kept longer than the job.
    os.unlink(os.path.join(folder, "plan.json"))
    return 0


def _take(lock: int, folder: str) -> bool:
    """Take the lock; where another launcher has it, wait until that one can be found by who asks for it."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if os.path.exists(os.path.join(folder, "launcher.json")) or time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _write_identity(folder: str) -> None:
    pid = os.getpid()
    identity = {"pid": pid, "start": linux.start_ticks(pid), "boot": linux.boot_id()}
    path = os.path.join(folder, "launcher.json")
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(encode(identity) + "\n")
    os.replace(path + ".new", path)
