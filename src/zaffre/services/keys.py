"""API keys: how a person or a program proves who it is before it has a token. The database keeps only their hashes.

A service principal's client secret is such a key, too. A key carries 256 bits of chance, so one fast hash is enough to keep
and to find it by; a slow one would protect nothing, and would let anybody make the server work by sending wrong keys.
"""

from __future__ import annotations

import getpass
import hashlib
import re
import threading
from collections import OrderedDict

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from zaffre.services.access import OWNER, Principal
from zaffre.store import tables
from zaffre.store.database import Database
from zaffre.store.unit import PLATFORM, Actor, Unit

PREFIX = "zf_"
TOPIC = "keys"
REMEMBERED_MS = 60_000
REMEMBERED = 1_000
ID_LENGTH = 16

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")
_keys, _people = tables.api_keys, tables.principals


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What may be said of a key. `id` is the start of its hash; times are milliseconds since 1970."""

    id: str
    name: str
    principal_id: str
    principal: str
    role: str
    created_at: int
    expires_at: int | None
    state: str  # "active", "expired" or "revoked"


class ApiKeys:
    """Every key of the server. Whoever caches what a key allowed listens to the bell `TOPIC`, which rings its id."""

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
        hash_ = hash_of(key)
        now = self._database.runtime.now()
        with self._lock:
            known, changes = self._known.get(hash_), self._changes
        if known is not None and known[0] > now:
            return known[1]
        found = await self._database.read(lambda conn: _find(conn, hash_, now))
        if found is None:
            raise Unauthenticated(
                "The API key is unknown, expired or revoked. The owner's key lies in <home>/credentials; "
                "if it was revoked, the next `zaffre up` makes another."
            )
        with self._lock:
            if changes == self._changes:  # what was read before a key changed must not be remembered after it
                self._known[hash_] = (min(now + REMEMBERED_MS, found.until or now + REMEMBERED_MS), found)
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return found

    async def client(self, client_id: str, secret: str) -> Principal:
        """The service principal that signs in with its id and its secret. Raises Unauthenticated; both look alike."""
        try:
            found = await self.principal(secret)
        except Unauthenticated:
            found = None
        if found is None or found.id != client_id.lower():
            raise Unauthenticated(
                "The client id is unknown, or its secret is wrong, expired or revoked. "
                "`zaffre principal create NAME` makes a service principal and shows both.",
                code="invalid_client",
            )
        return found

    def is_good(self, id_: str) -> bool:
        """Whether the key with this id exists and is neither revoked nor over. For threads, and asked once a token."""
        now = self._database.runtime.now()
        rows = self._database.read_now(lambda conn: _listing(conn, now, _has_id(id_)))
        return any(one.state == "active" for one in rows)

    async def create(self, actor: Actor, principal: str, name: str, expires_at: int | None) -> tuple[KeyInfo, str]:
        """A new key of a principal (its id), and the key itself, which is never shown again."""
        check_name(name)
        key = self.new_secret()

        def work(unit: Unit) -> KeyInfo:
            check_expiry(unit, expires_at)
            if unit.conn.execute(sa.select(_people.c.id).where(_people.c.id == principal)).scalar() is None:
                raise NotFound(f"There is no user or service principal with the id '{principal}'.")
            active = _listing(unit.conn, unit.now, _keys.c.name == name)
            if any(one.state == "active" for one in active):
                raise Conflict(f"There is a key named '{name}' already; revoke it first, or choose another name.")
            insert(unit, actor, principal, name, key, expires_at)
            return _listing(unit.conn, unit.now, _has_id(id_of(key)))[0]

        return await self._database.write(work), key

    async def listing(self) -> list[KeyInfo]:
        """Every key that was ever made, oldest first."""
        now = self._database.runtime.now()
        return await self._database.read(lambda conn: _listing(conn, now, sa.true()))

    async def revoke(self, actor: Actor, which: str) -> KeyInfo:
        """From now on the key with this name or id is refused, and every token it was used to get."""

        def work(unit: Unit) -> KeyInfo:
            found = [
                one
                for one in _listing(unit.conn, unit.now, sa.or_(_keys.c.name == which, _has_id(which)))
                if one.state != "revoked"
            ]
            if not found:
                raise NotFound(f"There is no key '{which}' that could be revoked; `zaffre key list` names them.")
            if len(found) > 1:
                raise Conflict(
                    f"{len(found)} keys are named '{which}'; say which by its id: {', '.join(one.id for one in found)}."
                )
            revoke_where(unit, actor, _has_id(found[0].id))
            return msgspec.structs.replace(found[0], state="revoked")

        return await self._database.write(work)

    async def note_rotation(self, actor: Actor, *, forget: bool) -> None:
        """Leave the audit row of a change of the signing keys, which lie outside the database."""
        await self._database.write(
            lambda unit: unit.audit(actor, "signingKeys/rotate", "signing keys", detail={"forget": forget})
        )

    def new_secret(self) -> str:
        return PREFIX + self._database.runtime.secret(32)

    async def ensure_owner(self, existing: str | None) -> str:
        """The owner's key: `existing` when the database knows it, else a new one for the system user."""
        key = self.new_secret()

        def work(unit: Unit) -> str:
            if existing is not None and _find(unit.conn, hash_of(existing), unit.now) is not None:
                return existing
            unit.alone("owner")  # of several servers that start on an empty database, one makes the owner
            owner = unit.conn.execute(
                sa.select(_people.c.id)
                .where(_people.c.role == OWNER, _people.c.kind == "User")
                .order_by(_people.c.created_at)
            ).scalar()
            if owner is None:
                owner = self._database.runtime.guid()
                unit.conn.execute(
                    sa.insert(_people).values(
                        id=owner, name=getpass.getuser(), kind="User", role=OWNER, created_at=unit.now
                    )
                )
            insert(unit, PLATFORM, owner, "owner", key, None)
            return key

        return await self._database.write(work)

    def _forget(self) -> None:
        with self._lock:
            self._known.clear()
            self._changes += 1


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def id_of(key: str) -> str:
    """The public name of a key, from which the key cannot be found."""
    return hash_of(key)[:ID_LENGTH]


def check_name(name: str) -> None:
    """Raise InvalidInput unless `name` is one a key or a service principal may have."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"Field 'name': '{name[:100]}' is no name; use letters, digits, '.', '_' and '-', at most 64.",
            code="InvalidField",
            target="name",
        )


def check_expiry(unit: Unit, expires_at: int | None) -> None:
    if expires_at is not None and expires_at <= unit.now:
        raise InvalidInput("Field 'expiresAt': it lies in the past.", code="InvalidField", target="expiresAt")


def insert(unit: Unit, actor: Actor, principal: str, name: str, key: str, expires_at: int | None) -> None:
    unit.conn.execute(
        sa.insert(_keys).values(
            hash=hash_of(key), principal=principal, name=name, created_at=unit.now, expires_at=expires_at
        )
    )
    unit.audit(actor, "keys/write", name)


def revoke_where(unit: Unit, actor: Actor, condition: sa.ColumnElement[bool]) -> None:
    """Revoke every good key that fits, and ring each one's bell."""
    for hash_, name in unit.conn.execute(
        sa.select(_keys.c.hash, _keys.c.name).where(condition, _keys.c.revoked == sa.false())
    ).all():
        unit.conn.execute(sa.update(_keys).where(_keys.c.hash == hash_).values(revoked=True))
        unit.audit(actor, "keys/delete", f"{name} ({hash_[:ID_LENGTH]})")
        unit.ring(TOPIC, hash_[:ID_LENGTH])


def _has_id(id_: str) -> sa.ColumnElement[bool]:
    """A range of the unique index; `g` follows every hexadecimal digit."""
    if not _ID.fullmatch(id_):
        return sa.false()
    return sa.and_(_keys.c.hash >= id_, _keys.c.hash < id_ + "g")


def _listing(conn: sa.Connection, now: int, condition: sa.ColumnElement[bool]) -> list[KeyInfo]:
    rows = conn.execute(
        sa.select(_keys, _people.c.name.label("person"), _people.c.role)
        .join(_people, _people.c.id == _keys.c.principal)
        .where(condition)
        .order_by(_keys.c.pk)
    )
    return [
        KeyInfo(
            id=row.hash[:ID_LENGTH],
            name=row.name,
            principal_id=row.principal,
            principal=row.person,
            role=row.role,
            created_at=row.created_at,
            expires_at=row.expires_at,
            state="revoked" if row.revoked else "expired" if _is_over(row.expires_at, now) else "active",
        )
        for row in rows
    ]


def _find(conn: sa.Connection, hash_: str, now: int) -> Principal | None:
    """Who holds the key with this hash."""
    found = conn.execute(
        sa.select(_people, _keys.c.expires_at)
        .join(_people, _people.c.id == _keys.c.principal)
        .where(_keys.c.hash == hash_, _keys.c.revoked == sa.false())
    ).one_or_none()
    if found is None or _is_over(found.expires_at, now):
        return None
    return Principal(
        id=found.id,
        name=found.name,
        kind=found.kind,
        role=found.role,
        key=hash_[:ID_LENGTH],
        until=found.expires_at,
    )


def _is_over(expires_at: int | None, now: int) -> bool:
    return expires_at is not None and expires_at <= now
