"""Writes that are made together: each is answered for itself, whatever happens to its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from zaffre.errors import InvalidInput, StorageFull, ZaffreError
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.together import MOST, Together
from zaffre.store.unit import Unit

_t = tables.principals


def _add(unit: Unit, names: Sequence[str]) -> list[int | ZaffreError]:
    """Rows of a table, and how many were made with each; a bad name is refused, a worse one breaks the whole statement."""
    if "full" in names:
        raise StorageFull("no room")
    good = [name for name in names if name != "bad"]
    for name in good:
        id_ = None if name == "worse" else name
        unit.conn.execute(sa.insert(_t).values(id=id_, name=name, kind="User", role="x", created_at=1))
    return [InvalidInput("bad") if name == "bad" else len(good) for name in names]


def _write(database: Database, *names: str) -> list[int | BaseException]:
    async def all_at_once() -> list[int | BaseException]:
        together: Together[str, int] = Together(database, _add)
        return await asyncio.gather(*map(together.write, names), return_exceptions=True)

    return asyncio.run(all_at_once())


def _there(database: Database) -> set[str]:
    return set(database.read_now(lambda conn: conn.execute(sa.select(_t.c.id)).scalars()))


def test_what_waits_is_written_at_once_and_each_is_answered(database: Database) -> None:
    found = _write(database, "a", "bad", "b")
    assert isinstance(found[1], InvalidInput)
    assert (found[0], found[2]) == (2, 2), "one unit made both"
    assert _there(database) == {"a", "b"}


def test_one_that_breaks_the_statement_fails_alone(database: Database) -> None:
    found = _write(database, "a", "worse", "b")
    assert isinstance(found[1], Exception) and not isinstance(found[1], ZaffreError)
    assert (found[0], found[2]) == (1, 1), "each by itself"
    assert _there(database) == {"a", "b"}


def test_a_fault_of_the_database_is_told_to_all(database: Database) -> None:
    assert [type(one) for one in _write(database, "a", "full", "b")] == [StorageFull] * 3
    assert _there(database) == set()


def test_no_unit_is_too_large(database: Database) -> None:
    found = _write(database, *map(str, range(MOST + 10)))
    assert found == [MOST] * MOST + [10] * 10


def test_who_has_gone_is_written_for_all_the_same(database: Database) -> None:
    async def leave() -> None:
        together: Together[str, int] = Together(database, _add)
        gone = asyncio.create_task(together.write("gone"))
        stays = asyncio.create_task(together.write("stays"))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(leave())
    assert _there(database) == {"gone", "stays"}
