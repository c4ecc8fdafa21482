"""What `/metrics` shows of this process: plain counters, cheap enough to be counted at every request and every commit."""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
UNITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
LOOK_EVERY_S = 0.5
UNKNOWN = ("none", "none")
"""Protocol and operation of a request that nothing answers: what a client made up must never become a label."""


class Histogram:
    """How many values were at most each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(self.bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        with self._lock:
            self._counts[bisect_left(self.bounds, value)] += 1
            self._sum += value

    def read(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts by bound, the last of which is `+Inf`, and the sum: as Prometheus has them."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        found, so_far = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), counts, strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found, total


class Measures:
    """One a process. Labels come from the table of routes, so there are never more of them than operations."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, str], int] = {}
        self.seconds: dict[tuple[str, str], Histogram] = {}
        self.batches = Histogram(UNITS)
        self.commits = Histogram(SECONDS)
        self.lag = Histogram(SECONDS)

    def request(self, operation: tuple[str, str], status: int, seconds: float) -> None:
        """One answered request of (protocol, operation). On the event loop only."""
        key = (*operation, str(status))
        self.requests[key] = self.requests.get(key, 0) + 1
        histogram = self.seconds.get(operation)
        if histogram is None:
            histogram = self.seconds[operation] = Histogram(SECONDS)
        histogram.add(seconds)

    def batch(self, units: int, seconds: float) -> None:
        """One commit of the writer: how many units shared it, and how long it took."""
        self.batches.add(units)
        self.commits.add(seconds)

    async def watch_loop(self) -> None:
        """For ever: how much later than asked the event loop comes back, which is how long something held it."""
        while True:
            asked = time.perf_counter() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            self.lag.add(max(0.0, time.perf_counter() - asked))
