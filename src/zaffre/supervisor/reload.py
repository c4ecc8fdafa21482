"""Changes of nginx's files, batched to one reload a second: many at once make nginx collapse."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from zaffre.supervisor.control import Channel

INTERVAL = 1.0


class Reloads:
    """Collects wishes, applies them together, and answers each on the channel it came by."""

    def __init__(self, apply: Callable[[], Awaitable[str | None]], log: Callable[[str, str], None]) -> None:
        self.last_error: str | None = None
        self._apply = apply
        self._log = log
        self._wishes: list[tuple[Channel, Any]] = []
        self._bell = asyncio.Event()

    def wish(self, channel: Channel, number: Any) -> None:
        """The application has written files: test and use them soon, then answer `edge-applied` with this number."""
        self._wishes.append((channel, number))
        self._bell.set()

    async def run(self) -> None:
        """Serve wishes for ever: the first at once, those that come within a second of it together after that."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            # Taken before the files are read: a change during the test rings again and is served by the next round.
            wishes, self._wishes = self._wishes, []
            began = time.monotonic()
            self.last_error = await self._apply()
            if self.last_error is not None:
                self._log("ERROR", self.last_error)
            for channel, number in wishes:
                channel.send({"type": "edge-applied", "id": number, "error": self.last_error})
            await asyncio.sleep(max(0.0, began + INTERVAL - time.monotonic()))
