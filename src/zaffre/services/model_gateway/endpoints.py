"""Endpoints of the gateway: a name that callers know, and the models that answer for it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, NotFound
from zaffre.services.model_gateway.models import locked as locked_model
from zaffre.services.model_gateway.words import (
    FALLBACK,
    MOST_IN_NAME,
    PRIMARY,
    RESOURCES,
    check_text,
    missing,
    record,
    refused,
)
from zaffre.services.tracking import Tracking
from zaffre.store.database import Database
from zaffre.store.model_gateway import endpoints as store
from zaffre.store.model_gateway.records import Binding, Endpoint, Fallback, Mapping
from zaffre.store.tracking import experiments as experiment_store
from zaffre.store.unit import Actor, Unit

MOST_MODELS = 100
MOST_IN_TAG_KEY, MOST_IN_TAG_VALUE = 250, 5000
_EXPERIMENT_TAGS = {"mlflow.experiment.sourceType": "GATEWAY", "mlflow.experiment.isGateway": "true"}
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class ModelLink(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is to answer for an endpoint. `weight` is its part of the traffic, `position` its turn to be fallen back to."""

    model_id: str
    linkage: str
    weight: float = 1.0
    position: int | None = None


class EndpointWish(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of an endpoint; None leaves a field as it is."""

    name: str | None = None
    links: Sequence[ModelLink] | None = None
    routing: str | None = None
    fallback: Fallback | None = None
    experiment_id: str | None = None
    usage_tracking: bool | None = None


class GatewayEndpoints:
    def __init__(self, database: Database, tracking: Tracking) -> None:
        self._database = database
        self._experiments = tracking.experiments

    async def create(self, actor: Actor, scope: str, wish: EndpointWish) -> Endpoint:
        """Make it with the models behind it, and the experiment for its traces where it is to have them and none is named."""
        name, links = wish.name or "", wish.links or ()
        _check_name(name)
        _check_fallback(wish.fallback)
        _check_links(links)
        id_ = self._id("e")
        tracked = wish.usage_tracking is not False

        def work(unit: Unit) -> Endpoint:
            pk = store.add(
                unit,
                actor,
                scope,
                id_,
                name,
                routing=wish.routing,
                fallback=_fallback(wish.fallback, links),
                experiment=self._experiment(unit, scope, id_, name, wish.experiment_id, tracked),
                usage_tracking=tracked,
            )
            if pk is None:
                raise _taken(name)
            self._attach(unit, actor, scope, pk, links)
            record(unit, actor, "write", scope, f"endpoints/{id_}")
            return _found(unit.conn, scope, id_)

        return await self._database.write(work)

    async def get(self, scope: str, *, id_: str | None = None, name: str | None = None) -> Endpoint:
        """Exactly one of the two. Raises NotFound."""
        if (id_ is None) == (name is None):
            raise refused("endpoint_id", "Exactly one of endpoint_id or name must be provided")
        return await self._database.read(lambda conn: _found(conn, scope, id_, name))

    async def listing(self, scope: str, provider: str | None, secret_id: str | None) -> list[Endpoint]:
        return await self._database.read(lambda conn: store.listing(conn, scope, provider, secret_id))

    async def update(self, actor: Actor, scope: str, id_: str, wish: EndpointWish) -> Endpoint:
        """`links` take the place of all that were there."""
        if wish.name is not None:
            _check_name(wish.name)
        _check_fallback(wish.fallback)
        if wish.links is not None:
            _check_links(wish.links)

        def work(unit: Unit) -> Endpoint:
            if wish.name is not None:
                unit.alone(f"gateway-endpoints/{scope}")
            held = _locked(unit, scope, id_)
            if wish.name is not None and store.name_taken(unit.conn, scope, wish.name, held.pk):
                raise _taken(wish.name)
            store.update(unit, actor, held, **self._changes(unit, scope, held, wish))
            if wish.links is not None:
                store.detach_all(unit, held.pk)
                self._attach(unit, actor, scope, held.pk, wish.links)
            record(unit, actor, "write", scope, f"endpoints/{id_}")
            return _found(unit.conn, scope, id_)

        return await self._database.write(work)

    async def delete(self, actor: Actor, scope: str, id_: str) -> None:
        """Its models stay; its bindings go."""

        def work(unit: Unit) -> None:
            store.delete(unit, _locked(unit, scope, id_).pk)
            record(unit, actor, "delete", scope, f"endpoints/{id_}")

        await self._database.write(work)

    # ---- models behind it
    async def attach(self, actor: Actor, scope: str, id_: str, link: ModelLink) -> Mapping:
        """Raises Conflict where the model is there already, linked in the same way."""
        _check_link(link)

        def work(unit: Unit) -> Mapping:
            held = _locked(unit, scope, id_)
            if len(held.mappings) >= MOST_MODELS:
                raise refused("model_config", f"An endpoint has at most {MOST_MODELS} models.")
            [made] = self._attach(unit, actor, scope, held.pk, [link])
            store.update(unit, actor, held, fallback=held.fallback or _fallback(None, [link]))
            record(unit, actor, "write", scope, f"endpoints/{id_}")
            return next(one for one in _found(unit.conn, scope, id_).mappings if one.id == made)

        return await self._database.write(work)

    async def detach(self, actor: Actor, scope: str, id_: str, model_id: str) -> None:
        def work(unit: Unit) -> None:
            held = _locked(unit, scope, id_)
            behind = [one.id for one in held.mappings if one.model.id == model_id]
            if not behind:
                raise NotFound(
                    f"Model definition '{model_id}' is not attached to endpoint '{id_}'", target="model_definition_id"
                )
            # One at a time, as MLflow does it, where a model is both primary and fallback.
            store.detach(unit, held.pk, behind[:1])
            store.update(unit, actor, held)
            record(unit, actor, "write", scope, f"endpoints/{id_}")

        await self._database.write(work)

    # ---- tags
    async def set_tag(self, actor: Actor, scope: str, id_: str, key: str, value: str) -> None:
        check_text(key, "key", MOST_IN_TAG_KEY)
        if len(value) > MOST_IN_TAG_VALUE:
            raise refused("value", f"`value` must be at most {MOST_IN_TAG_VALUE} characters; got {len(value)}.")

        def work(unit: Unit) -> None:
            store.set_tag(unit, _locked(unit, scope, id_).pk, key, value)
            record(unit, actor, "write", scope, f"endpoints/{id_}/tags/{key}")

        await self._database.write(work)

    async def delete_tag(self, actor: Actor, scope: str, id_: str, key: str) -> None:
        """Nothing happens where there is no such tag."""

        def work(unit: Unit) -> None:
            store.delete_tag(unit, _locked(unit, scope, id_).pk, key)
            record(unit, actor, "delete", scope, f"endpoints/{id_}/tags/{key}")

        await self._database.write(work)

    # ---- bindings
    async def bind(self, actor: Actor, scope: str, id_: str, resource_type: str, resource_id: str) -> Binding:
        if resource_type not in RESOURCES:
            raise refused("resource_type", f"'{resource_type[:50]}' is not a valid GatewayResourceType")
        check_text(resource_id, "resource_id")

        def work(unit: Unit) -> Binding:
            if not store.bind(unit, actor, _locked(unit, scope, id_).pk, resource_type, resource_id):
                raise Conflict(f"{resource_type} '{resource_id}' is already bound to endpoint '{id_}'")
            record(unit, actor, "write", scope, f"endpoints/{id_}/bindings/{resource_id}")
            return store.bindings(unit.conn, scope, id_, resource_type, resource_id)[0]

        return await self._database.write(work)

    async def unbind(self, actor: Actor, scope: str, id_: str, resource_type: str, resource_id: str) -> None:
        def work(unit: Unit) -> None:
            held = store.lock(unit, scope, id_)
            if held is None or not store.unbind(unit, held.pk, resource_type, resource_id):
                raise NotFound(
                    f"GatewayEndpointBinding not found (endpoint_id='{id_}', resource_type='{resource_type}', "
                    f"resource_id='{resource_id}')"
                )
            record(unit, actor, "delete", scope, f"endpoints/{id_}/bindings/{resource_id}")

        await self._database.write(work)

    async def bindings(
        self, scope: str, id_: str | None, resource_type: str | None, resource_id: str | None
    ) -> list[Binding]:
        return await self._database.read(lambda conn: store.bindings(conn, scope, id_, resource_type, resource_id))

    # ---- helpers
    def _changes(self, unit: Unit, scope: str, held: Endpoint, wish: EndpointWish) -> dict[str, Any]:
        asked = {"name": wish.name, "routing": wish.routing, "usage_tracking": wish.usage_tracking}
        values: dict[str, Any] = {field: value for field, value in asked.items() if value is not None}
        if wish.links is not None:
            values["fallback"] = _fallback(wish.fallback, wish.links)
        elif wish.fallback is not None:
            values["fallback"] = wish.fallback
        none_yet = bool(wish.usage_tracking) and held.experiment_id is None
        if wish.experiment_id is not None or none_yet:
            name = wish.name or held.name
            values["experiment"] = self._experiment(unit, scope, held.id, name, wish.experiment_id, True)
        return values

    def _experiment(
        self, unit: Unit, scope: str, id_: str, name: str, experiment_id: str | None, tracked: bool
    ) -> int | None:
        """The key of the experiment for its traces; one is made where there are to be any and nobody said where."""
        if experiment_id is not None:
            return self._experiments.active(unit, scope, experiment_id).pk
        if not tracked:
            return None
        theirs = experiment_store.by_name(unit.conn, scope, f"gateway/{name}") is not None
        found = self._experiments.ensure(unit, scope, f"gateway/{name}")
        if not theirs:
            experiment_store.set_tags(unit, found.pk, {**_EXPERIMENT_TAGS, "mlflow.experiment.sourceId": id_})
        return found.pk

    def _attach(self, unit: Unit, actor: Actor, scope: str, endpoint: int, links: Sequence[ModelLink]) -> list[str]:
        """The ids of the mappings, in the order of `links`."""
        # Models are locked in one order, whoever asks.
        keys = {id_: locked_model(unit, scope, id_).pk for id_ in sorted({link.model_id for link in links})}
        made = []
        for link in links:
            mapping = self._id("m")
            model = keys[link.model_id]
            if not store.attach(unit, actor, scope, mapping, endpoint, model, link.linkage, link.weight, link.position):
                raise Conflict(f"Model definition '{link.model_id}' is already attached to the endpoint")
            made.append(mapping)
        return made

    def _id(self, letter: str) -> str:
        return f"{letter}-{self._database.runtime.hex_id()}"


def _found(conn: sa.Connection, scope: str, id_: str | None, name: str | None = None) -> Endpoint:
    found = store.get(conn, scope, id_=id_, name=name)
    if found is None:
        field, value = ("endpoint_id", id_) if id_ is not None else ("name", name)
        raise missing("GatewayEndpoint", field, value or "")
    return found


def _locked(unit: Unit, scope: str, id_: str) -> Endpoint:
    found = store.lock(unit, scope, id_)
    if found is None:
        raise missing("GatewayEndpoint", "endpoint_id", id_)
    return found


def _fallback(wish: Fallback | None, links: Sequence[ModelLink]) -> Fallback | None:
    """Models to fall back to are fallen back to, whether or not anything else was said of it."""
    return wish or (Fallback() if any(link.linkage == FALLBACK for link in links) else None)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise refused(
            "name",
            f"Invalid endpoint name '{name[:100]}'. Name can only contain letters, numbers, underscores, hyphens, and dots.",
        )
    check_text(name, "name", MOST_IN_NAME)


def _check_fallback(wish: Fallback | None) -> None:
    if wish is not None and wish.max_attempts is not None and not 0 <= wish.max_attempts <= MOST_MODELS:
        raise refused("fallback_config", f"`max_attempts` must be between 0 and {MOST_MODELS}.")


def _check_links(links: Sequence[ModelLink]) -> None:
    if not links:
        raise refused("model_configs", "Endpoint must have at least one model configuration")
    if len(links) > MOST_MODELS:
        raise refused("model_configs", f"An endpoint has at most {MOST_MODELS} models; got {len(links)}.")
    for link in links:
        _check_link(link)
    primary = [link for link in links if link.linkage == PRIMARY]
    if not primary:
        raise refused("model_configs", "Endpoint must have at least one PRIMARY model configuration")


def _check_link(link: ModelLink) -> None:
    if not math.isfinite(link.weight) or link.weight < 0:
        raise refused("weight", f"`weight` must be a number of at least 0; got {link.weight}.")
    if link.position is not None and not 0 <= link.position < 2**31:
        raise refused("fallback_order", "`fallback_order` must be a number of at least 0.")


def _taken(name: str) -> Conflict:
    return Conflict(f"Endpoint with name '{name}' already exists", target="name")
