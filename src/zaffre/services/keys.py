"""API keys: how a person or a program proves who it is before it has a token. The database keeps only their hashes."""

from __future__ import annotations

import getpass
import hashlib

import sqlalchemy as sa

from zaffre.errors import Unauthenticated
from zaffre.services.access import OWNER, Principal
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.unit import PLATFORM, Unit

PREFIX = "zf_"


class ApiKeys:
    """Keys carry 256 bits of chance, so a plain hash is enough to keep and to find them by."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def principal(self, key: str) -> Principal:
        """Who holds `key`. Raises Unauthenticated when it is unknown, expired or revoked."""
        found = await self._database.read(lambda conn: _find(conn, _hash(key), self._database.runtime.now()))
        if found is None:
            raise Unauthenticated(
                "The API key is unknown, expired or revoked. The owner's key lies in <home>/credentials."
            )
        return found

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


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _find(conn: sa.Connection, hash_: str, now: int) -> Principal | None:
    keys, people = tables.api_keys, tables.principals
    found = conn.execute(
        sa.select(people, keys.c.expires_at)
        .join(people, people.c.id == keys.c.principal)
        .where(keys.c.hash == hash_, keys.c.revoked == sa.false())
    ).one_or_none()
    if found is None or (found.expires_at is not None and found.expires_at <= now):
        return None
    return Principal(id=found.id, name=found.name, kind=found.kind, role=found.role)
