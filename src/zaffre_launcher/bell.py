"""Tells the application at once that something is new, so that it need not keep looking."""

from __future__ import annotations

import time

_AT_MOST_EVERY = 0.05


class Bell:
    """A datagram with the run's id to a unix socket. Nobody need listen: whoever watches also looks by himself."""

    def __init__(self, address: str | None, run_id: str) -> None:
        self._address = address or ""
        self._message = run_id.encode("utf-8")
        self._last = 0.0
        self._owed = False
        self._socket = None
        if address:
            import _socket  # `socket` imports `selectors` and `enum`, 10 ms

            self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    def ring(self) -> None:
        """Ring now."""
        self._owed = False
        if self._socket is not None:
            try:
                self._socket.sendto(self._message, self._address)
            except OSError:
                return  # no application at the moment, or its queue is full

    def ring_soon(self) -> None:
        """Ring for new output: now, or as soon as the last time is long enough ago."""
        now = time.monotonic()
        if now - self._last >= _AT_MOST_EVERY:
            self._last = now
            self.ring()
        else:
            self._owed = True

    def due(self) -> float | None:
        """When a ring is owed, if one is (monotonic seconds)."""
        return self._last + _AT_MOST_EVERY if self._owed else None
