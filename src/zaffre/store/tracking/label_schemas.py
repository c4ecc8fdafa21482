"""Label schemas: what reviewers are asked about an experiment's traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.tracking.sql import chunks, insert_or_ignore, newest_first
from zaffre.store.unit import Unit

_t, _e = tables.label_schemas, tables.experiments


class PassFail(msgspec.Struct, frozen=True, tag_field="kind", tag="pass_fail"):
    positive_label: str = ""
    negative_label: str = ""


class Categorical(msgspec.Struct, frozen=True, tag_field="kind", tag="categorical"):
    options: list[str] = []
    multi_select: bool = False


class Numeric(msgspec.Struct, frozen=True, tag_field="kind", tag="numeric"):
    min_value: float | None = None
    max_value: float | None = None


class Text(msgspec.Struct, frozen=True, tag_field="kind", tag="text"):
    max_length: int | None = None


Input = PassFail | Categorical | Numeric | Text
"""How a question is answered."""


class LabelSchema(msgspec.Struct, frozen=True, kw_only=True):
    """`experiment_id` is what clients call the experiment. `type` is FEEDBACK or EXPECTATION."""

    pk: int
    id: str
    experiment: int
    experiment_id: str
    name: str
    type: str
    instruction: str | None
    enable_comment: bool
    input: Input
    is_default: bool
    created_by: str
    created_at: int
    modified_at: int


_COLUMNS = [
    _e.c.id.label("experiment_id") if name == "experiment_id" else _t.c[name] for name in LabelSchema.__struct_fields__
]
_SELECT = sa.select(*_COLUMNS).join(_e, _e.c.pk == _t.c.experiment)
_decoder: msgspec.json.Decoder[Input] = msgspec.json.Decoder(Input)


def insert(unit: Unit, scope: str, id_: str, experiment: int, *, input_: Input, **values: Any) -> bool:
    """Add a label schema; False when its experiment has one of that name."""
    times = {"created_at": unit.now, "modified_at": unit.now}
    row = {"scope": scope, "id": id_, "experiment": experiment, "input": _encode(input_), **values, **times}
    return insert_or_ignore(unit.conn, _t, row)


def get(conn: sa.Connection, scope: str, id_: str, *, lock: bool = False) -> LabelSchema | None:
    """With `lock` no other transaction changes it before this one ends."""
    query = _SELECT.where(_t.c.scope == scope, _t.c.id == id_)
    return _one(conn, query.with_for_update(of=_t) if lock else query)


def by_name(conn: sa.Connection, experiment: int, name: str) -> LabelSchema | None:
    return _one(conn, _SELECT.where(_t.c.experiment == experiment, _t.c.name == name))


def listing(conn: sa.Connection, experiment: int, after: tuple[int, str] | None, limit: int) -> list[LabelSchema]:
    """Those of an experiment, the newest first, behind the place `after`."""
    query = newest_first(_SELECT.where(_t.c.experiment == experiment), _t.c.created_at, _t.c.id, after, limit)
    return [_schema(row) for row in conn.execute(query).mappings()]


def has_default(conn: sa.Connection, experiment: int) -> bool:
    query = sa.select(_t.c.pk).where(_t.c.experiment == experiment, _t.c.is_default.is_(True)).limit(1)
    return conn.execute(query).first() is not None


def keys(conn: sa.Connection, experiment: int, ids: Sequence[str]) -> dict[str, int]:
    """The keys of those label schemas of the experiment that are there, by id."""
    found: dict[str, int] = {}
    for piece in chunks(ids):
        query = sa.select(_t.c.id, _t.c.pk).where(_t.c.experiment == experiment, _t.c.id.in_(piece))
        found |= {row.id: row.pk for row in conn.execute(query)}
    return found


def update(unit: Unit, pk: int, *, input_: Input | None = None, **values: Any) -> None:
    if input_ is not None:
        values["input"] = _encode(input_)
    unit.conn.execute(sa.update(_t).where(_t.c.pk == pk).values(**values, modified_at=unit.now))


def delete(unit: Unit, pk: int) -> None:
    """It goes from the queues that ask it, too."""
    unit.conn.execute(sa.delete(_t).where(_t.c.pk == pk))


def _encode(input_: Input) -> str:
    return msgspec.json.encode(input_).decode()


def _one(conn: sa.Connection, query: sa.Select[Any]) -> LabelSchema | None:
    row = conn.execute(query).mappings().one_or_none()
    return None if row is None else _schema(row)


def _schema(row: sa.RowMapping) -> LabelSchema:
    return LabelSchema(**{**row, "input": _decoder.decode(row["input"])})
