"""The application's end of the bell: launchers say which run has news."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

_LONGEST = 1024


class BellSocket:
    """Listens on a unix datagram socket at `path` and calls `ring` with a run's id on the running loop.

    One id may come many times; some may be lost (a full queue, a restart), so listeners also look by themselves.
    """

    def __init__(self, path: Path, ring: Callable[[str], None]) -> None:
        self._path = path
        self._ring = ring
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Take the path over, from a predecessor that was killed too, and start to listen. Raises OSError."""
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        self._socket.bind(str(fresh))
        fresh.chmod(0o600)
        fresh.rename(self._path)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
        self._socket.close()

    def _receive(self) -> None:
        heard: dict[str, None] = {}
        with contextlib.suppress(BlockingIOError):
            while True:
                heard[self._socket.recv(_LONGEST).decode("utf-8", "replace")] = None
        for run_id in heard:
            self._ring(run_id)
