"""Secrets at rest: AES-256-GCM with a key that lies outside the database."""

from __future__ import annotations

import secrets
from pathlib import Path

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from zaffre.errors import Conflict
from zaffre.store import keyfile, tables
from zaffre.store.unit import Unit

NONCE = 12
_CHECK = ("", "vault-check")


class Vault:
    """Seals and opens secrets. A sealed value is bound to its scope and name, so rows cannot be swapped."""

    def __init__(self, key_file: Path) -> None:
        self._aead = AESGCM(keyfile.load(key_file))

    def check(self, unit: Unit) -> None:
        """See that this key is the one the database's secrets are sealed with. Raises Conflict when it is another."""
        unit.alone("vault")
        try:
            if self.get(unit.conn, *_CHECK) is None:
                self.put(unit, *_CHECK, "sealed")
        except InvalidTag:
            raise Conflict(
                "The secrets in the database are sealed with another key than this home's. Servers on one database share "
                "their keys: set ZAFFRE_SHARED to the folder of the others. A home of its own needs its own keys/vault.key back."
            ) from None

    def put(self, unit: Unit, scope: str, name: str, value: str) -> None:
        sealed = self._seal(scope, name, value)
        changed = unit.conn.execute(
            sa.update(tables.secrets)
            .where(tables.secrets.c.scope == scope, tables.secrets.c.name == name)
            .values(sealed=sealed, modified_at=unit.now)
        )
        if changed.rowcount == 0:
            unit.conn.execute(
                sa.insert(tables.secrets).values(scope=scope, name=name, sealed=sealed, modified_at=unit.now)
            )

    def get(self, conn: sa.Connection, scope: str, name: str) -> str | None:
        sealed = conn.execute(
            sa.select(tables.secrets.c.sealed).where(tables.secrets.c.scope == scope, tables.secrets.c.name == name)
        ).scalar_one_or_none()
        if sealed is None:
            return None
        return self._aead.decrypt(sealed[:NONCE], sealed[NONCE:], _binding(scope, name)).decode()

    def names(self, conn: sa.Connection, scope: str) -> list[str]:
        """The names of all secrets of a scope."""
        query = sa.select(tables.secrets.c.name).where(tables.secrets.c.scope == scope)
        return sorted(conn.execute(query).scalars())

    def delete(self, unit: Unit, scope: str, name: str) -> None:
        unit.conn.execute(
            sa.delete(tables.secrets).where(tables.secrets.c.scope == scope, tables.secrets.c.name == name)
        )

    def forget(self, unit: Unit, scope: str, prefix: str) -> None:
        """Delete every secret whose name begins with `prefix`."""
        named = tables.secrets.c.name.startswith(prefix, autoescape=True)
        unit.conn.execute(sa.delete(tables.secrets).where(tables.secrets.c.scope == scope, named))

    def _seal(self, scope: str, name: str, value: str) -> bytes:
        nonce = secrets.token_bytes(NONCE)
        return nonce + self._aead.encrypt(nonce, value.encode(), _binding(scope, name))


def _binding(scope: str, name: str) -> bytes:
    return f"{scope}\0{name}".encode()
