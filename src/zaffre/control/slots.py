"""Room on a target: how many jobs may run at once; the urgent first, then first come, first served."""

from __future__ import annotations

import asyncio
import heapq

MEDIUM = 2


class Slots:
    """Counted per compute. A job that ran before the server was restarted takes its slot without asking."""

    def __init__(self) -> None:
        self._holders: dict[str, set[int]] = {}
        self._waiting: dict[str, list[tuple[int, int]]] = {}
        self._room: dict[str, int] = {}
        self._changed = asyncio.Condition()

    def take(self, compute: str, job: int) -> None:
        """Hold a slot for a job that runs already, even above the capacity."""
        self._holders.setdefault(compute, set()).add(job)

    async def acquire(self, compute: str, job: int, capacity: int, priority: int = MEDIUM) -> None:
        """Wait for room; those of a higher priority are served first, then in the order of the jobs' numbers."""
        holders = self._holders.setdefault(compute, set())
        waiting = self._waiting.setdefault(compute, [])
        self._room[compute] = capacity
        place = (-priority, job)
        heapq.heappush(waiting, place)
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: len(holders) < self._room[compute] and waiting[0] == place)
                holders.add(job)
        finally:
            waiting.remove(place)
            heapq.heapify(waiting)
            async with self._changed:
                self._changed.notify_all()

    def awaited(self) -> list[str]:
        """The computes that jobs wait for."""
        return [compute for compute, waiting in self._waiting.items() if waiting]

    async def resize(self, compute: str, capacity: int) -> None:
        """A compute has become larger or smaller; whoever has a slot keeps it."""
        self._room[compute] = capacity
        async with self._changed:
            self._changed.notify_all()

    async def release(self, compute: str, job: int) -> None:
        self._holders.get(compute, set()).discard(job)
        async with self._changed:
            self._changed.notify_all()
