"""Evaluation datasets and their records. Documents are JSON texts as Python writes them, NaN and infinity among their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.inserts import insert as insert_into
from zaffre.store.tracking.sql import chunks
from zaffre.store.unit import Unit

_t, _tags, _in, _r = (
    tables.evaluation_datasets,
    tables.evaluation_dataset_tags,
    tables.evaluation_dataset_experiments,
    tables.evaluation_records,
)
_e = tables.experiments


class EvaluationDataset(msgspec.Struct, frozen=True, kw_only=True):
    """`schema` is a JSON text, `records` how many it holds, `experiment_ids` what clients call its experiments."""

    pk: int
    id: str
    name: str
    schema: str | None
    records: int
    digest: str
    created_by: str
    modified_by: str
    created_at: int
    modified_at: int
    tags: dict[str, str] = {}
    experiment_ids: tuple[str, ...] = ()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One example; `pk` is 0 until it is kept. What is a document is its JSON text."""

    pk: int = 0
    id: str
    input_hash: str
    inputs: str
    outputs: str | None
    expectations: str | None
    tags: str
    source_type: str | None
    source_data: str | None
    created_by: str
    modified_by: str
    created_at: int
    modified_at: int


_COLUMNS = [_t.c[name] for name in EvaluationDataset.__struct_fields__ if name not in ("tags", "experiment_ids")]
_FIELDS = tuple(name for name in Record.__struct_fields__ if name != "pk")
_RECORD = [_r.c[name] for name in Record.__struct_fields__]
_CHANGED = ("outputs", "expectations", "tags", "modified_by", "modified_at")


def insert(unit: Unit, scope: str, id_: str, name: str, digest: str, user: str) -> int:
    """Add a dataset; its key."""
    row = {"scope": scope, "id": id_, "name": name, "digest": digest, "created_by": user, "modified_by": user}
    times = {"created_at": unit.now, "modified_at": unit.now}
    made = unit.conn.execute(sa.insert(_t).values(**row, **times).returning(_t.c.pk))
    return int(made.scalar_one())


def get(conn: sa.Connection, scope: str, id_: str, *, lock: bool = False) -> EvaluationDataset | None:
    """With `lock` no other transaction changes it before this one ends."""
    query = sa.select(*_COLUMNS).where(_t.c.scope == scope, _t.c.id == id_)
    found = _whole(conn, conn.execute(query.with_for_update() if lock else query).mappings().all())
    return found[0] if found else None


def listing(conn: sa.Connection, scope: str, experiments: Sequence[str] = ()) -> list[EvaluationDataset]:
    """Those of a workspace, the newest first; with `experiments` those of any of these."""
    query = sa.select(*_COLUMNS).where(_t.c.scope == scope).order_by(_t.c.pk.desc())
    if experiments:
        of = sa.select(_in.c.dataset).join(_e, _e.c.pk == _in.c.experiment)
        query = query.where(_t.c.pk.in_(of.where(_e.c.scope == scope, _e.c.id.in_(experiments))))
    return _whole(conn, conn.execute(query).mappings().all())


def update(unit: Unit, pk: int, **values: Any) -> None:
    unit.conn.execute(sa.update(_t).where(_t.c.pk == pk).values(**values, modified_at=unit.now))


def delete(unit: Unit, pk: int) -> None:
    """Its records, tags and places in experiments go with it."""
    unit.conn.execute(sa.delete(_t).where(_t.c.pk == pk))


def set_tags(unit: Unit, pk: int, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        statement = insert_into(unit.conn, _tags).values(dataset=pk, key=key, value=value)
        unit.conn.execute(statement.on_conflict_do_update(index_elements=["dataset", "key"], set_={"value": value}))


def delete_tag(unit: Unit, pk: int, key: str) -> None:
    unit.conn.execute(sa.delete(_tags).where(_tags.c.dataset == pk, _tags.c.key == key))


def add_to(unit: Unit, pk: int, experiments: Sequence[int]) -> None:
    for one in experiments:
        statement = insert_into(unit.conn, _in).values(dataset=pk, experiment=one)
        unit.conn.execute(statement.on_conflict_do_nothing())


def remove_from(unit: Unit, scope: str, pk: int, experiments: Sequence[str]) -> None:
    for piece in chunks(experiments):
        those = sa.select(_e.c.pk).where(_e.c.scope == scope, _e.c.id.in_(piece))
        unit.conn.execute(sa.delete(_in).where(_in.c.dataset == pk, _in.c.experiment.in_(those)))


# ---- records
def by_inputs(conn: sa.Connection, pk: int, hashes: Sequence[str]) -> dict[str, Record]:
    """The records that are there already, by the hash of their inputs."""
    found: dict[str, Record] = {}
    for piece in chunks(hashes):
        query = sa.select(*_RECORD).where(_r.c.dataset == pk, _r.c.input_hash.in_(piece))
        found |= {row["input_hash"]: Record(**row) for row in conn.execute(query).mappings()}
    return found


def put(unit: Unit, pk: int, records: Sequence[Record]) -> None:
    """Keep new records, and what changed of those there are."""
    new = [{"dataset": pk, **{name: getattr(one, name) for name in _FIELDS}} for one in records if not one.pk]
    if new:
        unit.conn.execute(sa.insert(_r), new)
    changed = [
        {"which": one.pk, **{f"new_{name}": getattr(one, name) for name in _CHANGED}} for one in records if one.pk
    ]
    if changed:
        given: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in _CHANGED}
        unit.conn.execute(sa.update(_r).where(_r.c.pk == sa.bindparam("which")).values(given), changed)


def records(conn: sa.Connection, pk: int, after: int, limit: int) -> list[Record]:
    """Records in the order they came, from behind the one of the key `after`."""
    query = sa.select(*_RECORD).where(_r.c.dataset == pk, _r.c.pk > after).order_by(_r.c.pk).limit(limit)
    return [Record(**row) for row in conn.execute(query).mappings()]


def delete_records(unit: Unit, pk: int, ids: Sequence[str]) -> int:
    """How many of them there were."""
    return sum(
        unit.conn.execute(sa.delete(_r).where(_r.c.dataset == pk, _r.c.id.in_(piece))).rowcount for piece in chunks(ids)
    )


def _whole(conn: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[EvaluationDataset]:
    tags: dict[int, dict[str, str]] = {}
    ids: dict[int, list[str]] = {}
    for piece in chunks(row["pk"] for row in rows):
        for pk, key, value in conn.execute(sa.select(_tags).where(_tags.c.dataset.in_(piece))):
            tags.setdefault(pk, {})[key] = value
        query = sa.select(_in.c.dataset, _e.c.id).join(_e, _e.c.pk == _in.c.experiment).where(_in.c.dataset.in_(piece))
        for pk, id_ in conn.execute(query.order_by(_in.c.experiment)):
            ids.setdefault(pk, []).append(id_)
    return [
        EvaluationDataset(**row, tags=tags.get(row["pk"], {}), experiment_ids=tuple(ids.get(row["pk"], ())))
        for row in rows
    ]
