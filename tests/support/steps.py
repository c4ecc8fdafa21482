"""How much a query asks of SQLite: steps of its machine, which do not depend on what else the computer does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from zaffre.store.database import Database

T = TypeVar("T")
_EVERY = 10


def steps_of(database: Database, look: Callable[[sa.Connection], T]) -> tuple[T, int]:
    """What `look` found, and the tens of steps that it took."""

    def work(conn: sa.Connection) -> tuple[T, int]:
        driver: Any = conn.connection.driver_connection
        count = 0

        def tick() -> int:
            nonlocal count
            count += 1
            return 0

        driver.set_progress_handler(tick, _EVERY)
        try:
            found = look(conn)
        finally:
            driver.set_progress_handler(None, 0)
        return found, count

    return database.read_now(work)
