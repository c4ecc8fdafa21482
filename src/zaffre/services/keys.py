"""API keys: how a person or a program proves who it is before it has a token. The database keeps only their hashes."""

from __future__ import annotations

import getpass
import hashlib
import threading
from collections import OrderedDict

import sqlalchemy as sa

from zaffre.errors import Unauthenticated
from zaffre.services.access import OWNER, Principal
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.unit import PLATFORM, Actor, Unit

PREFIX = "zf_"
TOPIC = "keys"
REMEMBERED_MS = 60_000
REMEMBERED = 1_000


class ApiKeys:
    """Keys carry 256 bits of chance, so a plain hash is enough to keep and to find them by."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[str, tuple[int, Principal]] = OrderedDict()
        self._changes = 0
        self._lock = threading.Lock()
        database.bells.listen(TOPIC, lambda _key: self._forget())

    async def principal(self, key: str) -> Principal:
        """Who holds `key`; remembered for a minute, or until a key changes.

        Raises Unauthenticated when it is unknown, expired or revoked.
        """
        hash_ = _hash(key)
        now = self._database.runtime.now()
        with self._lock:
            known, changes = self._known.get(hash_), self._changes
        if known is not None and known[0] > now:
            return known[1]
        found = await self._database.read(lambda conn: _find(conn, hash_, now))
        if found is None:
            raise Unauthenticated(
                "The API key is unknown, expired or revoked. The owner's key lies in <home>/credentials."
            )
        principal, expires = found
        with self._lock:
            if changes == self._changes:  # what was read before a key changed must not be remembered after it
                self._known[hash_] = (min(now + REMEMBERED_MS, expires or now + REMEMBERED_MS), principal)
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return principal

    async def revoke(self, actor: Actor, key: str) -> None:
        """From now on `key` is refused."""

        def work(unit: Unit) -> None:
            unit.conn.execute(
                sa.update(tables.api_keys).where(tables.api_keys.c.hash == _hash(key)).values(revoked=True)
            )
            unit.audit(actor, "keys/delete", _hash(key)[:12])
            unit.ring(TOPIC)

        await self._database.write(work)

    async def ensure_owner(self, existing: str | None) -> str:
        """The owner's key: `existing` when the database knows it, else a new one for the system user."""
        key = PREFIX + self._database.runtime.secret(32)

        def work(unit: Unit) -> str:
            if existing is not None and _find(unit.conn, _hash(existing), unit.now) is not None:
                return existing
            owner = unit.conn.execute(
                sa.select(tables.principals.c.id)
                .where(tables.principals.c.role == OWNER)
                .order_by(tables.principals.c.created_at)
            ).scalar()
            if owner is None:
                owner = self._database.runtime.guid()
                unit.conn.execute(
                    sa.insert(tables.principals).values(
                        id=owner, name=getpass.getuser(), kind="User", role=OWNER, created_at=unit.now
                    )
                )
            unit.conn.execute(
                sa.insert(tables.api_keys).values(hash=_hash(key), principal=owner, name="owner", created_at=unit.now)
            )
            unit.audit(PLATFORM, "keys/write", "owner")
            return key

        return await self._database.write(work)

    def _forget(self) -> None:
        with self._lock:
            self._known.clear()
            self._changes += 1


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _find(conn: sa.Connection, hash_: str, now: int) -> tuple[Principal, int | None] | None:
    """Who holds the key with this hash, and until when."""
    keys, people = tables.api_keys, tables.principals
    found = conn.execute(
        sa.select(people, keys.c.expires_at)
        .join(people, people.c.id == keys.c.principal)
        .where(keys.c.hash == hash_, keys.c.revoked == sa.false())
    ).one_or_none()
    if found is None or (found.expires_at is not None and found.expires_at <= now):
        return None
    return Principal(id=found.id, name=found.name, kind=found.kind, role=found.role), found.expires_at
