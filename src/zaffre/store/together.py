"""Small writes of one kind that are made together: what waits while a commit runs goes into the next one, as one statement.

A unit of its own costs each small write a savepoint and its own statements, on PostgreSQL a commit, too. So the hottest kinds
hand over what they want written, and one unit writes all of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from zaffre.errors import ZaffreError
from zaffre.store.database import Database
from zaffre.store.unit import Unit

I = TypeVar("I")  # noqa: E741  what is handed over
R = TypeVar("R")  # what comes of it
MOST = 512
"""In one unit: enough to make the commit's share small, few enough to keep those behind it from waiting."""
TURNS = 3
"""Of the loop, between two units: whom the last one answered is told, and who waits in the sockets is read."""


class Together(Generic[I, R]):
    """`work` is given the unit and many items, and answers for each what came of it, or the error it alone failed with."""

    def __init__(self, database: Database, work: Callable[[Unit, Sequence[I]], Sequence[R | ZaffreError]]) -> None:
        self._database = database
        self._work = work
        self._waiting: deque[tuple[I, asyncio.Future[R]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def write(self, item: I) -> R:
        """What came of `item`, once it is on disk. Raises what it failed with."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        return await future

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await self._write_some()
        finally:
            self._writing = None

    async def _write_some(self) -> None:
        taken: list[tuple[I, asyncio.Future[R]]] = []

        def work(unit: Unit) -> Sequence[R | ZaffreError]:
            # On the writer's thread, and maybe again: whatever has come until the unit's turn goes along.
            while len(taken) < MOST:
                try:
                    taken.append(self._waiting.popleft())
                except IndexError:
                    break
            return self._work(unit, [item for item, _ in taken])

        # Whoever has asked by now is heard first, so that more goes into one unit.
        for _ in range(TURNS):
            await asyncio.sleep(0)
        try:
            results = await self._database.write(work)
        except Exception as error:  # noqa: BLE001  it belongs to those who wait
            await self._fail(taken, error)
            return
        for (_, future), result in zip(taken, results, strict=True):
            _settle(future, result)

    async def _fail(self, taken: list[tuple[I, asyncio.Future[R]]], error: Exception) -> None:
        """A fault of the database's own is everybody's; any other is looked for by writing each alone."""
        if not taken:
            taken = [*self._waiting]
            self._waiting.clear()
        if isinstance(error, ZaffreError) or len(taken) == 1:
            for _, future in taken:
                _settle(future, error)
            return
        for item, future in taken:
            try:
                (result,) = await self._database.write(lambda unit, item=item: self._work(unit, [item]))  # type: ignore[misc]
            except Exception as own:  # noqa: BLE001  it belongs to the one who waits
                _settle(future, own)
            else:
                _settle(future, result)


def _settle(future: asyncio.Future[R], result: R | Exception) -> None:
    if future.done():  # whoever asked has gone
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
