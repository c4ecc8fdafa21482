"""Connections to the database, kept between uses: how they are made, and when they are looked at before they are used again."""

from __future__ import annotations

import sqlite3
import time

import sqlalchemy as sa

from zaffre.store import regex

UNUSED_S = 1.0
"""A connection to PostgreSQL that rested longer is asked whether it still stands. One that served just now needs no asking:
that would cost each small request another way to the server."""


def sqlite(url: str, readers: int) -> sa.Engine:
    """AUTOCOMMIT: the database writes BEGIN and COMMIT itself, since sqlite3's own rules begin too late and never for reads."""
    engine = sa.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        poolclass=sa.pool.QueuePool,
        pool_size=readers + 2,
        max_overflow=64,
        connect_args={"check_same_thread": False, "timeout": 30},
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=30000",
            "cache_size=-4096",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.create_function(regex.SQL_NAME, 2, regex.matches, deterministic=True)

    return engine


def postgres(url: str, size: int, *, autocommit: bool = False) -> sa.Engine:
    """`autocommit` for connections that only read: a transaction would cost two more ways to the server."""
    engine = sa.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        pool_size=size,
        **({"isolation_level": "AUTOCOMMIT"} if autocommit else {}),
    )

    @sa.event.listens_for(engine, "checkin")
    def _rest(_connection: object, record: sa.pool.ConnectionPoolEntry) -> None:
        record.info["rests_since"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def _ask(connection: sa.engine.interfaces.DBAPIConnection, record: sa.pool.ConnectionPoolEntry, _: object) -> None:
        since = record.info.get("rests_since")
        if since is None or time.monotonic() - since < UNUSED_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise sa.exc.InvalidatePoolError("PostgreSQL has closed connections that rested") from error

    return engine
