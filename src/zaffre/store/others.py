"""Bells of other servers: several on one PostgreSQL hear what any of them has committed, by LISTEN and NOTIFY.

The notification is part of the transaction, so it is sent with its commit or not at all. A bell carries no truth: one that
was lost while the connection was away is made up for by a look at everything.
"""

from __future__ import annotations

import logging
import os
import secrets
import select
import threading
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store.bells import Bells
from zaffre.store.raw import Statement

PAUSE_S = 2.0
_MOST = 7000  # bytes; PostgreSQL takes 8,000 a notification
_CHANNEL = "zaffre_bells_"  # and the schema: its names are the database's
_NOTIFY = "SELECT pg_notify(? || current_schema(), payload) FROM unnest(?::text[]) AS payload"

_log = logging.getLogger("zaffre.store")


class OtherServers:
    """`telling` for a transaction, `listen` once for the life of the server."""

    def __init__(self, engine: sa.Engine, bells: Bells) -> None:
        self._engine = engine
        self._bells = bells
        self._own = secrets.token_hex(8)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._woken, self._wake = os.pipe()
        self.listening = threading.Event()

    def telling(self, bells: set[tuple[str, str]]) -> Statement | None:
        """What a transaction must say at its end to have the other servers ring these once it is committed."""
        return (_NOTIFY, (_CHANNEL, _packed(self._own, sorted(bells)))) if bells else None

    def listen(self) -> None:
        self._thread = threading.Thread(target=self._run, name="zf-others", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            os.write(self._wake, b"x")
            self._thread.join()
        for end in (self._woken, self._wake):
            os.close(end)

    def _run(self) -> None:
        first = True
        while not self._closing.is_set():
            try:
                self._hear(first)
            except Exception as error:  # noqa: BLE001  whatever ends the connection, another one is made
                if not self._closing.is_set():
                    _log.warning("other servers are not heard", extra={"error": str(error)})
            first = False
            self.listening.clear()
            self._closing.wait(PAUSE_S)

    def _hear(self, first: bool) -> None:
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()  # it is ours from now on, and no other thread gets it from the pool
        try:
            connection.autocommit = True
            schema = connection.execute("SELECT current_schema()").fetchone()[0]
            connection.execute(f'LISTEN "{_CHANNEL}{schema}"')
            self.listening.set()
            if not first:
                self._bells.ring_all()
            while self._woken not in select.select([connection.fileno(), self._woken], [], [])[0]:
                for notice in connection.notifies(timeout=0):
                    origin, bells = msgspec.json.decode(notice.payload, type=tuple[str, list[tuple[str, str]]])
                    if origin != self._own:
                        self._bells.ring(bells)
        finally:
            connection.close()


def _packed(own: str, bells: list[tuple[str, str]]) -> list[str]:
    """As few payloads as hold them all."""
    payload = msgspec.json.encode((own, bells)).decode()
    if len(payload.encode()) <= _MOST or len(bells) == 1:
        return [payload]
    half = len(bells) // 2
    return [*_packed(own, bells[:half]), *_packed(own, bells[half:])]
