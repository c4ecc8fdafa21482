"""A unit of work: what one caller changes in one transaction, with its audit rows, its events and the bells it rings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store.raw import Statement, insert_all

_AUDIT = 'INSERT INTO "audit" ("at", "who", "action", "target", "outcome", "source", "request_id", "detail") VALUES'
_AUDIT_TYPES = ("bigint", *("text",) * 7)
_EVENTS = 'INSERT INTO "events" ("at", "scope", "topic", "key", "data") VALUES'
_EVENT_TYPES = ("bigint", *("text",) * 4)


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who is behind a change, for `systemData` and the audit. `kind` is ARM's word: User, Application, ManagedIdentity."""

    name: str
    kind: str = "User"
    source: str = ""
    request_id: str = ""


PLATFORM = Actor(name="zaffre", kind="Application")


class Unit:
    """Handed to the function given to `Database.write`. It is good until that function returns.

    A function may be run again from the start when the database asks for it, so it must not act outside the database.
    """

    def __init__(self, conn: sa.Connection, now: int) -> None:
        self.conn = conn
        self.now = now
        self.bells: set[tuple[str, str]] = set()
        self._audit: list[tuple[Any, ...]] = []
        self._events: list[tuple[Any, ...]] = []

    def audit(
        self, actor: Actor, action: str, target: str, outcome: str = "allowed", detail: Mapping[str, Any] | None = None
    ) -> None:
        """Record who did what. Written with the change itself, so there is never one without the other."""
        self._audit.append(
            (self.now, actor.name, action, target, outcome, actor.source, actor.request_id, encode(detail or {}))
        )

    def emit(self, scope: str, topic: str, key: str, data: Mapping[str, Any] | None = None) -> None:
        """Record an event for listeners and ring `topic`'s bell once the transaction is on disk."""
        self._events.append((self.now, scope, topic, key, encode(data or {})))
        self.ring(topic, key)

    def finish(self, last: Statement | None = None) -> None:
        """Write what was recorded and emitted, at the end of the unit, and run `last`: all in one statement where that is possible."""
        recorded = ((_AUDIT, _AUDIT_TYPES, self._audit), (_EVENTS, _EVENT_TYPES, self._events))
        insert_all(self.conn, [one for one in recorded if one[2]], last)

    def ring(self, topic: str, key: str = "") -> None:
        """Wake whoever listens to `topic`, after the commit. A bell carries no truth: the listener reads the store."""
        self.bells.add((topic, key))

    def alone(self, name: str) -> None:
        """Hold off other units of that name until this one ends. On SQLite there is one writer, so nobody has to wait."""
        if self.conn.dialect.name == "postgresql":
            self.conn.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(name))))

    def transition(
        self,
        table: sa.Table,
        where: sa.ColumnElement[bool],
        column: str,
        expected: tuple[str, ...],
        new: str,
        **values: Any,
    ) -> bool:
        """Move `column` to `new` if it holds one of `expected`; False when somebody else was faster."""
        result = self.conn.execute(
            sa.update(table).where(where, table.c[column].in_(expected)).values({column: new, **values})
        )
        return result.rowcount == 1


def encode(value: Any) -> str:
    """JSON text of a document, as every document column holds it."""
    return msgspec.json.encode(value).decode()


def decode(text: str | bytes) -> Any:
    return msgspec.json.decode(text)
