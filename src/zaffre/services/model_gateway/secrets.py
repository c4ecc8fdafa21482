"""Credentials for providers of models: sealed in the vault, never given back, shown only in part."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from zaffre.errors import Conflict
from zaffre.services.model_gateway.asking import Asker
from zaffre.services.model_gateway.words import check_text, missing, record, refused
from zaffre.store.database import Database
from zaffre.store.model_gateway import models as store
from zaffre.store.model_gateway.records import Secret
from zaffre.store.seal import Vault
from zaffre.store.unit import Actor, Unit, decode, encode

MOST_FIELDS = 50
MOST_IN_VALUE = 64 * 1024  # a service account's key is a few kilobytes
MOST_IN_PROVIDER = 64
_SHOWN_FROM = 12  # characters: of a shorter value, seven would be most of it


class GatewaySecrets:
    def __init__(self, database: Database, vault: Vault, asker: Asker) -> None:
        self._asker = asker
        self._database = database
        self._vault = vault

    async def create(
        self,
        actor: Actor,
        scope: str,
        name: str,
        values: Mapping[str, str],
        provider: str | None,
        auth: Mapping[str, str],
    ) -> Secret:
        """Raises InvalidInput, and Conflict where the name is taken."""
        check_text(name, "secret_name")
        if provider is not None:
            check_text(provider, "provider", MOST_IN_PROVIDER)
        _check_fields(values, "secret_value")
        self._check_auth(auth)
        id_ = f"s-{self._database.runtime.hex_id()}"

        def work(unit: Unit) -> Secret:
            if not store.add_secret(unit, actor, scope, id_, name, provider, _masked(values), auth):
                raise Conflict(f"Secret with name '{name}' already exists", target="secret_name")
            self._vault.put(unit, scope, _key(id_), encode(dict(values)))
            record(unit, actor, "write", scope, f"secrets/{id_}")
            return self._found(unit.conn, scope, id_)

        return await self._database.write(work)

    async def get(self, scope: str, id_: str) -> Secret:
        return await self._database.read(lambda conn: self._found(conn, scope, id_))

    async def listing(self, scope: str, provider: str | None) -> list[Secret]:
        return await self._database.read(lambda conn: store.secrets(conn, scope, provider))

    async def update(
        self, actor: Actor, scope: str, id_: str, values: Mapping[str, str] | None, auth: Mapping[str, str] | None
    ) -> Secret:
        """Put other values in the place of all that were there; None leaves them as they are."""
        _check_fields(values or {}, "secret_value")
        self._check_auth(auth or {})

        def work(unit: Unit) -> Secret:
            held = self._found(unit.conn, scope, id_, lock=True)
            store.update_secret(unit, actor, held, None if values is None else _masked(values), auth)
            if values is not None:
                self._vault.put(unit, scope, _key(id_), encode(dict(values)))
            record(unit, actor, "write", scope, f"secrets/{id_}")
            return self._found(unit.conn, scope, id_)

        return await self._database.write(work)

    async def delete(self, actor: Actor, scope: str, id_: str) -> None:
        """The models that were asked with it stay, and cannot be asked until they have another one."""

        def work(unit: Unit) -> None:
            held = self._found(unit.conn, scope, id_, lock=True)
            store.delete_secret(unit, held)
            self._vault.delete(unit, scope, _key(id_))
            record(unit, actor, "delete", scope, f"secrets/{id_}")

        await self._database.write(work)

    def opened(self, conn: sa.Connection, scope: str, id_: str) -> dict[str, str]:
        """The values themselves, for whoever asks a provider."""
        sealed = self._vault.get(conn, scope, _key(id_))
        found: dict[str, str] = decode(sealed) if sealed else {}
        return found

    def _check_auth(self, auth: Mapping[str, str]) -> None:
        _check_fields(auth, "auth_config")
        if base := auth.get("api_base"):
            self._asker.check(base)

    @staticmethod
    def _found(conn: sa.Connection, scope: str, id_: str, *, lock: bool = False) -> Secret:
        found = store.secret(conn, scope, id_, lock=lock)
        if found is None:
            raise missing("GatewaySecret", "secret_id", id_)
        return found


def _key(id_: str) -> str:
    return f"model-gateway/{id_}"


def _check_fields(values: Mapping[str, str], field: str) -> None:
    """Says nothing of the values themselves: they are secrets."""
    if len(values) > MOST_FIELDS:
        raise refused(field, f"`{field}` takes at most {MOST_FIELDS} entries; got {len(values)}.")
    for name, value in values.items():
        check_text(name, field)
        if len(value) > MOST_IN_VALUE:
            raise refused(field, f"A value of `{field}` is longer than {MOST_IN_VALUE} characters.")


def _masked(values: Mapping[str, str]) -> dict[str, str]:
    """The first three and the last four characters, for whoever must know one from another; of a short one, none."""
    return {
        name: f"{value[:3]}...{value[-4:]}" if len(value) >= _SHOWN_FROM else "***" for name, value in values.items()
    }
