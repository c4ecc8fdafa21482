"""The database: reads on a few threads, writes as units of work, many to one commit.

On SQLite one writer thread owns the only writing connection. Each unit runs in a savepoint, so one that fails takes nothing
with it; a caller is answered after the commit is on disk (WAL, `synchronous=FULL`). On PostgreSQL each unit is a transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from zaffre.errors import StorageFull, Unavailable, ZaffreError
from zaffre.runtime import Runtime
from zaffre.store import engines
from zaffre.store.bells import Bells
from zaffre.store.others import OtherServers
from zaffre.store.raw import sqlite
from zaffre.store.unit import Unit

T = TypeVar("T")
READERS = 4
BATCH = 256
POSTGRES_WRITERS = 8
POSTGRES_ATTEMPTS = 5
LOST_RACES = ("40001", "40P01", "23505", "23503")
"""PostgreSQL's codes for a unit that another one was faster than: serialization, deadlock, unique and foreign keys.

Run again it sees what the other has done, and says so in its own words."""


class Database:
    """`read` and `write` are for the event loop, `read_now` and `write_now` for threads and the command line."""

    def __init__(self, url: str, runtime: Runtime | None = None) -> None:
        self.url = url
        self.runtime = runtime or Runtime()
        self.bells = Bells()
        # Told of every commit: how many units shared it, and how many seconds it took.
        self.on_batch: Callable[[int, float], None] = lambda _units, _seconds: None
        self.is_sqlite = url.startswith("sqlite")
        self.engine = engines.sqlite(url, READERS) if self.is_sqlite else engines.postgres(url, POSTGRES_WRITERS)
        self._reading = self.engine if self.is_sqlite else engines.postgres(url, READERS, autocommit=True)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="zf-read")
        self.others = None if self.is_sqlite else OtherServers(self.engine, self.bells)
        self._writer: _SqliteWriter | _PostgresWriter
        self._writer = _SqliteWriter(self) if self.is_sqlite else _PostgresWriter(self)

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` on a reader thread: on SQLite in one snapshot, on PostgreSQL each statement sees what is committed by then."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, work)

    def read_now(self, work: Callable[[sa.Connection], T]) -> T:
        with _translated(), self._reading.connect() as conn:
            if not self.is_sqlite:
                return work(conn)
            sqlite(conn).execute("BEGIN")
            try:
                return work(conn)
            finally:
                sqlite(conn).execute("ROLLBACK")

    async def write(self, work: Callable[[Unit], T]) -> T:
        """Run `work` in a transaction; returns once its commit is on disk. Its bells ring after that."""
        return await asyncio.wrap_future(self._writer.submit(work))

    def write_now(self, work: Callable[[Unit], T]) -> T:
        return self._writer.submit(work).result()

    @property
    def waiting(self) -> int:
        """How many units of work wait for the writer."""
        return self._writer.waiting

    def close(self) -> None:
        self._writer.close()
        if self.others is not None:
            self.others.close()
        self._readers.shutdown(wait=True)
        self.engine.dispose()
        self._reading.dispose()


class _SqliteWriter:
    """The one writer. Units that wait while a commit runs share the next one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: queue.SimpleQueue[tuple[Callable[[Unit], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="zf-write", daemon=True)
        self._started = threading.Lock()
        self._closed = False

    def submit(self, work: Callable[[Unit], T]) -> Future[T]:
        if self._closed:
            raise Unavailable("The server is stopping; repeat the request when it is back.")
        with self._started:
            if not self._thread.is_alive() and not self._closed:
                self._thread.start()
        future: Future[T] = Future()
        self._queue.put((work, cast("Future[Any]", future)))
        return future

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def close(self) -> None:
        self._closed = True
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        with self._database.engine.connect() as conn:
            while True:
                first = self._queue.get()
                if first is None:
                    return
                if self._commit_batch(conn, first):
                    return

    def _commit_batch(self, conn: sa.Connection, first: tuple[Callable[[Unit], Any], Future[Any]]) -> bool:
        """Run `first` and whatever waits behind it; True when the queue was closed meanwhile."""
        done: list[tuple[Future[Any], Any, Unit]] = []
        pending: list[Future[Any]] = []
        item: tuple[Callable[[Unit], Any], Future[Any]] | None = first
        closing = False
        driver = sqlite(conn)
        began = time.perf_counter()
        try:
            driver.execute("BEGIN IMMEDIATE")
            while item is not None:
                work, future = item
                pending.append(future)
                self._run_unit(conn, work, future, done)
                item = None
                if len(pending) < BATCH:
                    with contextlib.suppress(queue.Empty):
                        item = self._queue.get_nowait()
                        closing = item is None
            driver.execute("COMMIT")
        except BaseException as error:
            _roll_back(conn)
            failure = _translate(error)
            for future in pending:
                if future.running():
                    future.set_exception(failure)
            if not isinstance(error, (sa.exc.SQLAlchemyError, sqlite3.Error)):
                raise
            return closing
        self._database.on_batch(len(pending), time.perf_counter() - began)
        for future, result, unit in done:
            self._database.bells.ring(unit.bells)
            future.set_result(result)
        return closing

    def _run_unit(
        self,
        conn: sa.Connection,
        work: Callable[[Unit], Any],
        future: Future[Any],
        done: list[tuple[Future[Any], Any, Unit]],
    ) -> None:
        if not future.set_running_or_notify_cancel():
            return
        unit = Unit(conn, self._database.runtime.now())
        driver = sqlite(conn)
        driver.execute("SAVEPOINT unit")
        try:
            result = work(unit)
            unit.finish()
        except Exception as error:  # whatever a unit raises belongs to its caller, not to the batch
            if _is_fatal(error):
                raise
            driver.execute("ROLLBACK TO unit")
            driver.execute("RELEASE unit")
            future.set_exception(_translate(error))
            return
        driver.execute("RELEASE unit")
        done.append((future, result, unit))


class _PostgresWriter:
    """A transaction a unit, on a few threads, each with a connection of its own; a unit that lost a race is run again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._threads = ThreadPoolExecutor(POSTGRES_WRITERS, thread_name_prefix="zf-write")
        self._own = threading.local()
        self._held: set[sa.Connection] = set()

    def submit(self, work: Callable[[Unit], T]) -> Future[T]:
        return self._threads.submit(self._run, work)

    @property
    def waiting(self) -> int:
        return self._threads._work_queue.qsize()

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        for conn in self._held:
            conn.close()

    def _run(self, work: Callable[[Unit], T]) -> T:
        began = time.perf_counter()
        for attempt in range(POSTGRES_ATTEMPTS):
            try:
                with self._connection().begin() as transaction:
                    unit = Unit(transaction.connection, self._database.runtime.now())
                    result = work(unit)
                    others = self._database.others
                    unit.finish(None if others is None else others.telling(unit.bells))
            except sa.exc.DBAPIError as error:
                lost = getattr(error.orig, "sqlstate", None) in LOST_RACES
                if not lost or attempt == POSTGRES_ATTEMPTS - 1:
                    raise _translate(error) from error
                continue
            self._database.on_batch(1, time.perf_counter() - began)
            self._database.bells.ring(unit.bells)
            return result
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _connection(self) -> sa.Connection:
        """The thread's own. To take one from the pool for each unit costs as much as two statements."""
        conn: sa.Connection | None = getattr(self._own, "conn", None)
        now = time.monotonic()
        if conn is not None and (conn.invalidated or now - self._own.used > engines.UNUSED_S):
            self._held.discard(conn)
            conn.close()  # the pool looks at it, or makes another
            conn = None
        if conn is None:
            conn = self._own.conn = self._database.engine.connect()
            self._held.add(conn)
        self._own.used = now
        return conn


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
        raise _translate(error) from error


def _translate(error: BaseException) -> BaseException:
    """The database's complaint in our own words where a caller can do something about it."""
    if isinstance(error, ZaffreError) or not isinstance(error, (sa.exc.DBAPIError, sqlite3.Error)):
        return error
    text = str(getattr(error, "orig", error))
    if "disk is full" in text or "No space left" in text or "disk I/O error" in text:
        return StorageFull(
            "The disk that holds the database is full. Nothing was kept; make room and repeat the request."
        )
    if "database is locked" in text:
        return Unavailable("The database is held by another program. Repeat the request.")
    if isinstance(error, sa.exc.OperationalError) and not isinstance(error.orig, sqlite3.Error):
        return Unavailable("The database cannot be reached, or does not answer. Repeat the request.")
    return error


def _is_fatal(error: BaseException) -> bool:
    """Errors after which SQLite may have rolled the whole transaction back by itself."""
    text = str(getattr(error, "orig", error))
    return isinstance(error, (sa.exc.OperationalError, sqlite3.OperationalError)) and (
        "disk is full" in text or "disk I/O error" in text or "No space left" in text
    )


def _roll_back(conn: sa.Connection) -> None:
    # SQLite may have rolled back already, which makes ROLLBACK itself an error; either way no transaction is open after it.
    with contextlib.suppress(sqlite3.OperationalError):
        sqlite(conn).execute("ROLLBACK")
