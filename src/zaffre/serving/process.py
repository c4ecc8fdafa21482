"""Processes that outlive us: who they are, whether they live, how to watch and end them. The Linux calls stand here.

A pid alone is no identity (it is used again), so a process is known by pid, start time and boot.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """One process of one boot. `start_ticks` is field 22 of /proc/<pid>/stat."""

    pid: int
    start_ticks: int
    boot_id: str


class _Stat(msgspec.Struct, frozen=True):
    state: str
    session: int
    start_ticks: int


def spawn(
    command: Sequence[str], *, environment: Mapping[str, str], stdin: int, output: int, listener: int
) -> Identity:
    """Start `command` in a session of its own, with the listener as descriptor 3; nothing else is inherited."""
    pid = os.posix_spawn(
        command[0],
        list(command),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
            (os.POSIX_SPAWN_DUP2, listener, 3),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD),
    )
    stat = _stat(pid)
    if stat is None:  # an unreaped child always has an entry in /proc
        raise ProcessLookupError(f"Process {pid} is not visible in /proc; is /proc mounted?")
    return Identity(pid=pid, start_ticks=stat.start_ticks, boot_id=boot_id())


def alive(identity: Identity) -> bool:
    """Whether this very process runs (a zombie does not)."""
    if identity.boot_id != boot_id():
        return False
    _reap(identity.pid)
    stat = _stat(identity.pid)
    return stat is not None and stat.start_ticks == identity.start_ticks and stat.state not in "ZX"


async def ended(identity: Identity) -> None:
    """Return when the process has ended, be it our child or adopted. Costs nothing while it runs."""
    descriptor = _open_pidfd(identity)
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    try:
        loop.add_reader(descriptor, done.set)
        await done.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    _reap(identity.pid)


def end_session(identity: Identity, grace_s: float) -> None:
    """End the process and all of its session: SIGTERM, and after `grace_s` SIGKILL. Blocks until all are gone.

    Members are found even when their leader is dead: gunicorn's workers go on for a while after a killed master.
    """
    if identity.boot_id != boot_id():
        return
    leader = _stat(identity.pid)
    if leader is not None and leader.start_ticks != identity.start_ticks:
        return  # the pid is used again, which the kernel allows only when the session is empty
    deadline = time.monotonic() + grace_s
    if grace_s > 0:
        _signal_and_wait(identity, signal.SIGTERM, deadline)
    while members(identity):
        _signal_and_wait(identity, signal.SIGKILL, time.monotonic() + 5.0)
    _reap(identity.pid)


def members(identity: Identity) -> list[int]:
    """The living processes of the session this process leads or led, itself included."""
    found: list[int] = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if (
                stat is not None
                and stat.session == identity.pid
                and stat.state not in "ZX"
                and stat.start_ticks >= identity.start_ticks
            ):
                found.append(int(entry.name))
    return found


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _signal_and_wait(identity: Identity, number: signal.Signals, deadline: float) -> None:
    with ExitStack() as stack:
        poll = select.poll()
        waiting: set[int] = set()
        for pid in members(identity):
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, descriptor)
            try:
                signal.pidfd_send_signal(descriptor, number)
            except ProcessLookupError:
                continue
            poll.register(descriptor, select.POLLIN)
            waiting.add(descriptor)
        while waiting and (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                poll.unregister(descriptor)
                waiting.discard(descriptor)


def _open_pidfd(identity: Identity) -> int | None:
    if not alive(identity):
        return None
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if not alive(identity):  # the pid may have changed hands between the two calls
        os.close(descriptor)
        return None
    return descriptor


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name may hold blanks and parentheses
    return _Stat(fields[0].decode(), int(fields[3]), int(fields[19]))


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # adopted: init collects it
