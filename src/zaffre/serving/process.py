"""Model servers as processes that outlive us: started, watched, and ended with all of their session."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from zaffre import processes
from zaffre.processes import Identity


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
    row = processes.row(pid)
    if row is None:  # an unreaped child always has an entry in /proc
        raise ProcessLookupError(f"Process {pid} is not visible in /proc; is /proc mounted?")
    return Identity(pid=pid, start=row.start, boot=processes.boot_id())


def alive(identity: Identity) -> bool:
    """Whether this very process runs (a zombie does not)."""
    _reap(identity.pid)
    return processes.is_alive(identity)


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
    if identity.boot != processes.boot_id():
        return
    leader = processes.row(identity.pid)
    if leader is not None and leader.start != identity.start:
        return  # the pid is used again, which the kernel allows only when the session is empty
    deadline = time.monotonic() + grace_s
    if grace_s > 0:
        _signal_and_wait(identity, signal.SIGTERM, deadline)
    while members(identity):
        _signal_and_wait(identity, signal.SIGKILL, time.monotonic() + 5.0)
    _reap(identity.pid)


def members(identity: Identity) -> list[int]:
    """The living processes of the session this process leads or led, itself included."""
    return [
        row.pid
        for row in processes.table()
        if row.session == identity.pid and row.state not in "ZX" and row.start >= identity.start
    ]


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


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # adopted: init collects it
