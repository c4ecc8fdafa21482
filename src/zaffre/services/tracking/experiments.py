"""Experiments: made by name, found by id or name, deleted softly."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput, NotFound
from zaffre.services.tracking import filters, paging
from zaffre.store.database import Database
from zaffre.store.tracking import experiments as store
from zaffre.store.tracking import runs
from zaffre.store.tracking.records import Experiment
from zaffre.store.unit import PLATFORM, Actor, Unit

# What MLflow's clients log to when nobody named an experiment.
DEFAULT_ID, DEFAULT_NAME = "0", "Default"
ACTIVE, DELETED = "active", "deleted"


class Experiments:
    """`ensure` for whoever has a name and wants to log; the rest is MLflow's own set of verbs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ensure(self, unit: Unit, scope: str, name: str) -> Experiment:
        """The active experiment of that name, made if there is none. Raises Conflict when it is deleted."""
        found = store.by_name(unit.conn, scope, name)
        if found is None:
            self._make(unit, PLATFORM, scope, name, None, {})
            found = store.by_name(unit.conn, scope, name)
            assert found is not None, "the experiment was inserted or found in this transaction"
        if found.lifecycle != ACTIVE:
            raise Conflict(f"Experiment '{name}' is deleted. Restore it, or choose another name.")
        return found

    async def create(
        self, actor: Actor, scope: str, name: str, artifact_location: str | None, tags: dict[str, str]
    ) -> Experiment:
        """A new experiment. Raises Conflict when the name is taken, be it by a deleted one."""

        def work(unit: Unit) -> Experiment:
            held = store.by_name(unit.conn, scope, name)
            if held is not None:
                state = " in deleted state; restore it, or delete it for good" if held.lifecycle == DELETED else ""
                raise Conflict(f"Experiment(name={name}) already exists{state}.", code="RESOURCE_ALREADY_EXISTS")
            made = self._make(unit, actor, scope, name, artifact_location, tags)
            if made is None:  # another server on this database was faster
                raise Conflict(f"Experiment(name={name}) already exists.", code="RESOURCE_ALREADY_EXISTS")
            return made

        return await self._database.write(work)

    async def get(self, scope: str, id_: str) -> Experiment:
        found = await self._database.read(lambda conn: store.by_id(conn, scope, id_))
        if found is None and id_ == DEFAULT_ID:
            return await self._database.write(lambda unit: self.named(unit, scope, id_))
        if found is None:
            raise _missing(id_)
        return found

    async def by_name(self, scope: str, name: str) -> Experiment:
        found = await self._database.read(lambda conn: store.by_name(conn, scope, name))
        if found is None and name == DEFAULT_NAME:
            return await self._database.write(lambda unit: self.ensure(unit, scope, name))
        if found is None:
            raise NotFound(f"Could not find experiment with name '{name}'", target="experiment_name")
        return found

    def named(self, unit: Unit, scope: str, id_: str) -> Experiment:
        """The experiment with that id, without its tags, in a transaction; the default one is made when it is first asked for."""
        found = store.find(unit.conn, scope, id_)
        if found is None and id_ == DEFAULT_ID:
            return self.ensure(unit, scope, DEFAULT_NAME)
        if found is None:
            raise _missing(id_)
        return found

    def active(self, unit: Unit, scope: str, id_: str) -> Experiment:
        """Like `named`; raises InvalidInput when the experiment is deleted."""
        return _active(self.named(unit, scope, id_))

    async def get_active(self, scope: str, id_: str) -> Experiment:
        """Like `get`; raises InvalidInput when the experiment is deleted."""
        return _active(await self.get(scope, id_))

    async def rename(self, actor: Actor, scope: str, id_: str, name: str) -> None:
        def work(unit: Unit) -> None:
            found = self.active(unit, scope, id_)
            held = store.by_name(unit.conn, scope, name)
            if held is not None and held.pk != found.pk:
                raise Conflict(f"Experiment(name={name}) already exists.", code="RESOURCE_ALREADY_EXISTS")
            store.update(unit, found.pk, name=name)
            self._record(unit, actor, "write", scope, id_)

        await self._database.write(work)

    async def set_lifecycle(self, actor: Actor, scope: str, id_: str, lifecycle: str) -> None:
        """Delete (softly) or restore, and all its runs with it, as MLflow does."""

        def work(unit: Unit) -> None:
            found = self.named(unit, scope, id_)
            if found.lifecycle == lifecycle:
                raise _missing(id_, f" that is not {lifecycle}")
            store.update(unit, found.pk, lifecycle=lifecycle)
            runs.set_lifecycles(unit, found.pk, lifecycle)
            self._record(unit, actor, "delete" if lifecycle == DELETED else "write", scope, id_)

        await self._database.write(work)

    async def set_tag(self, scope: str, id_: str, key: str, value: str) -> None:
        await self._database.write(lambda unit: store.set_tags(unit, self.active(unit, scope, id_).pk, {key: value}))

    async def delete_tag(self, scope: str, id_: str, key: str) -> None:
        def work(unit: Unit) -> None:
            if not store.delete_tag(unit, self.active(unit, scope, id_).pk, key):
                raise NotFound(f"No tag with name: {key} in experiment with id {id_}", target="key")

        await self._database.write(work)

    async def search(
        self,
        scope: str,
        lifecycles: tuple[str, ...],
        filter_: str | None,
        order_by: list[str],
        token: str | None,
        limit: int,
    ) -> tuple[list[Experiment], str | None]:
        conditions = filters.parse(filter_, filters.EXPERIMENTS)
        orders = filters.parse_order(order_by, filters.EXPERIMENTS)
        paging.start(token)  # what is refused changes nothing
        await self.get(scope, DEFAULT_ID)  # every list holds it

        def work(conn: sa.Connection) -> tuple[list[Experiment], str | None]:
            found = filters.select(store.listing(conn, scope, lifecycles), conditions, orders, _value)
            return paging.page(found, lambda one: one.id, token, limit)

        return await self._database.read(work)

    def _make(
        self, unit: Unit, actor: Actor, scope: str, name: str, artifact_location: str | None, tags: dict[str, str]
    ) -> Experiment | None:
        """The new experiment, None where its name is taken. The first one called Default gets the id 0, as in MLflow."""
        ids = [self._database.runtime.guid()]
        if name == DEFAULT_NAME:
            ids.insert(0, DEFAULT_ID)
        for id_ in ids:
            if store.insert(unit, scope, id_, name, artifact_location, tags):
                self._record(unit, actor, "write", scope, name)
                return store.by_id(unit.conn, scope, id_)
        return None

    @staticmethod
    def _record(unit: Unit, actor: Actor, verb: str, scope: str, which: str) -> None:
        unit.audit(actor, f"workspaces/experiments/{verb}", f"{scope}/experiments/{which}")
        unit.emit(scope, "experiments", which)


def _active(found: Experiment) -> Experiment:
    if found.lifecycle != ACTIVE:
        raise InvalidInput(
            f"The experiment {found.id} must be in the 'active' state. Current state is {found.lifecycle}; restore it.",
            target="experiment_id",
        )
    return found


def _missing(id_: str, more: str = "") -> NotFound:
    return NotFound(f"No Experiment with id={id_} exists in this workspace{more}.", target="experiment_id")


def _value(experiment: Experiment, entity: str, key: str) -> Any:
    if entity == "tag":
        return experiment.tags.get(key)
    return {
        "name": experiment.name,
        "experiment_id": experiment.id,
        "creation_time": experiment.created_at,
        "last_update_time": experiment.modified_at,
    }[key]
