"""Copies of requests for shadow deployments: taken at once, sent on when there is time, dropped when there is none."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from zaffre.serving import sockets

WAITING = 256
WAITING_BYTES = 32 * 1024 * 1024

_log = logging.getLogger("zaffre.shadow")
_NOT_PASSED = frozenset(
    ("host", "connection", "content-length", "transfer-encoding", "authorization", "expect", "upgrade", "te")
)


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """Where copies go. `parallel` is how many it may be sent at once."""

    sockets: tuple[Path, ...]
    timeout_s: float
    parallel: int


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """One request as its client sent it; nobody waits for what it is answered."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Shadows:
    """`offer` never waits. `find` tells where the shadow of a name lies now, if it is one."""

    def __init__(self, find: Callable[[str], Shadow | None]) -> None:
        self._find = find
        self._lanes: dict[str, _Lane] = {}

    def offer(self, name: str, copy: Copy) -> bool:
        """Whether the copy was taken; False when the shadow is gone or is too slow for what it is sent."""
        shadow = self._find(name)
        if shadow is None or not shadow.sockets:
            return False
        return self._lanes.setdefault(name, _Lane(name)).take(shadow, copy)

    async def close(self) -> None:
        tasks = [task for lane in self._lanes.values() for task in lane.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Lane:
    """What waits for one shadow, and the tasks that send it on; none lives while nothing waits."""

    def __init__(self, name: str) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._name = name
        self._waiting: deque[Copy] = deque()
        self._bytes = 0
        self._dropped = 0
        self._turn = itertools.count()

    def take(self, shadow: Shadow, copy: Copy) -> bool:
        if len(self._waiting) >= WAITING or self._bytes + len(copy.body) > WAITING_BYTES:
            self._dropped += 1
            return False
        self._waiting.append(copy)
        self._bytes += len(copy.body)
        if len(self.tasks) < shadow.parallel:
            task = asyncio.create_task(self._send_all(shadow))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return True

    async def _send_all(self, shadow: Shadow) -> None:
        while self._waiting:
            copy = self._waiting.popleft()
            self._bytes -= len(copy.body)
            path = shadow.sockets[next(self._turn) % len(shadow.sockets)]
            try:
                async with asyncio.timeout(shadow.timeout_s):
                    await _send(path, copy)
            except (OSError, TimeoutError) as error:
                _log.info("a copy got no answer", extra={"shadow": self._name, "error": str(error) or "time is up"})
        if self._dropped:
            _log.warning(
                "copies dropped: the shadow is too slow", extra={"shadow": self._name, "copies": self._dropped}
            )
            self._dropped = 0


async def _send(path: Path, copy: Copy) -> None:
    reader, writer = await sockets.connect(path)
    try:
        lines = [f"{copy.method} {copy.target} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in copy.headers if name.lower() not in _NOT_PASSED]
        lines += [f"Content-Length: {len(copy.body)}", "", ""]
        writer.write("\r\n".join(lines).encode("latin-1") + copy.body)
        await writer.drain()
        while await reader.read(65536):
            pass
    finally:
        writer.close()
