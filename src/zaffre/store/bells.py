"""Bells: how a committed change wakes the loops that wait for it. A bell carries no truth, only "look again"."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

Listener = Callable[[str], None]


class Bells:
    """Listeners are called with the key, on the thread that committed; they must only hand it on."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}
        self._lock = threading.Lock()

    def listen(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` whenever `topic` rings; the result takes it off again."""
        with self._lock:
            self._listeners.setdefault(topic, []).append(listener)

        def stop() -> None:
            with self._lock:
                self._listeners[topic].remove(listener)

        return stop

    def ring_all(self) -> None:
        """Bells may have been missed: every listener is called with an empty key, for everything of its topic."""
        with self._lock:
            listeners = [listener for topic in self._listeners.values() for listener in topic]
        for listener in listeners:
            listener("")

    def ring(self, bells: Iterable[tuple[str, str]]) -> None:
        for topic, key in bells:
            for listener in tuple(self._listeners.get(topic, ())):
                listener(key)
