"""Load: clients that each send request after request over a connection of their own, kept open.

A slow generator makes a server look expensive: it then wakes up for every single request. So this one does little.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import uvloop  # a dependency of Zaffre itself

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """Where requests go: a TCP port of this machine, by TLS with a context; or a unix socket by plain HTTP."""

    port: int = 0
    context: ssl.SSLContext | None = None
    socket: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """`refused` of the `requests` were not answered with 200."""

    requests: int
    seconds: float
    refused: int = 0

    @property
    def rate(self) -> float:
        """What was done, a second."""
        return (self.requests - self.refused) / self.seconds


Requests = bytes | Callable[[], bytes]
"""The same one again and again, or what makes the next one; it should do little."""


class LoadError(Exception):
    """A request was not answered with 200, or an answer could not be read."""


def message(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """One HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def between(
    target: Target,
    request: Requests,
    *,
    clients: int,
    requests: int,
    look: Callable[[], T],
    warm: int = 4,
    tolerant: bool = False,
) -> tuple[T, T, Outcome]:
    """What `look` saw just before and just after `requests` in all, `clients` at a time.

    Before means: when every client has its connection and has been answered `warm` times, so that neither handshakes nor
    first calls are counted. Any answer but 200 is a LoadError, or, for a `tolerant` caller, counted as refused.
    """

    async def work() -> tuple[T, T, Outcome]:
        load = _Load(target, request, clients, tolerant)
        await load.run(clients * warm)
        before = look()
        outcome = await load.run(requests)
        after = look()
        load.close()
        return before, after, outcome

    return uvloop.run(work())


class _Load:
    def __init__(self, target: Target, request: Requests, clients: int, tolerant: bool) -> None:
        self._target = target
        self._tolerant = tolerant
        self._refused = 0
        self._left = 0
        self._busy = 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._clients = [_Client(self, request) for _ in range(clients)]
        self._connecting: set[asyncio.Task[None]] = set()

    async def run(self, requests: int) -> Outcome:
        self._done = asyncio.get_running_loop().create_future()
        for client in self._clients:
            if not client.connected:
                await self._connect(client)
        self._left, self._busy, self._refused = requests, len(self._clients), 0
        started = time.perf_counter()
        for client in self._clients:
            self.next(client)
        await self._done
        return Outcome(requests, time.perf_counter() - started, self._refused)

    def next(self, client: _Client) -> None:
        """Have the client send another one, if any are left."""
        if self._done.done():
            return
        if self._left == 0:
            self._busy -= 1
            if self._busy == 0:
                self._done.set_result(None)
        elif client.connected:
            self._left -= 1
            client.send()
        else:
            task = asyncio.create_task(self._again(client))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def refuse(self, answer: bytes) -> None:
        """Any answer but 200."""
        self._refused += 1
        if not self._tolerant:
            self.fail(LoadError(answer[:1000].decode(errors="replace")))

    def fail(self, error: LoadError) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    async def _again(self, client: _Client) -> None:
        """A server that closed the connection is asked over a new one."""
        try:
            await self._connect(client)
        except OSError as error:
            self.fail(LoadError(f"no new connection: {error}"))
        else:
            self.next(client)

    async def _connect(self, client: _Client) -> None:
        loop, target = asyncio.get_running_loop(), self._target
        if target.socket is not None:
            await loop.create_unix_connection(lambda: client, str(target.socket))
        else:
            await loop.create_connection(
                lambda: client,
                "127.0.0.1",
                target.port,
                ssl=target.context,
                server_hostname="localhost" if target.context is not None else None,
            )


class _Client(asyncio.Protocol):
    def __init__(self, load: _Load, request: Requests) -> None:
        self._load = load
        self._request = request if callable(request) else (lambda: request)
        self._transport: asyncio.Transport | None = None
        self._waiting = False
        self._received = b""

    @property
    def connected(self) -> bool:
        return self._transport is not None

    def send(self) -> None:
        assert self._transport is not None
        self._waiting = True
        self._transport.write(self._request())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its base class

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waiting:
            self._load.fail(LoadError(f"the server closed the connection instead of answering: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[: end + 4].lower()
        try:
            size = end + 4 + content_length(head)
        except LoadError as error:
            self._load.fail(error)
            return
        if len(self._received) < size:
            return
        answer, self._received, self._waiting = self._received[:size], b"", False
        if head[9:12] != b"200":
            self._load.refuse(answer)
        if b"\r\nconnection: close\r\n" in head and self._transport is not None:
            self._transport.abort()
            self._transport = None
        self._load.next(self)


def content_length(head: bytes) -> int:
    """The length of the body, from a head in lower case. Raises LoadError when it is not said."""
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if not found:
        raise LoadError("an answer without a Content-Length, which this load generator does not read")
    return int(rest.split(b"\r\n", 1)[0])
