"""Traces, spans and assessments are counted by columns, and what spans say is searched as a text"""

import base64
import json
import math

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None

_BATCH = 500
_TOKENS = ("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_COSTS = ("input_cost", "output_cost", "total_cost")
_traces = sa.table("traces", sa.column("pk"), *map(sa.column, _TOKENS))
_labels = sa.table("trace_labels", *map(sa.column, ("trace", "kind", "key", "value")))
_spans = sa.table("spans", *map(sa.column, ("trace", "id", "content", "model", "provider", *_COSTS)))
_contents = sa.table("span_contents", *map(sa.column, ("trace", "id", "message", "text")))
_assessments = sa.table("assessments", *map(sa.column, ("pk", "kind", "body", "value", "json", "number")))


def upgrade() -> None:
    op.create_table(
        "span_contents",
        sa.Column("trace", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["trace"], ["traces.pk"], name=op.f("fk_span_contents_trace"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("trace", "id", name=op.f("pk_span_contents")),
    )
    op.add_column("assessments", sa.Column("json", sa.Text(), nullable=True))
    op.add_column("assessments", sa.Column("number", sa.Double(), nullable=True))
    for name in ("model", "provider"):
        op.add_column("spans", sa.Column(name, sa.Text(), nullable=True))
    for name in _COSTS:
        op.add_column("spans", sa.Column(name, sa.Double(), nullable=True))
    for name in _TOKENS:
        op.add_column("traces", sa.Column(name, sa.Double(), nullable=True))
    conn = op.get_bind()
    _fill_traces(conn)
    _fill_spans(conn)
    _fill_assessments(conn)
    op.drop_column("spans", "content")


def _fill_traces(conn: sa.Connection) -> None:
    last = -1
    while True:
        used = sa.select(_labels.c.trace, _labels.c.value).where(
            _labels.c.kind == "metadata", _labels.c.key == "mlflow.trace.tokenUsage", _labels.c.trace > last
        )
        rows = conn.execute(used.order_by(_labels.c.trace).limit(_BATCH)).all()
        if not rows:
            return
        last = rows[-1].trace
        for row in rows:
            told = _loaded(row.value)
            values = {name: _number(told.get(name)) for name in _TOKENS} if isinstance(told, dict) else {}
            if values:
                conn.execute(sa.update(_traces).where(_traces.c.pk == row.trace).values(**values))


def _fill_spans(conn: sa.Connection) -> None:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    key = (_spans.c.trace, _spans.c.id)
    last = (-1, "")
    while True:
        rows = conn.execute(
            sa.select(*key, _spans.c.content).where(sa.tuple_(*key) > sa.tuple_(*last)).order_by(*key).limit(_BATCH)
        ).all()
        if not rows:
            return
        last = (rows[-1].trace, rows[-1].id)
        for row in rows:
            message = Span()
            message.ParseFromString(row.content)
            attributes = _attributes(message.attributes)
            for name in ("mlflow.traceRequestId", "mlflow.experimentId"):
                attributes.pop(name, None)
            events = [{"name": _clean(one.name), "attributes": _attributes(one.attributes)} for one in message.events]
            document = {"name": _clean(message.name), "status": _clean(message.status.message),
                        "attributes": attributes, "events": events}  # fmt: skip
            text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
            conn.execute(sa.insert(_contents).values(trace=row.trace, id=row.id, message=row.content, text=text))
            cost = attributes.get("mlflow.llm.cost")
            values: dict[str, Any] = {name: _number(cost.get(name)) for name in _COSTS} if isinstance(cost, dict) else {}
            for name in ("model", "provider"):
                if attributes.get(f"mlflow.llm.{name}"):
                    values[name] = str(attributes[f"mlflow.llm.{name}"])
            if values:
                conn.execute(
                    sa.update(_spans).where(_spans.c.trace == row.trace, _spans.c.id == row.id).values(**values)
                )


def _fill_assessments(conn: sa.Connection) -> None:
    last = -1
    while True:
        asked = sa.select(_assessments.c.pk, _assessments.c.kind, _assessments.c.body)
        rows = conn.execute(asked.where(_assessments.c.pk > last).order_by(_assessments.c.pk).limit(_BATCH)).all()
        if not rows:
            return
        last = rows[-1].pk
        for row in rows:
            told = json.loads(row.body).get(row.kind) or {}
            value = told.get("value")
            if "serialized_value" in told:
                value = _loaded((told["serialized_value"] or {}).get("value"))
            if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
                value = int(value)
            number = _number(value)
            if isinstance(value, bool) or value in ("yes", "no"):
                number = float(value in (True, "yes"))
            conn.execute(
                sa.update(_assessments)
                .where(_assessments.c.pk == row.pk)
                .values(
                    value=value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False),
                    json=None if value is None else json.dumps(value, ensure_ascii=False),
                    number=number,
                )
            )


def _attributes(given: Any) -> dict[str, Any]:
    return {_clean(one.key): _value(one.value) for one in given}


def _value(value: Any) -> Any:
    """OpenTelemetry's AnyValue, as JSON has it; MLflow's older clients sent JSON in a text."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    found = getattr(value, kind)
    if kind == "bytes_value":
        return base64.b64encode(found).decode()
    if kind == "double_value":
        return found if math.isfinite(found) else str(found)
    if kind != "string_value":
        return found
    text = _clean(found)
    told = _loaded(text) if text[:1] in ("{", "[", '"') else text
    try:
        json.dumps(told, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return text
    return told


def _clean(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _loaded(text: Any) -> Any:
    """What JSON says; the text itself where it is none, or says what no database keeps."""
    try:
        return text if not isinstance(text, str) or "\\u0000" in text else json.loads(text)
    except (ValueError, RecursionError):
        return text


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e200 else None
