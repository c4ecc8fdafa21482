"""Scorers: what judges an experiment's traces, in versions. They are kept here and run by the clients that ask for them."""

from __future__ import annotations

import re

import msgspec
import sqlalchemy as sa

from zaffre.errors import NotFound, NotServed, refused
from zaffre.services.tracking import filters, scorer_documents
from zaffre.services.tracking.experiments import DEFAULT_ID, Experiments
from zaffre.store.database import Database
from zaffre.store.model_gateway import endpoints
from zaffre.store.model_gateway.records import Endpoint
from zaffre.store.tracking import experiments as experiment_store
from zaffre.store.tracking import scorers as store
from zaffre.store.tracking.scorers import OnlineConfig, ScorerVersion
from zaffre.store.unit import Actor, Unit

MOST_IN_NAME = 256
_BOUND = "scorer"  # what such a thing is called where it is bound to an endpoint
_NUMBER = re.compile("-[1-9][0-9]{0,9}")


def number(version: ScorerVersion) -> int:
    """The experiment as a number of 32 bits, of which MLflow's message of a scorer is: below zero, where no id of ours is.

    From MLflow 3.17 on a client that got a scorer names the experiment by it, when it changes how the scorer runs.
    """
    return int(version.experiment_id) if version.experiment_id == DEFAULT_ID else -version.experiment


class Scorers:
    def __init__(self, database: Database, experiments: Experiments) -> None:
        self._database = database
        self._experiments = experiments

    async def experiment_id(self, scope: str, given: str) -> str:
        """What the experiment is called, which may be given as the `number` of a version of a scorer."""
        if not _NUMBER.fullmatch(given):
            return given
        found = await self._database.read(lambda conn: experiment_store.id_of(conn, scope, -int(given)))
        return found or given

    async def register(self, actor: Actor, scope: str, experiment_id: str, name: str, serialized: str) -> ScorerVersion:
        """Keep the scorer as the next version of that name."""
        _check_name(name)
        endpoint = scorer_documents.check(serialized)
        id_ = self._database.runtime.guid()

        def work(unit: Unit) -> ScorerVersion:
            experiment = self._experiments.active(unit, scope, experiment_id)
            asked = None if endpoint is None else _endpoint(unit, scope, endpoint)
            kept = serialized if asked is None else scorer_documents.asking(serialized, asked.id)
            made = store.add(unit, scope, id_, experiment.pk, name, kept)
            if asked is not None:
                endpoints.unbind_all(unit, scope, _BOUND, made.id)
                endpoints.bind(unit, actor, asked.pk, _BOUND, made.id)
            self._record(unit, actor, "write", scope, made.id)
            return _named(unit.conn, scope, [made])[0]

        return await self._database.write(work)

    async def newest(self, scope: str, experiment_id: str) -> list[ScorerVersion]:
        """The newest version of each scorer of an experiment."""
        experiment = await self._experiments.get_active(scope, experiment_id)
        return await self._database.read(lambda conn: _named(conn, scope, store.newest(conn, experiment.pk)))

    async def versions(self, scope: str, experiment_id: str, name: str) -> list[ScorerVersion]:
        """All versions of a scorer, the first one first. Raises NotFound when there are none."""
        experiment = await self._experiments.get_active(scope, experiment_id)
        found = await self._database.read(lambda conn: _named(conn, scope, store.versions(conn, experiment.pk, name)))
        if not found:
            raise _missing(experiment_id, name)
        return found

    async def get(self, scope: str, experiment_id: str, name: str, version: int | None) -> ScorerVersion:
        """A version of a scorer; the newest where none is named."""
        experiment = await self._experiments.get_active(scope, experiment_id)

        def work(conn: sa.Connection) -> ScorerVersion:
            found = store.version(conn, experiment.pk, name, version)
            if found is None:
                raise _missing(experiment_id, name, version)
            return _named(conn, scope, [found])[0]

        return await self._database.read(work)

    async def delete(self, actor: Actor, scope: str, experiment_id: str, name: str, version: int | None) -> None:
        """Delete a version, or all of them where none is named."""

        def work(unit: Unit) -> None:
            experiment = self._experiments.active(unit, scope, experiment_id)
            scorer = store.lock(unit, experiment.pk, name)
            held = store.version(unit.conn, experiment.pk, name, None)
            if scorer is None or held is None:
                raise _missing(experiment_id, name)
            if not store.delete(unit, scorer, version):
                raise _missing(experiment_id, name, version)
            if store.version(unit.conn, experiment.pk, name, None) is None:
                endpoints.unbind_all(unit, scope, _BOUND, held.id)
            self._record(unit, actor, "delete", scope, name)

        await self._database.write(work)

    async def set_online(
        self, actor: Actor, scope: str, experiment_id: str, name: str, sample_rate: float, filter_: str | None
    ) -> OnlineConfig:
        """Keep how much of what arrives the scorer is to judge by itself: nothing, as nobody here would do it.

        Raises NotServed for a rate above zero.
        """
        if not 0.0 <= sample_rate <= 1.0:
            raise refused("sample_rate", f"sample_rate must be between 0.0 and 1.0, got {sample_rate}")
        filters.parse(filter_, filters.TRACES)
        id_ = self._database.runtime.hex_id()

        def work(unit: Unit) -> OnlineConfig:
            experiment = self._experiments.active(unit, scope, experiment_id)
            scorer = store.lock(unit, experiment.pk, name)
            if scorer is None:
                raise _missing(experiment_id, name)
            if sample_rate > 0:
                raise NotServed(
                    f"Nothing would run scorer '{name}' automatically: this server runs no judges by itself, so only a "
                    "sample_rate of 0 is kept. Judge traces with mlflow.genai.evaluate() from a script, a job or a "
                    "schedule instead.",
                    target="sample_rate",
                )
            made = store.put_config(unit, scorer, id_, sample_rate, filter_)
            self._record(unit, actor, "write", scope, made.scorer_id)
            return made

        return await self._database.write(work)

    async def online(self, scope: str, ids: list[str]) -> list[OnlineConfig]:
        """What was set for those of the scorers that anything was set for."""
        return await self._database.read(lambda conn: store.configs(conn, scope, ids))

    @staticmethod
    def _record(unit: Unit, actor: Actor, verb: str, scope: str, which: str) -> None:
        unit.audit(actor, f"workspaces/experiments/scorers/{verb}", f"{scope}/scorers/{which}")


def _missing(experiment_id: str, name: str, version: int | None = None) -> NotFound:
    which = f"Scorer with name '{name}'" if version is None else f"Scorer with name '{name}' and version {version}"
    return NotFound(f"{which} not found for experiment {experiment_id}.", target="name")


def _check_name(name: str) -> None:
    if not name.strip():
        raise refused("name", "Scorer name cannot be empty or contain only whitespace.")
    if len(name) > MOST_IN_NAME:
        raise refused("name", f"Scorer name must be at most {MOST_IN_NAME} characters; got {len(name)}.")


def _endpoint(unit: Unit, scope: str, name: str) -> Endpoint:
    """The endpoint of the AI gateway; it is not deleted before this transaction ends."""
    found = endpoints.get(unit.conn, scope, name=name)
    if found is None or endpoints.lock(unit, scope, found.id) is None:
        raise NotFound(f"GatewayEndpoint not found (name='{name}')", target="serialized_scorer")
    return found


def _named(conn: sa.Connection, scope: str, versions: list[ScorerVersion]) -> list[ScorerVersion]:
    """With endpoints by the names they have now: they are kept by their ids. One that is gone is none."""
    asked = {one: scorer_documents.asks(one.serialized) for one in versions}
    names = endpoints.names(conn, scope, [id_ for id_ in asked.values() if id_ is not None])
    return [
        one
        if id_ is None
        else msgspec.structs.replace(one, serialized=scorer_documents.asking(one.serialized, names.get(id_)))
        for one, id_ in asked.items()
    ]
