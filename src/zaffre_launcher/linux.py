"""What the launcher needs of Linux: adopting orphans, dying parents, the process table. The one place for it."""

from __future__ import annotations

import _signal as signals  # type: ignore[import-not-found,unused-ignore]  # `signal` imports `enum`, 5 ms
import os

__all__ = ["Process", "adopt_orphans", "boot_id", "descendants", "die_with_parent", "signals", "start_ticks"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process:
    """One row of the process table: parent, seconds of CPU (its own and its reaped children's), resident bytes."""

    __slots__ = ("cpu_s", "parent", "pid", "rss", "state")

    def __init__(self, pid: int, parent: int, state: str, cpu_s: float, rss: int) -> None:
        self.pid = pid
        self.parent = parent
        self.state = state
        self.cpu_s = cpu_s
        self.rss = rss


def adopt_orphans() -> bool:
    """Make this process the parent of every descendant that loses its own, so that none of the job can slip away.

    `setsid`, double forks and daemons included. False where the kernel refuses.
    """
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1) == 0


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to signal this process when its parent ends; a job must not run on unwatched."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot: with pid and boot id this names it for ever."""
    with open("/proc/%d/stat" % pid, "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def boot_id() -> str:
    """This boot of the machine, as the kernel names it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()


def descendants(root: int) -> list[Process]:
    """Every living process below `root`, whatever session or group it is in."""
    children: dict[int, list[Process]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = _read(int(name))
            if process is not None:
                children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    todo = [root]
    while todo:
        for process in children.get(todo.pop(), ()):
            found.append(process)
            todo.append(process.pid)
    return found


def _read(pid: int) -> Process | None:
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None  # it ended while we looked
    if len(fields) < 22:
        return None
    cpu = sum(int(ticks) for ticks in fields[11:15]) / _TICKS
    return Process(pid, int(fields[1]), fields[0].decode(), cpu, int(fields[21]) * _PAGE)


def _prctl(option: int, value: int) -> int:
    try:
        # `ctypes` costs 15 ms of the job's start; the extension module under it has all that is needed.
        import _ctypes

        itself = _ctypes.dlopen(None, 0)  # type: ignore[arg-type,unused-ignore]
        arguments = (option, value, 0, 0, 0)
        result: int = _ctypes.call_function(_ctypes.dlsym(itself, "prctl"), arguments)
    except (AttributeError, OSError, TypeError):
        import ctypes

        result = ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except ImportError:
        return -1  # a Python built without ctypes: process groups alone must do
    return result
