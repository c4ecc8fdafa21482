"""CPU and memory of process trees, read from /proc."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """`pid` and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """User and system seconds of these processes and of the children they have reaped, to 10 ms.

    For a whole tree that counts those that ended too, as long as each was reaped by its own parent.
    """
    total = 0
    for pid in pids:
        fields = _stat(pid)
        total += sum(int(field) for field in fields[11:15]) if fields is not None else 0
    return total * _TICK_S


def pss_mb(pid: int) -> float:
    """Proportional set size in MB (10^6 bytes): shared pages are split among those that share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "Pss":
            return int(rest.split()[0]) * 1024 / 1e6
    raise ValueError(f"/proc/{pid}/smaps_rollup has no line Pss")


def peak_mb(pid: int) -> float:
    """The most resident memory in MB (10^6 bytes) since the process began, or since its `clear_refs` was given a 5."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "VmHWM":
            return int(rest.split()[0]) * 1024 / 1e6
    raise ValueError(f"/proc/{pid}/status has no line VmHWM")


def cpu_of_command(command: Sequence[str]) -> float:
    """User and system seconds of a command that ends by itself, with its children. Raises when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the third on; the second, the name, may hold blanks and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()
