"""What is brought here from another tracking server, as it was there: ids, states and times included.

Each call puts one thing whole and may be repeated: what is there already is brought up to date, and what only this server
knows of it stays. Metrics, inputs and files come afterwards, by MLflow's own operations.
"""

from __future__ import annotations

from typing import Any

import msgspec

from zaffre.errors import Conflict, InvalidInput
from zaffre.services.tracking import Tracking, words
from zaffre.services.tracking.experiments import DEFAULT_ID, DEFAULT_NAME
from zaffre.services.tracking.runs import MLFLOW, apply_tags
from zaffre.store import imports
from zaffre.store.database import Database
from zaffre.store.tracking import experiments as experiment_store
from zaffre.store.tracking import runs as run_store
from zaffre.store.tracking.records import Experiment, NewRun
from zaffre.store.unit import Actor, Unit


class ImportedExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is kept where it is free. Times are milliseconds since 1970."""

    id: str
    name: str
    tags: dict[str, str]
    created_at: int | None
    modified_at: int | None


class ImportedRun(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is MLflow's word."""

    id: str
    experiment_id: str
    name: str
    user: str
    status: str
    started_at: int | None
    ended_at: int | None
    tags: dict[str, str]
    params: dict[str, str]


class Imports:
    def __init__(self, database: Database, tracking: Tracking) -> None:
        self._database = database
        self._tracking = tracking

    async def experiment(self, actor: Actor, scope: str, given: ImportedExperiment) -> tuple[Experiment, bool]:
        """The experiment of that name, made where there is none, with those tags; and whether it was made now."""

        def work(unit: Unit) -> tuple[Experiment, bool]:
            found = experiment_store.by_name(unit.conn, scope, given.name)
            made = found is None
            if found is None:
                found = self._make_experiment(unit, scope, given)
                times = {"created_at": given.created_at, "modified_at": given.modified_at}
                imports.set_experiment(unit, found.pk, **{key: at for key, at in times.items() if at is not None})
                unit.audit(actor, "workspaces/experiments/write", f"{scope}/experiments/{found.id}")
                unit.emit(scope, "experiments", found.id)
            experiment_store.set_tags(unit, found.pk, given.tags)
            return found, made

        return await self._database.write(work)

    async def run(self, actor: Actor, scope: str, given: ImportedRun) -> bool:
        """Make the run, or bring it up to date; whether it was made now. It may lie in a deleted experiment.

        Raises Conflict when the id is that of a job here, InvalidInput when a param has another value here.
        """
        status = words.from_mlflow(given.status)

        def work(unit: Unit) -> bool:
            held = run_store.find(unit.conn, scope, given.id)
            if held is None:
                experiment = self._tracking.experiments.named(unit, scope, given.experiment_id)
                new = NewRun(
                    scope=scope,
                    id=given.id,
                    experiment=experiment.pk,
                    origin=MLFLOW,
                    status=status,
                    display_name=given.name,
                    user=given.user,
                    started_at=given.started_at,
                    tags=given.tags,
                )
                pk = self._tracking.runs.create(unit, new, experiment).head.pk
                unit.audit(actor, "workspaces/experiments/runs/write", f"{scope}/runs/{given.id}")
            else:
                pk, _, origin = held
                if origin != MLFLOW:
                    raise Conflict(f"'{given.id}' is the name of a job of this workspace.", target="run_id")
                apply_tags(unit, scope, pk, given.tags)
                unit.emit(scope, "runs", given.id, {"status": status})
            times: dict[str, Any] = {"started_at": given.started_at, "ended_at": given.ended_at}
            if given.started_at is not None:
                times |= {"created_at": given.started_at, "ordered_at": given.started_at}
            named = {"display_name": given.name} if given.name else {}
            imports.set_run(unit, pk, status=status, user=given.user, **named, **times)
            clash = run_store.put_params(unit, pk, list(given.params.items()))
            if clash is not None:
                key, kept, other = clash
                raise InvalidInput(
                    f"Param '{key}' of run {given.id} is '{kept[:250]}' here and '{other[:250]}' there; params never change.",
                    target="params",
                )
            return held is None

        return await self._database.write(work)

    def _make_experiment(self, unit: Unit, scope: str, given: ImportedExperiment) -> Experiment:
        # 0 is what clients log to that named no experiment: nobody else's becomes that by an import.
        free = given.id if (given.id == DEFAULT_ID) == (given.name == DEFAULT_NAME) else ""
        for id_ in (free, self._database.runtime.guid()):
            if id_ and experiment_store.insert(unit, scope, id_, given.name, None, {}):
                break
        made = experiment_store.by_name(unit.conn, scope, given.name)
        assert made is not None, "the experiment was inserted or found in this transaction"
        return made
