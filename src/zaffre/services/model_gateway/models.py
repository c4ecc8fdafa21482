"""Model definitions: which model of which provider is asked, and with whose credential."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from zaffre.errors import Conflict, PreconditionFailed
from zaffre.services.model_gateway.providers import check_provider
from zaffre.services.model_gateway.words import check_text, missing, record
from zaffre.store.database import Database
from zaffre.store.model_gateway import models as store
from zaffre.store.model_gateway.records import Model
from zaffre.store.unit import Actor, Unit

MOST_IN_MODEL = 256


class GatewayModels:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, actor: Actor, scope: str, name: str, secret_id: str, provider: str, model: str) -> Model:
        """Raises NotServed for a provider that nobody here could ask, NotFound for the secret, Conflict for the name."""
        _check(name, provider, model)
        id_ = f"d-{self._database.runtime.hex_id()}"

        def work(unit: Unit) -> Model:
            secret = _secret(unit, scope, secret_id)
            if not store.add_model(unit, actor, scope, id_, name, secret, provider, model):
                raise _taken(name)
            record(unit, actor, "write", scope, f"models/{id_}")
            return _found(unit.conn, scope, id_)

        return await self._database.write(work)

    async def get(self, scope: str, id_: str) -> Model:
        return await self._database.read(lambda conn: _found(conn, scope, id_))

    async def listing(self, scope: str, provider: str | None, secret_id: str | None) -> list[Model]:
        return await self._database.read(lambda conn: store.models(conn, scope, provider, secret_id))

    async def update(
        self,
        actor: Actor,
        scope: str,
        id_: str,
        *,
        name: str | None,
        secret_id: str | None,
        provider: str | None,
        model: str | None,
    ) -> Model:
        """None leaves a field as it is."""
        _check(name, provider, model)

        def work(unit: Unit) -> Model:
            if name is not None:
                unit.alone(f"gateway-models/{scope}")
            held = locked(unit, scope, id_)
            if name is not None and store.name_taken(unit.conn, scope, name, held.pk):
                raise _taken(name)
            asked: dict[str, Any] = {"name": name, "provider": provider, "model": model}
            values = {field: value for field, value in asked.items() if value is not None}
            if secret_id is not None:
                values["secret"] = _secret(unit, scope, secret_id)
            store.update_model(unit, actor, held, **values)
            record(unit, actor, "write", scope, f"models/{id_}")
            return _found(unit.conn, scope, id_)

        return await self._database.write(work)

    async def delete(self, actor: Actor, scope: str, id_: str) -> None:
        """Raises PreconditionFailed while an endpoint has it."""

        def work(unit: Unit) -> None:
            held = locked(unit, scope, id_)
            if store.in_use(unit.conn, held.pk):
                raise PreconditionFailed(
                    "Cannot delete model definition that is currently in use by endpoints. "
                    "Detach it from all endpoints first.",
                    target="model_definition_id",
                )
            store.delete_model(unit, held.pk)
            record(unit, actor, "delete", scope, f"models/{id_}")

        await self._database.write(work)


def locked(unit: Unit, scope: str, id_: str) -> Model:
    """Nobody deletes it before this transaction ends. Raises NotFound."""
    found = store.lock_model(unit, scope, id_)
    if found is None:
        raise missing("GatewayModelDefinition", "model_definition_id", id_)
    return found


def _found(conn: sa.Connection, scope: str, id_: str) -> Model:
    found = store.model(conn, scope, id_)
    if found is None:
        raise missing("GatewayModelDefinition", "model_definition_id", id_)
    return found


def _secret(unit: Unit, scope: str, id_: str) -> int:
    found = store.secret(unit.conn, scope, id_, lock=True)
    if found is None:
        raise missing("GatewaySecret", "secret_id", id_)
    return found.pk


def _check(name: str | None, provider: str | None, model: str | None) -> None:
    if name is not None:
        check_text(name, "name")
    if model is not None:
        check_text(model, "model_name", MOST_IN_MODEL)
    if provider is not None:
        check_provider(provider)


def _taken(name: str) -> Conflict:
    return Conflict(f"Model definition with name '{name}' already exists", target="name")
