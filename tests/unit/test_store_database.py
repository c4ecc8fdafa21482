"""The writer's contract, on both databases: durable when answered, alone in failure, bells after the commit."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from zaffre.errors import StorageFull, Unavailable
from zaffre.store import engines, resources, tables
from zaffre.store.database import Database
from zaffre.store.raw import fetch_raw, run_raw
from zaffre.store.unit import Actor, Unit

ADA = Actor(name="ada")


def _put(name: str):  # type: ignore[no-untyped-def]
    return lambda unit: resources.insert(unit, ADA, "scope", "t", name, {"properties": {}}, {})


def _names(conn: sa.Connection) -> list[str]:
    return sorted(row.name for row in resources.listing(conn, "scope", "t"))


def test_a_unit_that_fails_takes_nothing_with_it(database: Database) -> None:
    def fails(unit: Unit) -> None:
        _put("lost")(unit)
        raise ValueError("no")

    async def work() -> list[object]:
        return list(
            await asyncio.gather(
                database.write(_put("one")), database.write(fails), database.write(_put("two")), return_exceptions=True
            )
        )

    first, error, last = asyncio.run(work())
    assert (first, last) == (True, True)
    assert isinstance(error, ValueError)
    assert database.read_now(_names) == ["one", "two"]


def test_many_writers_lose_nothing(database: Database) -> None:
    def write(start: int) -> None:
        for number in range(start, start + 25):
            database.write_now(_put(f"n{number}"))

    threads = [threading.Thread(target=write, args=(start,)) for start in range(0, 200, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(database.read_now(_names)) == 200


def test_an_insert_twice_is_told(database: Database) -> None:
    assert database.write_now(_put("Name")) is True
    assert database.write_now(_put("nAME")) is False


def test_bells_ring_after_the_commit(database: Database) -> None:
    heard: list[tuple[str, list[str]]] = []
    database.bells.listen("topic", lambda key: heard.append((key, database.read_now(_names))))

    def work(unit: Unit) -> None:
        _put("row")(unit)
        unit.ring("topic", "key")

    database.write_now(work)
    assert heard == [("key", ["row"])]


def test_a_guarded_transition_happens_once(database: Database) -> None:
    database.write_now(_put("row"))
    where = tables.resources.c.name == "row"

    def move(unit: Unit) -> bool:
        return unit.transition(tables.resources, where, "state", ("Succeeded",), "Deleting")

    assert [database.write_now(move), database.write_now(move)] == [True, False]


def test_audit_and_event_are_in_the_same_transaction(database: Database) -> None:
    def work(unit: Unit) -> None:
        unit.audit(ADA, "a/write", "target", detail={"x": 1})
        unit.emit("scope", "topic", "key")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        database.write_now(work)
    for table in (tables.audit, tables.events):
        assert (
            database.read_now(lambda conn, t=table: conn.execute(sa.select(sa.func.count()).select_from(t)).scalar())
            == 0
        )


def test_a_full_disk_is_named_and_passes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'z.db'}")
    tables.metadata.create_all(database.engine)
    pages = database.write_now(lambda unit: unit.conn.exec_driver_sql("PRAGMA page_count").scalar())
    database.write_now(lambda unit: unit.conn.exec_driver_sql(f"PRAGMA max_page_count={pages + 4}"))

    def big(unit: Unit) -> None:
        resources.insert(unit, ADA, "scope", "t", "big", {"properties": {"x": "y" * 1_000_000}}, {})

    with pytest.raises(StorageFull, match="full"):
        database.write_now(big)
    database.write_now(lambda unit: unit.conn.exec_driver_sql("PRAGMA max_page_count=100000"))
    database.write_now(big)
    assert database.read_now(_names) == ["big"]
    database.close()


def test_a_database_that_went_away_is_named_and_comes_back(postgres_url: str) -> None:
    made = Database(postgres_url)

    def die(conn: sa.Connection) -> None:
        conn.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(Unavailable, match="database"):
        made.read_now(die)
    with pytest.raises(Unavailable, match="database"):
        made.write_now(lambda unit: die(unit.conn))
    assert made.read_now(lambda conn: conn.execute(sa.text("SELECT 1")).scalar()) == 1
    with pytest.raises(sa.exc.ProgrammingError):
        made.read_now(lambda conn: conn.execute(sa.text("SELECT nothing")))
    made.close()


@pytest.mark.parametrize("raw", [False, True])
def test_a_connection_that_ended_while_it_rested_is_not_used_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, raw: bool
) -> None:
    monkeypatch.setattr(engines, "UNUSED_S", 0.0)
    made = Database(postgres_url)

    def process(conn: sa.Connection) -> int:
        query = "SELECT pg_backend_pid()"
        return int(fetch_raw(conn, query, ())[0][0] if raw else conn.execute(sa.text(query)).scalar_one())

    def both() -> list[int]:
        return [made.read_now(process), made.write_now(lambda unit: process(unit.conn))]

    rested = both()
    assert both() == rested
    with sa.create_engine(made.engine.url).connect() as other:
        for pid in rested:
            assert other.execute(sa.select(sa.func.pg_terminate_backend(pid))).scalar_one()
    assert not set(both()) & set(rested)
    made.close()


def test_faults_past_sqlalchemy_are_told_as_its_own(postgres_url: str) -> None:
    made = Database(postgres_url)

    def die(conn: sa.Connection) -> None:
        fetch_raw(conn, "SELECT pg_terminate_backend(pg_backend_pid())", ())

    with pytest.raises(Unavailable, match="database"):
        made.read_now(die)
    with pytest.raises(Unavailable, match="database"):
        made.write_now(lambda unit: die(unit.conn))
    assert made.read_now(lambda conn: fetch_raw(conn, "SELECT ?::int", (1,))) == [(1,)]
    with pytest.raises(sa.exc.ProgrammingError, match="nothing"):
        made.read_now(lambda conn: fetch_raw(conn, "SELECT nothing", ()))
    made.write_now(lambda unit: run_raw(unit.conn, "CREATE TABLE one (n int PRIMARY KEY)", [()]))
    with pytest.raises(sa.exc.IntegrityError, match="one_pkey"):
        made.write_now(lambda unit: run_raw(unit.conn, "INSERT INTO one VALUES (?)", [(1,), (1,)]))
    assert made.read_now(lambda conn: fetch_raw(conn, "SELECT count(*) FROM one", ())) == [(0,)]
    made.close()


def test_what_was_answered_is_on_disk(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'z.db'}")
    tables.metadata.create_all(database.engine)
    database.write_now(_put("row"))
    with sqlite3.connect(tmp_path / "z.db") as other:  # another connection sees only what was committed
        assert other.execute("SELECT name FROM resources").fetchall() == [("row",)]
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.write_now(lambda unit: unit.conn.exec_driver_sql("PRAGMA synchronous").scalar()) == 2
    database.close()


def test_a_cancelled_caller_does_not_stop_the_writer(database: Database) -> None:
    async def work() -> None:
        task = asyncio.create_task(database.write(_put("maybe")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await database.write(_put("after")) is True

    asyncio.run(work())
