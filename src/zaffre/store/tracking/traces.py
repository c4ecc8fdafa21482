"""Traces: one row a trace, its tags and metadata beside it, its spans as OpenTelemetry's own messages, and assessments."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.store import tables
from zaffre.store.inserts import insert as insert_into
from zaffre.store.raw import insert_rows, run_raw
from zaffre.store.tracking.sql import chunks
from zaffre.store.unit import Unit, decode, encode

TAG, METADATA, PROMPT = "tag", "metadata", "prompt"
TOKENS = ("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
SIZE_STATS = "mlflow.trace.sizeStats"
COSTS = ("input_cost", "output_cost", "total_cost")

_t = tables.traces
_labels = tables.trace_labels
_spans = tables.spans
_contents = tables.span_contents
_assessments = tables.assessments
_e = tables.experiments
_runs = tables.trace_runs
_LINK = 'INSERT INTO "trace_runs" ("scope", "run", "trace") VALUES ON CONFLICT DO NOTHING'
_SET_LABEL = """INSERT INTO "trace_labels" ("trace", "kind", "key", "value") VALUES
ON CONFLICT ("trace", "kind", "key") DO UPDATE SET "value" = excluded."value" """
_LABEL_TYPES = ("bigint", "text", "text", "text")


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """`body` is MLflow's message; `value` is what searches compare, `json` and `number` what is counted by."""

    id: str
    name: str
    kind: str
    value: str | None
    json: str | None = None
    number: float | None = None
    valid: bool
    body: dict[str, Any]
    created_at: int
    modified_at: int


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Without its spans. Times in milliseconds."""

    pk: int
    id: str
    experiment_id: str
    experiment: int
    client_request_id: str | None
    state: str
    requested_at: int
    duration: int | None
    request_preview: str | None
    response_preview: str | None
    finalized: bool
    tags: dict[str, str] = {}
    metadata: dict[str, str] = {}
    assessments: list[Assessment] = []

    def is_complete(self, spans: int) -> bool:
        """Whether so many spans are all that its maker says there are, if it says so."""
        try:
            told = msgspec.json.decode(self.metadata.get(SIZE_STATS, "{}"))
        except (msgspec.DecodeError, RecursionError):
            return True
        expected = told.get("num_spans") if isinstance(told, dict) else None
        return not isinstance(expected, int) or spans >= expected


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """`message` is OpenTelemetry's own; the rest is what is searched and counted by. Costs in US dollars."""

    id: str
    parent: str | None
    name: str
    type: str
    status: str
    started_ns: int
    ended_ns: int | None
    model: str | None = None
    provider: str | None = None
    input_cost: float | None = None
    output_cost: float | None = None
    total_cost: float | None = None
    message: bytes
    text: str


_CONTENTS = ("message", "text")
_COUNTED = tuple(name for name in Span.__struct_fields__ if name not in ("id", *_CONTENTS))
_FIELDS = tuple(name for name in Trace.__struct_fields__ if name not in ("tags", "metadata", "assessments"))
COLUMNS = tuple(_e.c.id.label("experiment_id") if name == "experiment_id" else _t.c[name] for name in _FIELDS)
_SELECT = sa.select(*COLUMNS).join(_e, _e.c.pk == _t.c.experiment)


def _putting(table: str, names: tuple[str, ...]) -> tuple[str, Callable[[Span], tuple[Any, ...]]]:
    """The statement for a row of a span, and its values but for trace and id."""
    columns = ", ".join(f'"{name}"' for name in ("trace", "id", *names))
    changed = ", ".join(f'"{name}" = excluded."{name}"' for name in names)
    marks = ", ".join("?" * (len(names) + 2))
    text = f'INSERT INTO "{table}" ({columns}) VALUES ({marks}) ON CONFLICT ("trace", "id") DO UPDATE SET {changed}'
    return text, operator.attrgetter(*names)


_PUT_SPANS = (_putting("spans", _COUNTED), _putting("span_contents", _CONTENTS))


def find(conn: sa.Connection, scope: str, id_: str, *, lock: bool = False) -> Trace | None:
    """The trace without its labels and assessments. With `lock` no other transaction changes it before this one ends."""
    query = _SELECT.where(_t.c.scope == scope, _t.c.id == id_)
    row = conn.execute(query.with_for_update(of=_t) if lock else query).mappings().one_or_none()
    return None if row is None else Trace(**row)


def get(conn: sa.Connection, scope: str, ids: Sequence[str]) -> list[Trace]:
    """Whole traces, in the order asked for; those that are not there are left out."""
    found: dict[str, Trace] = {}
    for piece in chunks(ids):
        rows = conn.execute(_SELECT.where(_t.c.scope == scope, _t.c.id.in_(piece))).mappings()
        found |= {row["id"]: Trace(**row) for row in rows}
    return whole(conn, [found[id_] for id_ in dict.fromkeys(ids) if id_ in found])


def whole(conn: sa.Connection, traces: Sequence[Trace]) -> list[Trace]:
    """The same with tags, metadata and assessments."""
    labels: dict[int, dict[str, dict[str, str]]] = {one.pk: {TAG: {}, METADATA: {}} for one in traces}
    assessed: dict[int, list[Assessment]] = {one.pk: [] for one in traces}
    for piece in chunks(labels):
        for row in conn.execute(sa.select(_labels).where(_labels.c.trace.in_(piece), _labels.c.kind != PROMPT)):
            labels[row.trace][row.kind][row.key] = row.value
        query = sa.select(_assessments).where(_assessments.c.trace.in_(piece))
        for row in conn.execute(query.order_by(_assessments.c.created_at, _assessments.c.pk)):
            assessed[row.trace].append(_assessment(row))
    return [
        msgspec.structs.replace(
            one, tags=labels[one.pk][TAG], metadata=labels[one.pk][METADATA], assessments=assessed[one.pk]
        )
        for one in traces
    ]


def put(unit: Unit, scope: str, id_: str, experiment: int, **values: Any) -> int:
    """Make the trace, or change the one that is there; its key."""
    row = {"scope": scope, "id": id_, "experiment": experiment, **values}
    statement = insert_into(unit.conn, _t).values(row)
    statement = statement.on_conflict_do_update(index_elements=["scope", "id"], set_=values).returning(_t.c.pk)
    pk: int = unit.conn.execute(statement).scalar_one()
    return pk


def set_labels(unit: Unit, pk: int, kind: str, labels: Mapping[str, str]) -> None:
    if labels:
        insert_rows(unit.conn, _SET_LABEL, _LABEL_TYPES, [(pk, kind, key, value) for key, value in labels.items()])


def delete_label(unit: Unit, pk: int, kind: str, key: str) -> bool:
    where = (_labels.c.trace == pk, _labels.c.kind == kind, _labels.c.key == key)
    return unit.conn.execute(sa.delete(_labels).where(*where)).rowcount == 1


def link(unit: Unit, scope: str, ids: Sequence[str], run: str) -> None:
    """Say that traces belong to a run, those as well that have not arrived yet."""
    rows = [(scope, run, id_) for id_ in ids]
    if rows:
        insert_rows(unit.conn, _LINK, ("text", "text", "text"), rows)


def delete(unit: Unit, scope: str, pks: Iterable[int]) -> int:
    """Traces with all that is theirs; how many."""
    gone = 0
    for piece in chunks(pks):
        ids = sa.select(_t.c.id).where(_t.c.pk.in_(piece))
        unit.conn.execute(sa.delete(_runs).where(_runs.c.scope == scope, _runs.c.trace.in_(ids)))
        gone += unit.conn.execute(sa.delete(_t).where(_t.c.pk.in_(piece))).rowcount
    return gone


def older(conn: sa.Connection, experiment: int, until: int, most: int | None) -> list[int]:
    """Traces of an experiment that were begun no later than that, the oldest first."""
    query = sa.select(_t.c.pk).where(_t.c.experiment == experiment, _t.c.requested_at <= until)
    return list(conn.execute(query.order_by(_t.c.requested_at, _t.c.pk).limit(most)).scalars())


def keys(conn: sa.Connection, scope: str, experiment: int, ids: Sequence[str]) -> dict[str, int]:
    """The keys of those traces of the experiment that are there, by id."""
    found: dict[str, int] = {}
    for piece in chunks(ids):
        query = sa.select(_t.c.id, _t.c.pk).where(_t.c.scope == scope, _t.c.id.in_(piece))
        found |= {row.id: row.pk for row in conn.execute(query.where(_t.c.experiment == experiment))}
    return found


# ---- spans
def put_spans(unit: Unit, pk: int, spans: Sequence[Span]) -> None:
    """Add spans; one that is sent again, perhaps when it has ended, takes its own place."""
    for statement, values in _PUT_SPANS:
        run_raw(unit.conn, statement, [(pk, span.id, *values(span)) for span in spans])


def spans(conn: sa.Connection, pks: Sequence[int]) -> dict[int, list[bytes]]:
    """The spans of traces as they came, in the order they began."""
    found: dict[int, list[bytes]] = {pk: [] for pk in pks}
    for piece in chunks(pks):
        query = sa.select(_spans.c.trace, _contents.c.message).where(_spans.c.trace.in_(piece))
        same = sa.and_(_contents.c.trace == _spans.c.trace, _contents.c.id == _spans.c.id)
        for trace, message in conn.execute(query.join(_contents, same).order_by(_spans.c.started_ns, _spans.c.id)):
            found[trace].append(message)
    return found


# ---- assessments
def put_assessment(unit: Unit, pk: int, one: Assessment) -> None:
    values = {**msgspec.structs.asdict(one), "body": encode(one.body)}
    changed = {name: value for name, value in values.items() if name not in ("id", "created_at")}
    statement = insert_into(unit.conn, _assessments).values(trace=pk, **values)
    unit.conn.execute(statement.on_conflict_do_update(index_elements=["trace", "id"], set_=changed))


def assessment(conn: sa.Connection, pk: int, id_: str) -> Assessment | None:
    row = conn.execute(
        sa.select(_assessments).where(_assessments.c.trace == pk, _assessments.c.id == id_)
    ).one_or_none()
    return None if row is None else _assessment(row)


def delete_assessment(unit: Unit, pk: int, id_: str) -> None:
    unit.conn.execute(sa.delete(_assessments).where(_assessments.c.trace == pk, _assessments.c.id == id_))


def _assessment(row: sa.Row[Any]) -> Assessment:
    values = {name: row._mapping[name] for name in Assessment.__struct_fields__}
    return Assessment(**{**values, "body": decode(values["body"])})
