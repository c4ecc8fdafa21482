"""One request to a provider: only where it may go, to the address that was looked at; its answer whole or line by line."""

from __future__ import annotations

import asyncio
import functools
import http.client
import socket
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

import msgspec

from zaffre.errors import InvalidInput, ZaffreError
from zaffre.services import outgoing
from zaffre.services.model_gateway.providers import PUBLIC_HOSTS
from zaffre.services.outgoing import Resolve

T = TypeVar("T")
AT_ONCE = 64
"""Requests that are under way at the same time; each takes a thread, later ones wait."""
CONNECT_S, READ_S, WHOLE_S = 10.0, 300.0, 600.0
"""The longest for a connection, for something to come, and for an answer that is not streamed."""
MOST_READ = 64 * 1024 * 1024
MOST_IN_LINE = 4 * 1024 * 1024


class Request(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    headers: dict[str, str]
    body: bytes


class ProviderFailed(ZaffreError):
    """A provider refused, failed, or was not reached. `status` is what the caller is answered."""

    code = "ProviderFailed"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Exchange:
    """An answer whose head was read. `lines` and `whole` read the rest, one of them once; `close` ends it at any time."""

    def __init__(self, threads: ThreadPoolExecutor, response: http.client.HTTPResponse, twin: socket.socket) -> None:
        self._threads = threads
        self._response = response
        self._twin = twin
        self.status = response.status

    async def whole(self) -> bytes:
        guard = threading.Timer(WHOLE_S, outgoing.cut, (self._twin,))
        guard.daemon = True
        guard.start()
        try:
            found = await _in(self._threads, functools.partial(self._response.read, MOST_READ + 1))
        finally:
            guard.cancel()
        if len(found) > MOST_READ:
            raise ProviderFailed(f"The provider's answer is longer than {MOST_READ} bytes.", 502)
        return found

    async def lines(self) -> AsyncIterator[bytes]:
        """Without their ends."""
        while True:
            line = await _in(self._threads, functools.partial(self._response.readline, MOST_IN_LINE + 1))
            if not line:
                return
            if len(line) > MOST_IN_LINE:
                raise ProviderFailed(f"A line of the provider's answer is longer than {MOST_IN_LINE} bytes.", 502)
            yield line.rstrip(b"\r\n")

    def close(self) -> None:
        outgoing.cut(self._twin)
        self._twin.close()
        self._response.close()


class Asker:
    """`hosts` are Settings.gateway_hosts; `bundle` holds the roots that certificates are held against."""

    def __init__(self, hosts: tuple[str, ...], bundle: Path, resolve: Resolve | None = None) -> None:
        self._hosts = hosts
        self._bundle = bundle
        self._resolve = resolve or outgoing.addresses
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="model-gateway")

    def check(self, base: str) -> SplitResult:
        """The parts of an address that providers may be asked at. Raises InvalidInput."""
        try:
            parts = urlsplit(base)
            port = parts.port
        except ValueError:
            raise _refused(base) from None
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None or port == 0:
            raise _refused(base)
        if not base.isascii() or any(letter <= " " for letter in base) or parts.query or parts.fragment:
            raise _refused(base)
        if not any(outgoing.matches(one, parts) for one in (*PUBLIC_HOSTS, *self._hosts)):
            raise InvalidInput(
                f"The gateway may not ask '{parts.scheme}://{parts.netloc}': it is no address of a provider that Zaffre knows, "
                "and the operator did not name it in ZAFFRE_GATEWAY_HOSTS.",
                target="api_base",
            )
        return parts

    async def ask(self, request: Request) -> Exchange:
        """Send it, following no redirect, and read the head of the answer. Raises ProviderFailed where none comes."""
        return await _in(self._threads, functools.partial(self._open, request))

    def _open(self, request: Request) -> Exchange:
        parts = urlsplit(request.url)
        self.check(f"{parts.scheme}://{parts.netloc}{parts.path}")
        assert parts.hostname is not None, "it was checked"
        port = outgoing.port_of(parts)
        raw = self._connected(parts, port)
        twin = raw.dup()  # TLS takes the socket itself over
        try:
            link = outgoing.secured(raw, parts, self._bundle)
            link.settimeout(READ_S)
            connection = http.client.HTTPConnection(parts.hostname, port)
            connection.sock = link
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = {**request.headers, "Host": parts.netloc, "Connection": "close"}
            connection.request("POST", target, request.body, headers)
            return Exchange(self._threads, connection.getresponse(), twin)
        except BaseException:
            twin.close()
            raw.close()
            raise

    def _connected(self, parts: SplitResult, port: int) -> socket.socket:
        """A connection to the first of its addresses that takes one. All of them must be public, unless the operator named the host."""
        assert parts.hostname is not None, "it was checked"
        found = self._resolve(parts.hostname, port)
        if not outgoing.names(self._hosts, parts):
            for one in found:
                if not outgoing.is_public(one):
                    raise ProviderFailed(
                        f"The provider's host '{parts.hostname}' has the address {one}, which is not public. If it shall be "
                        "asked, the operator names it in ZAFFRE_GATEWAY_HOSTS.",
                        502,
                    )
        failure = OSError(f"'{parts.hostname}' has no address")
        for one in found:
            try:
                return socket.create_connection((one, port), timeout=CONNECT_S)
            except OSError as error:
                failure = error
        raise failure


async def _in(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Do it on a thread; what networks do is told as the provider's failure."""
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
    except TimeoutError:
        raise ProviderFailed("The provider took too long.", 504) from None
    except OSError as error:
        raise ProviderFailed(f"The provider was not reached: {error}.", 502) from None
    except (http.client.HTTPException, ValueError) as error:
        # Their words may hold a header, and so a key.
        raise ProviderFailed(f"The provider could not be asked: {type(error).__name__}.", 502) from None


def _refused(base: str) -> InvalidInput:
    return InvalidInput(
        f"'{base[:200]}' is no address that a provider can be asked at; expected something like https://host/v1.",
        target="api_base",
    )
