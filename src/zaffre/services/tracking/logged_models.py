"""Logged models, as MLflow 3 writes them: made pending, filled with files, then finalized."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import InvalidInput, NotFound
from zaffre.services.tracking import filters, paging
from zaffre.services.tracking.experiments import DELETED, Experiments
from zaffre.services.tracking.names import two_words
from zaffre.store.database import Database
from zaffre.store.tracking import metrics
from zaffre.store.tracking import models as store
from zaffre.store.tracking.records import LoggedModel, ModelPoint
from zaffre.store.unit import Actor, Unit

VERSIONS_TAG = "mlflow.modelVersions"
Measured = tuple[str, str | None]
"""A dataset that metrics were measured on: its name and, where that counts, its digest."""
PENDING, READY, FAILED = "LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """A model with the newest of each metric measured on it."""

    model: LoggedModel
    metrics: list[ModelPoint]


class LoggedModels:
    def __init__(self, database: Database, experiments: Experiments) -> None:
        self._database = database
        self._experiments = experiments

    async def create(
        self,
        actor: Actor,
        scope: str,
        experiment_id: str,
        *,
        name: str | None,
        model_type: str | None,
        source_run: str | None,
        params: dict[str, str],
        tags: dict[str, str],
    ) -> Logged:
        runtime = self._database.runtime
        model_id = f"m-{runtime.hex_id()}"

        def work(unit: Unit) -> Logged:
            experiment = self._experiments.active(unit, scope, experiment_id)
            store.insert(
                unit,
                scope,
                model_id,
                experiment.pk,
                name or two_words(runtime),
                PENDING,
                model_type=model_type,
                source_run=source_run,
                params=params,
                tags=tags,
            )
            self._record(unit, actor, "write", scope, model_id)
            return _logged(unit.conn, scope, [_active(unit.conn, scope, model_id)])[0]

        return await self._database.write(work)

    async def get(self, scope: str, model_id: str) -> Logged:
        return await self._database.read(lambda conn: _logged(conn, scope, [_active(conn, scope, model_id)])[0])

    async def finalize(self, actor: Actor, scope: str, model_id: str, status: str) -> Logged:
        if status not in (READY, FAILED):
            raise InvalidInput(f"Field 'status': '{status[:50]}' is not one of {READY}, {FAILED}.", target="status")
        return await self._change(actor, scope, model_id, lambda _model: {"status": status})

    async def set_tags(self, actor: Actor, scope: str, model_id: str, tags: dict[str, str]) -> Logged:
        return await self._change(actor, scope, model_id, lambda model: {"tags": {**model.tags, **tags}})

    async def delete_tag(self, actor: Actor, scope: str, model_id: str, key: str) -> None:
        def change(model: LoggedModel) -> dict[str, Any]:
            if key not in model.tags:
                raise NotFound(f"No tag with key {key!r} found for logged model {model_id!r}.", target="tag_key")
            return {"tags": {name: value for name, value in model.tags.items() if name != key}}

        await self._change(actor, scope, model_id, change)

    async def log_params(self, actor: Actor, scope: str, model_id: str, params: dict[str, str]) -> None:
        def change(model: LoggedModel) -> dict[str, Any]:
            for key, value in params.items():
                if model.params.get(key, value) != value:
                    raise InvalidInput(
                        f"Changing param values is not allowed. Param with key='{key}' was already logged with "
                        f"value='{model.params[key]}' for model {model_id}. Attempted logging new value '{value}'.",
                        target=key,
                    )
            return {"params": {**model.params, **params}}

        await self._change(actor, scope, model_id, change)

    async def delete(self, actor: Actor, scope: str, model_id: str) -> None:
        def work(unit: Unit) -> None:
            store.update(unit, _active(unit.conn, scope, model_id, lock=True).pk, lifecycle=DELETED)
            self._record(unit, actor, "delete", scope, model_id)

        await self._database.write(work)

    async def search(
        self,
        scope: str,
        experiment_ids: Sequence[str],
        filter_: str | None,
        order_by: Sequence[tuple[str, Measured | None]],
        token: str | None,
        limit: int,
        datasets: Sequence[Measured] = (),
    ) -> tuple[list[Logged], str | None]:
        """A page of the models of those experiments, the newest first where nothing else is asked.

        With `datasets`, those that were measured on one of them, and only such measures count. A metric of `order_by` may
        name the dataset it is meant on.
        """
        conditions = filters.parse(filter_, filters.LOGGED_MODELS)
        orders = [
            msgspec.structs.replace(order, key=_on(order.key, on) if order.entity == "metric" and on else order.key)
            for (text, on) in order_by
            for order in filters.parse_order([text], filters.LOGGED_MODELS)
        ]
        asked = {*(one.entity for one in conditions), *(one.entity for one in orders)}
        by_metric = "metric" in asked or bool(datasets)

        def value(row: Logged, entity: str, key: str) -> Any:
            return _value(row, entity, key, datasets)

        def work(conn: sa.Connection) -> tuple[list[Logged], str | None]:
            models = store.listing(conn, scope, experiment_ids)
            rows = _logged(conn, scope, models) if by_metric else [Logged(model=one, metrics=[]) for one in models]
            if datasets:
                rows = [row for row in rows if any(_is_on(one, datasets) for one in row.metrics)]
            chosen = filters.select(rows, conditions, orders, value)
            rows, following = paging.page(chosen, lambda row: row.model.id, token, limit)
            return rows if by_metric else _logged(conn, scope, [row.model for row in rows]), following

        return await self._database.read(work)

    async def _change(
        self, actor: Actor, scope: str, model_id: str, change: Callable[[LoggedModel], dict[str, Any]]
    ) -> Logged:
        def work(unit: Unit) -> Logged:
            model = _active(unit.conn, scope, model_id, lock=True)
            store.update(unit, model.pk, **change(model))
            self._record(unit, actor, "write", scope, model_id)
            return _logged(unit.conn, scope, [_active(unit.conn, scope, model_id)])[0]

        return await self._database.write(work)

    @staticmethod
    def _record(unit: Unit, actor: Actor, verb: str, scope: str, model_id: str) -> None:
        unit.audit(actor, f"workspaces/experiments/models/{verb}", f"{scope}/loggedModels/{model_id}")
        unit.emit(scope, "loggedModels", model_id)


def _active(conn: sa.Connection, scope: str, model_id: str, *, lock: bool = False) -> LoggedModel:
    found = store.get(conn, scope, model_id, lock=lock)
    if found is None or found.lifecycle == DELETED:
        raise NotFound(f"Logged model with ID {model_id!r} not found in this workspace.", target="model_id")
    return found


def _logged(conn: sa.Connection, scope: str, models: Sequence[LoggedModel]) -> list[Logged]:
    points = metrics.of_models(conn, scope, [model.id for model in models])
    return [Logged(model=model, metrics=points[model.id]) for model in models]


def note_version(unit: Unit, scope: str, model_id: str, name: str, version: str) -> None:
    """Say in a logged model's tags that it was registered, as MLflow's pages read it."""
    model = store.get(unit.conn, scope, model_id, lock=True)
    if model is None:
        return
    held = json.loads(model.tags.get(VERSIONS_TAG, "[]"))
    number = int(version) if version.isdecimal() else version
    tags = {**model.tags, VERSIONS_TAG: json.dumps([*held, {"name": name, "version": number}])}
    store.update(unit, model.pk, tags=tags)


def _on(key: str, dataset: Measured) -> str:
    """A metric measured on a dataset, as one key: no name of a metric holds a NUL."""
    return "\0".join((key, *(part or "" for part in dataset)))


def _is_on(measured: ModelPoint, datasets: Sequence[Measured]) -> bool:
    held = measured.point.dataset
    return held is not None and any(held[0] == name and digest in (None, "", held[1]) for name, digest in datasets)


def _value(row: Logged, entity: str, key: str, datasets: Sequence[Measured]) -> Any:
    model = row.model
    if entity == "tag":
        return model.tags.get(key)
    if entity == "param":
        return model.params.get(key)
    if entity == "metric":
        # Ordered by step, so the last one is the newest.
        key, _, dataset = key.partition("\0")
        if dataset:
            name, _, digest = dataset.partition("\0")
            datasets = [(name, digest)]
        mine = [one for one in row.metrics if one.point.key == key and (not datasets or _is_on(one, datasets))]
        values = [one.point.value for one in mine]
        return values[-1] if values else None
    return {
        "name": model.name,
        "model_id": model.id,
        "model_type": model.model_type,
        "status": model.status.removeprefix("LOGGED_MODEL_"),
        "source_run_id": model.source_run,
        "creation_timestamp": model.created_at,
        "last_updated_timestamp": model.modified_at,
    }[key]
