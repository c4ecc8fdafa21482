"""`run/supervisor.sock`: what the command line asks a running supervisor, a line of JSON each way.

{"cmd": "status"}                     -> {"pid": …, "port": …, "application": {…}, "nginx": {…}, "since": "…"}
{"cmd": "stop", "cancel_jobs": false} -> {"progress": "…"} …, {"stopped": true, "running_jobs": […], "pid": …}
"""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any, Protocol

from zaffre.supervisor.console import Console


class Commanded(Protocol):
    """What commands act on."""

    def status(self) -> dict[str, Any]: ...

    def request_stop(self, *, cancel_jobs: bool) -> None: ...


class CommandServer:
    """Answers on the socket until `finish`."""

    def __init__(self, target: Commanded, console: Console) -> None:
        self._target = target
        self._console = console
        self._result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._open: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)

    async def finish(self, result: dict[str, Any]) -> None:
        """Give the result to those who asked for the stop, and end."""
        if self._server is not None:
            self._server.close()
        self._result.set_result(result)
        if self._open:
            await asyncio.wait(self._open, timeout=2.0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._answer(await reader.readline(), lambda value: writer.write(json.dumps(value).encode() + b"\n"))
            await writer.drain()
        except (ConnectionError, ValueError):
            return  # the asker has left, or sent what is no line of ours
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, line: bytes, send: Callable[[dict[str, Any]], None]) -> None:
        try:
            command = json.loads(line)
        except ValueError:
            command = None
        match command:
            case {"cmd": "status"}:
                send(self._target.status())
            case {"cmd": "stop", **rest}:
                await self._stop(bool(rest.get("cancel_jobs")), send)
            case _:
                send({"error": "The supervisor knows the commands status and stop."})

    async def _stop(self, cancel_jobs: bool, send: Callable[[dict[str, Any]], None]) -> None:
        def follow(text: str) -> None:
            send({"progress": text})

        self._console.followers.append(follow)
        self._target.request_stop(cancel_jobs=cancel_jobs)
        try:
            send(await asyncio.shield(self._result))
        finally:
            self._console.followers.remove(follow)
