"""The channel between supervisor and application: lines of JSON over a socket pair, both ways.

application -> supervisor
    {"type": "ready"}                              requests are answered from now on
    {"type": "edge-changed", "id": 7}              nginx's files on disk have changed and passed no test yet
    {"type": "stopped", "running_jobs": ["name"]}  the answer to stop: what could be ended is, these jobs go on
supervisor -> application
    {"type": "edge-applied", "id": 7, "error": null}   nginx runs with them, or why the old stay
    {"type": "stop", "models": true, "cancel_jobs": false}
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

_LONGEST_LINE = 4 * 1024 * 1024

Message = dict[str, Any]


class Channel:
    """Our end of the channel to one application process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> "Channel":
        end.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=end, limit=_LONGEST_LINE)
        return cls(reader, writer)

    def send(self, message: Message) -> None:
        """Send without waiting; to a process that has ended it is dropped."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def messages(self) -> AsyncIterator[Message]:
        """Every message until the other end closes. A line that is no object with a type ends the channel, too."""
        while True:
            try:
                line = await self._reader.readline()
                message = json.loads(line) if line.endswith(b"\n") else None
            except (ConnectionError, ValueError):
                return
            if not isinstance(message, dict) or not isinstance(message.get("type"), str):
                return
            yield message

    def close(self) -> None:
        self._writer.close()
