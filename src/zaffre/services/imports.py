"""What is brought here from another tracking server, as it was there: ids, states and times included.

Each call puts one thing whole and may be repeated: what is there already is brought up to date, and what only this server
knows of it stays. Metrics, inputs and files come afterwards, by MLflow's own operations.
"""

from __future__ import annotations

from typing import Any

import msgspec

from zaffre.errors import Conflict, InvalidInput
from zaffre.services import assets, registry_events
from zaffre.services.registered_models import MODELS, PROMPT_TAG, PROMPTS, STAGES, RegisteredModels
from zaffre.services.tracking import Tracking, words
from zaffre.services.tracking.experiments import ACTIVE, DEFAULT_ID, DEFAULT_NAME
from zaffre.services.tracking.logged_models import FAILED, PENDING, READY
from zaffre.services.tracking.runs import MLFLOW, apply_tags
from zaffre.services.workspaces import Workspace
from zaffre.store import imports
from zaffre.store import resources as rows
from zaffre.store.database import Database
from zaffre.store.tracking import experiments as experiment_store
from zaffre.store.tracking import models as model_store
from zaffre.store.tracking import runs as run_store
from zaffre.store.tracking.records import Experiment, NewRun
from zaffre.store.unit import Actor, Unit

STATUSES = (PENDING, READY, FAILED, "LOGGED_MODEL_STATUS_UNSPECIFIED")


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


class ImportedLoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is MLflow's word, such as LOGGED_MODEL_READY."""

    id: str
    experiment_id: str
    name: str
    status: str
    status_message: str | None
    model_type: str | None
    source_run: str | None
    created_at: int | None
    modified_at: int | None
    tags: dict[str, str]
    params: dict[str, str]


class ImportedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A registered model, or with the tag of one a prompt. `aliases` name versions that are here."""

    name: str
    description: str | None
    created_at: int | None
    modified_at: int | None
    tags: dict[str, str]
    aliases: dict[str, str]


class ImportedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a registered model that is here; `source` is a place of this server. `stage` is MLflow's word."""

    name: str
    version: str
    source: str
    run_id: str | None
    run_link: str | None
    model_id: str | None
    description: str | None
    stage: str
    user: str
    created_at: int | None
    modified_at: int | None
    tags: dict[str, str]


class Imports:
    def __init__(self, database: Database, tracking: Tracking, models: RegisteredModels) -> None:
        self._database = database
        self._tracking = tracking
        self._models = models

    async def experiment(self, actor: Actor, scope: str, given: ImportedExperiment) -> tuple[Experiment, bool]:
        """The experiment of that name, made where there is none, with those tags; and whether it was made now."""

        def work(unit: Unit) -> tuple[Experiment, bool]:
            found = experiment_store.by_name(unit.conn, scope, given.name)
            made = found is None
            if found is None:
                found = self._make_experiment(unit, scope, given)
                imports.set_experiment(unit, found.pk, **_times(given))
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
                pk = self._tracking.runs.create(unit, new).head.pk
                unit.audit(actor, "workspaces/experiments/runs/write", f"{scope}/runs/{given.id}")
            else:
                pk, origin = held.pk, held.origin
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

    async def logged_model(self, actor: Actor, scope: str, given: ImportedLoggedModel) -> tuple[str, bool]:
        """Make the model, or bring it up to date; its lifecycle, and whether it was made now. A deleted one stays as it is."""
        if given.status not in STATUSES:
            raise InvalidInput(
                f"Field 'status': '{given.status[:50]}' is not one of {', '.join(STATUSES)}.", target="status"
            )

        def work(unit: Unit) -> tuple[str, bool]:
            held = model_store.get(unit.conn, scope, given.id, lock=True)
            if held is not None and held.lifecycle != ACTIVE:
                return held.lifecycle, False
            if held is None:
                model_store.insert(
                    unit,
                    scope,
                    given.id,
                    self._tracking.experiments.named(unit, scope, given.experiment_id).pk,
                    given.name,
                    given.status,
                    model_type=given.model_type,
                    source_run=given.source_run,
                    params=given.params,
                    tags=given.tags,
                )
                unit.audit(actor, "workspaces/experiments/models/write", f"{scope}/loggedModels/{given.id}")
            else:
                tags, params = {**held.tags, **given.tags}, {**held.params, **given.params}
                model_store.update(unit, held.pk, name=given.name, status=given.status, tags=tags, params=params)
            made = model_store.get(unit.conn, scope, given.id)
            assert made is not None, "the model was inserted or found in this transaction"
            imports.set_logged_model(unit, made.pk, status_message=given.status_message, **_times(given))
            unit.emit(scope, "loggedModels", given.id)
            return made.lifecycle, held is None

        return await self._database.write(work)

    async def registered_model(self, actor: Actor, workspace: Workspace, given: ImportedModel) -> bool:
        """Make the model, or bring it up to date; whether it was made now.

        Raises Conflict for a name in another case, and for one that a prompt has, or a model.
        """
        type_ = _type(given.tags)
        try:
            await self._models.create(actor, workspace, given.name, given.description, given.tags)
            made = True
        except Conflict:
            made = False

        def work(unit: Unit) -> None:
            row = rows.get(unit.conn, workspace.id, type_, given.name, lock=True)
            if row is None or row.name != given.name:
                other = f"'{row.name}' is here, and its name differs in case only" if row else "the name is taken"
                raise Conflict(f"'{given.name}' cannot be imported: {other}.", target="name")
            properties = row.body["properties"]
            new: dict[str, Any] = {"tags": {**(properties.get("tags") or {}), **given.tags}}
            if given.description is not None:
                new["description"] = given.description
            for alias, version in given.aliases.items():
                if rows.get(unit.conn, workspace.id, assets.versions_of(type_), version, given.name) is None:
                    raise InvalidInput(
                        f"The alias '{alias}' names version {version}, which is not here.", target="aliases"
                    )
            known = row.server.get("mlflow", {})
            held = known.get("aliases", {})
            server = {**row.server, "mlflow": {**known, "aliases": {**held, **given.aliases}}}
            for alias, version in given.aliases.items():
                if held.get(alias) != version:
                    registry_events.alias_created(unit, workspace.id, row, alias, version)
            rows.update(unit, None, row.pk, body={**row.body, "properties": {**properties, **new}}, server=server)
            imports.set_resource(unit, row.pk, **_times(given))
            unit.emit(workspace.id, MODELS, row.name)

        await self._database.write(work)
        return made

    async def model_version(self, actor: Actor, workspace: Workspace, given: ImportedVersion) -> None:
        """Make the version, or bring it up to date. Raises Conflict when its number is taken by another content."""
        if given.stage not in STAGES:
            raise InvalidInput(
                f"Field 'stage': '{given.stage[:50]}' is not one of {', '.join(STAGES)}.", target="stage"
            )
        type_ = _type(given.tags)
        if (await self._models.get(workspace, given.name)).row.type != type_:
            raise Conflict(
                f"'{given.name}' is here, and is {'no prompt' if type_ == PROMPTS else 'a prompt'}.", target="name"
            )
        container, row = await self._models.create_version(
            actor,
            workspace,
            given.name,
            given.source,
            run_id=given.run_id,
            run_link=given.run_link,
            model_id=given.model_id,
            description=given.description,
            tags=given.tags,
            version=given.version,
        )

        def work(unit: Unit) -> None:
            fresh = rows.by_pk(unit.conn, row.pk, lock=True)
            if fresh is None:
                raise Conflict(f"Version {given.version} of '{given.name}' was deleted just now.", target="version")
            stage = None if given.stage == "None" else given.stage
            properties = {**fresh.body["properties"], "stage": stage}
            rows.update(unit, None, row.pk, body={**fresh.body, "properties": properties})
            imports.set_resource(unit, row.pk, **({"created_by": given.user} if given.user else {}), **_times(given))
            unit.emit(workspace.id, MODELS, container.name)

        await self._database.write(work)

    def _make_experiment(self, unit: Unit, scope: str, given: ImportedExperiment) -> Experiment:
        # 0 is what clients log to that named no experiment: nobody else's becomes that by an import.
        free = given.id if (given.id == DEFAULT_ID) == (given.name == DEFAULT_NAME) else ""
        for id_ in (free, self._database.runtime.guid()):
            if id_ and experiment_store.insert(unit, scope, id_, given.name, None, {}):
                break
        made = experiment_store.by_name(unit.conn, scope, given.name)
        assert made is not None, "the experiment was inserted or found in this transaction"
        return made


def _type(tags: dict[str, str]) -> str:
    """Of the container: a prompt says by a tag that it is one, and so does each of its versions."""
    return PROMPTS if PROMPT_TAG in tags else MODELS


def _times(given: ImportedExperiment | ImportedLoggedModel | ImportedModel | ImportedVersion) -> dict[str, int]:
    """The times it had there, as far as they are known."""
    times = {"created_at": given.created_at, "modified_at": given.modified_at}
    return {key: at for key, at in times.items() if at is not None}
