"""Evaluation datasets: examples and what is expected of them. The same inputs are one record, however often they come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import NotFound, refused
from zaffre.services.tracking import filters, paging
from zaffre.services.tracking.experiments import Experiments
from zaffre.store.database import Database
from zaffre.store.tracking import evaluation_datasets as store
from zaffre.store.tracking.evaluation_datasets import EvaluationDataset, Record
from zaffre.store.unit import Actor, Unit

SOURCES = ("TRACE", "HUMAN", "DOCUMENT", "CODE")
USER = "mlflow.user"  # the tag in which MLflow's clients say who they are
MOST_IN_NAME, MOST_IN_KEY, MOST_IN_VALUE = 255, 255, 5000
GRAMMAR = filters.Grammar(
    attributes={name: name for name in ("name", "created_time", "last_update_time", "created_by", "last_updated_by")},
    numbers=frozenset({"created_time", "last_update_time"}),
    entities=frozenset({"tag"}),
)
_PARTS = ("inputs", "outputs", "expectations")
_TYPES: tuple[tuple[type, str], ...] = (
    (type(None), "null"),
    (bool, "boolean"),
    (int, "integer"),
    (float, "float"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
)


class NewRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it comes. `outputs` are any value, UNSET where none were given; `source` is a type and its data."""

    inputs: dict[str, Any]
    outputs: Any = msgspec.UNSET
    expectations: dict[str, Any] | None = None
    tags: dict[str, str] = {}
    source: tuple[str, dict[str, Any]] | None = None


class EvaluationDatasets:
    def __init__(self, database: Database, experiments: Experiments) -> None:
        self._database = database
        self._experiments = experiments

    async def create(
        self, actor: Actor, scope: str, name: str, tags: Mapping[str, str], experiments: Sequence[str]
    ) -> EvaluationDataset:
        """Names may be taken by others. Raises NotFound for an experiment that is not there."""
        if len(name) > MOST_IN_NAME:
            raise refused("name", f"'name' exceeds the maximum length of {MOST_IN_NAME} characters")
        _check_tags(tags)
        id_ = f"d-{self._database.runtime.hex_id()}"

        def work(unit: Unit) -> EvaluationDataset:
            pk = store.insert(unit, scope, id_, name, _digest(name, unit.now), tags.get(USER) or actor.name)
            store.set_tags(unit, pk, tags)
            store.add_to(unit, pk, [self._experiments.named(unit, scope, one).pk for one in experiments])
            _record(unit, actor, "write", scope, id_)
            return _present(unit.conn, scope, id_)

        return await self._database.write(work)

    async def get(self, scope: str, id_: str) -> EvaluationDataset:
        return await self._database.read(lambda conn: _present(conn, scope, id_))

    async def delete(self, actor: Actor, scope: str, id_: str) -> None:
        """Delete one that is there, with its records."""

        def work(unit: Unit) -> None:
            held = store.get(unit.conn, scope, id_, lock=True)
            if held is not None:
                store.delete(unit, held.pk)
                _record(unit, actor, "delete", scope, id_)

        await self._database.write(work)

    async def search(
        self,
        scope: str,
        experiments: Sequence[str],
        filter_: str | None,
        order_by: Sequence[str],
        token: str | None,
        limit: int,
    ) -> tuple[list[EvaluationDataset], str | None]:
        """Those of any of the experiments, or of the workspace; the newest first unless another order is asked for."""
        conditions, orders = filters.parse(filter_, GRAMMAR), filters.parse_order(order_by, GRAMMAR)

        def work(conn: sa.Connection) -> tuple[list[EvaluationDataset], str | None]:
            found = filters.select(store.listing(conn, scope, experiments), conditions, orders, _value)
            return paging.page(found, lambda one: one.pk, token, limit)

        return await self._database.read(work)

    async def set_tags(self, actor: Actor, scope: str, id_: str, tags: Mapping[str, str]) -> None:
        _check_tags(tags)

        def work(unit: Unit) -> None:
            held = store.get(unit.conn, scope, id_, lock=True)
            if held is None:
                raise NotFound(f"Could not find evaluation dataset with ID {id_}", target="dataset_id")
            store.set_tags(unit, held.pk, tags)
            _record(unit, actor, "write", scope, id_)

        await self._database.write(work)

    async def delete_tag(self, actor: Actor, scope: str, id_: str, key: str) -> None:
        """Delete a tag that is there."""

        def work(unit: Unit) -> None:
            held = store.get(unit.conn, scope, id_, lock=True)
            if held is not None and key in held.tags:
                store.delete_tag(unit, held.pk, key)
                _record(unit, actor, "write", scope, id_)

        await self._database.write(work)

    async def add_to(self, actor: Actor, scope: str, id_: str, experiments: Sequence[str]) -> EvaluationDataset:
        """Let experiments have the dataset, too; those that do stay."""

        def work(unit: Unit) -> EvaluationDataset:
            held = _present(unit.conn, scope, id_, lock=True)
            store.add_to(unit, held.pk, [self._experiments.named(unit, scope, one).pk for one in experiments])
            return self._moved(unit, actor, scope, held)

        return await self._database.write(work)

    async def remove_from(self, actor: Actor, scope: str, id_: str, experiments: Sequence[str]) -> EvaluationDataset:
        """Take the dataset from experiments that have it."""

        def work(unit: Unit) -> EvaluationDataset:
            held = _present(unit.conn, scope, id_, lock=True)
            store.remove_from(unit, scope, held.pk, experiments)
            return self._moved(unit, actor, scope, held)

        return await self._database.write(work)

    # ---- records
    async def upsert(self, actor: Actor, scope: str, id_: str, given: Sequence[NewRecord]) -> tuple[int, int]:
        """Add records and merge those whose inputs are there already; how many were added, and how many merged."""
        hashed = [(hashlib.sha256(_text(one.inputs).encode()).hexdigest(), one) for one in given]

        def work(unit: Unit) -> tuple[int, int]:
            held = _present(unit.conn, scope, id_, lock=True)
            there = store.by_inputs(unit.conn, held.pk, list(dict.fromkeys(hash_ for hash_, _ in hashed)))
            known, touched = dict(there), dict[str, None]()
            for hash_, one in hashed:
                known[hash_] = (
                    _merged(known[hash_], one, actor, unit.now)
                    if hash_ in known
                    else self._new(hash_, one, actor, unit.now)
                )
                touched[hash_] = None
            store.put(unit, held.pk, [known[hash_] for hash_ in touched])
            added = len(known) - len(there)
            self._changed(unit, actor, scope, held, held.records + added, schema=_schema(held.schema, given))
            return added, len(given) - added

        return await self._database.write(work)

    async def records(self, scope: str, id_: str, token: str | None, limit: int) -> tuple[list[Record], str | None]:
        """A page of records in the order they came."""
        after = 0
        if token:
            named = paging.place(token)
            if len(named) != 1 or not isinstance(named[0], int) or not 0 <= named[0] < 2**63:
                raise paging.bad_token(token)
            after = named[0]

        def work(conn: sa.Connection) -> list[Record]:
            return store.records(conn, _present(conn, scope, id_).pk, after, limit + 1)

        rows = await self._database.read(work)
        return rows[:limit], paging.token([rows[limit - 1].pk]) if len(rows) > limit else None

    async def delete_records(self, actor: Actor, scope: str, id_: str, records: Sequence[str]) -> int:
        """How many of them there were."""

        def work(unit: Unit) -> int:
            held = _present(unit.conn, scope, id_, lock=True)
            gone = store.delete_records(unit, held.pk, list(dict.fromkeys(records)))
            if gone:
                self._changed(unit, actor, scope, held, held.records - gone)
            return gone

        return await self._database.write(work)

    def _new(self, hash_: str, one: NewRecord, actor: Actor, now: int) -> Record:
        user = one.tags.get(USER) or actor.name
        return Record(
            id=f"dr-{self._database.runtime.hex_id()}",
            input_hash=hash_,
            inputs=_text(one.inputs),
            outputs=_text({} if one.outputs is msgspec.UNSET else one.outputs),
            expectations=None if one.expectations is None else _text(one.expectations),
            tags=_text(one.tags),
            source_type=one.source[0] if one.source else None,
            source_data=_text(one.source[1]) if one.source else None,
            created_by=user,
            modified_by=user,
            created_at=now,
            modified_at=now,
        )

    def _changed(
        self, unit: Unit, actor: Actor, scope: str, held: EvaluationDataset, records: int, **values: Any
    ) -> None:
        digest = _digest(held.name, unit.now)
        store.update(unit, held.pk, records=records, digest=digest, modified_by=actor.name, **values)
        _record(unit, actor, "write", scope, held.id)

    @staticmethod
    def _moved(unit: Unit, actor: Actor, scope: str, held: EvaluationDataset) -> EvaluationDataset:
        store.update(unit, held.pk, modified_by=actor.name)
        _record(unit, actor, "write", scope, held.id)
        return _present(unit.conn, scope, held.id)


def _merged(held: Record, new: NewRecord, actor: Actor, now: int) -> Record:
    """Outputs are replaced, expectations and tags added to."""
    changed: dict[str, Any] = {"modified_at": now, "modified_by": new.tags.get(USER) or actor.name}
    if new.outputs is not msgspec.UNSET:
        changed["outputs"] = _text(new.outputs)
    if new.expectations:
        changed["expectations"] = _text({**json.loads(held.expectations or "{}"), **new.expectations})
    if new.tags:
        changed["tags"] = _text({**json.loads(held.tags), **new.tags})
    return msgspec.structs.replace(held, **changed)


def _schema(held: str | None, given: Sequence[NewRecord]) -> str | None:
    """The fields of all records that ever were, each of the type it had first."""
    if held is None and not given:
        return None
    known: dict[str, Any] = json.loads(held) if held else {**{part: {} for part in _PARTS}, "version": "1.0"}
    for one in given:
        for part, value in (("inputs", one.inputs), ("outputs", one.outputs), ("expectations", one.expectations)):
            if isinstance(value, dict) and isinstance(known[part], dict):
                known[part] = {**{field: _type(what) for field, what in value.items()}, **known[part]}
            elif value is not msgspec.UNSET and value is not None and not known[part]:
                known[part] = _type(value)
    return _text(known)


def _type(value: object) -> str:
    return next((name for type_, name in _TYPES if isinstance(value, type_)), "unknown")


def _value(one: EvaluationDataset, entity: str, key: str) -> Any:
    if entity == "tag":
        return one.tags.get(key)
    return {
        "name": one.name,
        "created_time": one.created_at,
        "last_update_time": one.modified_at,
        "created_by": one.created_by,
        "last_updated_by": one.modified_by,
    }[key]


def _text(document: object) -> str:
    return json.dumps(document, sort_keys=True)


def _digest(name: str, now: int) -> str:
    """Another one with every change."""
    return hashlib.sha256(f"{name}:{now}".encode()).hexdigest()[:8]


def _check_tags(tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        if not 0 < len(key) <= MOST_IN_KEY:
            raise refused("tags", f"A tag's key has 1 to {MOST_IN_KEY} characters; '{key[:50]}' has {len(key)}.")
        if len(value) > MOST_IN_VALUE:
            raise refused(
                "tags", f"A tag's value has at most {MOST_IN_VALUE} characters; that of '{key}' has {len(value)}."
            )


def _present(conn: sa.Connection, scope: str, id_: str, *, lock: bool = False) -> EvaluationDataset:
    found = store.get(conn, scope, id_, lock=lock)
    if found is None:
        raise NotFound(f"Evaluation dataset with id '{id_}' not found", target="dataset_id")
    return found


def _record(unit: Unit, actor: Actor, verb: str, scope: str, which: str) -> None:
    unit.audit(actor, f"workspaces/experiments/evaluationdatasets/{verb}", f"{scope}/evaluationdatasets/{which}")
