"""The application's end of the channel to its supervisor (zaffre.supervisor.control says what goes over it)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import msgspec

APPLY_S = 30.0
GONE = "the supervisor is gone"


class SupervisorLink:
    """Lines of JSON both ways. Without a supervisor's answer the edge counts as not applied, and without a supervisor
    there is nothing to stay for.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._stop: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting: dict[int, asyncio.Future[str | None]] = {}
        self._listening = asyncio.create_task(self._listen(reader))

    @classmethod
    async def open(cls, end: socket.socket) -> SupervisorLink:
        end.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    async def edge_changed(self, number: int) -> str | None:
        """Have nginx take its new files; what its test said against them, or None."""
        if self._listening.done():
            return GONE
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self.send({"type": "edge-changed", "id": number})
        try:
            return await asyncio.wait_for(answer, APPLY_S)
        except TimeoutError:
            return "the supervisor did not answer"
        finally:
            del self._waiting[number]

    async def stop_asked(self) -> dict[str, Any]:
        """Waits until the supervisor wants a clean stop; what it wants ended with it."""
        return await self._stop

    async def close(self) -> None:
        self._listening.cancel()
        with contextlib.suppress(ConnectionError):  # a supervisor that was killed hears no last word
            await self._writer.drain()
        self._writer.close()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            await self._hear(reader)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(GONE)
        if not self._stop.done():
            self._stop.set_result({"type": "stop", "models": False, "cancel_jobs": False})

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            message = msgspec.json.decode(line)
            if message.get("type") == "edge-applied" and message.get("id") in self._waiting:
                waiting = self._waiting[message["id"]]
                if not waiting.done():
                    waiting.set_result(message.get("error"))
            elif message.get("type") == "stop" and not self._stop.done():
                self._stop.set_result(message)
