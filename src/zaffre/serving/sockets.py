"""Unix sockets at paths of any length, and taking a path over from the server that holds it.

A socket address holds 107 bytes. A longer path is reached through an open descriptor of its folder
(`/proc/self/fd/N/name`), which, unlike chdir, is safe in threads.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BACKLOG = 4096  # requests wait here while every worker is busy; the kernel cuts it to net.core.somaxconn


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, 0600; whatever lay there is replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            listener.bind(address)
        path.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with _address(path) as address:
        return await asyncio.open_unix_connection(address)


def mark(path: Path) -> str | None:
    """What tells one bound socket from the next at the same path; renaming keeps it. None: nothing lies there."""
    try:
        stat = path.lstat()
    except FileNotFoundError:
        return None
    return f"{stat.st_dev}-{stat.st_ino}-{stat.st_mtime_ns}"


def coming(path: Path) -> Path:
    """Where the next server for `path` listens until it is ready."""
    return path.with_name(path.name + ".new")


@contextmanager
def _address(path: Path) -> Iterator[str]:
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
