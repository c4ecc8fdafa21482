"""Every call that only Linux has: process facts from /proc, pidfds, dying with the parent, and who holds a port."""

import ctypes
import ipaddress
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LISTEN = "0A"


@dataclass(frozen=True)
class Stat:
    """What /proc/<pid>/stat says of a process. `start_time` is in clock ticks since the machine started."""

    state: str
    parent: int
    session: int
    start_time: int


def boot_id() -> str:
    """Tells two runs of the machine apart: a pid and a start time mean nothing across them."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def stat(pid: int) -> Stat | None:
    """The facts of a process, or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before may hold blanks and brackets
    return Stat(state=fields[0], parent=int(fields[1]), session=int(fields[3]), start_time=int(fields[19]))


def command_line(pid: int) -> str:
    """The words a process was started with, or the title it gave itself; empty when it is gone."""
    try:
        data = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return data.replace(b"\0", b" ").decode(errors="replace").strip()


def children(pid: int) -> list[int]:
    """The processes whose parent is `pid`."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except (FileNotFoundError, ProcessLookupError):  # it is gone, or the kernel was built without that file
        return [other for other, facts in _processes() if facts.parent == pid]


def session_members(session: int) -> list[int]:
    """The living processes of a session. Its number is not given out again while there is one."""
    return [pid for pid, facts in _processes() if facts.session == session and facts.state not in "ZX"]


def own_addresses(version: int) -> list[str]:
    """The addresses of this machine by which others may reach it: none of the loopback's, none that needs a zone."""
    try:
        if version == 4:
            text = Path("/proc/net/fib_trie").read_text(encoding="ascii")
            found = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", text)
        else:
            lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
            found = [str(ipaddress.IPv6Address(int(line.split()[0], 16))) for line in lines]
    except OSError:  # the kernel was built without it
        return []
    addresses = (ipaddress.ip_address(one) for one in dict.fromkeys(found))
    return [str(one) for one in addresses if not one.is_loopback and not one.is_link_local]


def open_pidfd(pid: int) -> int | None:
    """A handle that keeps meaning this process (readable once it has ended), or None when there is no such process."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def signal_pidfd(pidfd: int, number: signal.Signals) -> bool:
    """Send a signal to exactly the process of the handle; False when it has ended."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def die_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when the thread that started it ends; leave at once if it has ended.

    It survives exec. `parent` is the pid that started us: it may have ended before the call.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM.value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        raise SystemExit(0)


def port_holder(port: int) -> tuple[int, str] | None:
    """(pid, command line) of a process that listens on a TCP port, if we may see it."""
    inodes = {inode for name in ("tcp", "tcp6") for inode in _listening_inodes(Path("/proc/net", name), port)}
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid, _ in _processes():
        if any(target in wanted for target in _open_files(pid)):
            return pid, command_line(pid)
    return None


def folder_alias(handle: int) -> Path:
    """A short path that means the open folder: a socket's path may be 107 bytes long, a home's may be longer."""
    return Path(f"/proc/self/fd/{handle}")


def _processes() -> Iterator[tuple[int, Stat]]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            facts = stat(int(entry.name))
            if facts is not None:
                yield int(entry.name), facts


def _listening_inodes(table: Path, port: int) -> Iterator[str]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except FileNotFoundError:
        return
    for line in lines:
        fields = line.split()
        if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
            yield fields[9]


def _open_files(pid: int) -> Iterator[str]:
    try:
        entries = list(os.scandir(f"/proc/{pid}/fd"))
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return
    for entry in entries:
        try:
            yield str(Path(entry.path).readlink())
        except (FileNotFoundError, PermissionError):
            continue
