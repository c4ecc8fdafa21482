"""The tables of traces: what a call of an application did, step by step, and what is thought of it."""

from __future__ import annotations

import sqlalchemy as sa

from zaffre.store.schema import Key, Time, metadata, pk

traces = sa.Table(
    "traces",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("experiment", Key, sa.ForeignKey("experiments.pk"), nullable=False),
    sa.Column("client_request_id", sa.Text),
    sa.Column("state", sa.Text, nullable=False),  # MLflow's words: OK, ERROR, IN_PROGRESS, STATE_UNSPECIFIED
    sa.Column("requested_at", Time, nullable=False),
    sa.Column("duration", sa.BigInteger),  # milliseconds
    sa.Column("request_preview", sa.Text),
    sa.Column("response_preview", sa.Text),
    sa.Column(
        "finalized", sa.Boolean, nullable=False, default=False
    ),  # its maker has said all of it; spans change no more
    # what it used of a model, where that is known
    sa.Column("input_tokens", sa.Double),
    sa.Column("output_tokens", sa.Double),
    sa.Column("total_tokens", sa.Double),
    sa.Column("cache_read_input_tokens", sa.Double),
    sa.Column("cache_creation_input_tokens", sa.Double),
    sa.UniqueConstraint("scope", "id"),
    sa.Index("ix_traces_requested", "experiment", "requested_at", "pk"),
)

trace_labels = sa.Table(
    "trace_labels",
    metadata,
    sa.Column("trace", Key, sa.ForeignKey("traces.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),  # "tag", "metadata" or "prompt", whose key is name/version
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# Traces that belong to a run beside the one that made them; said by id, since a trace may arrive after it.
trace_runs = sa.Table(
    "trace_runs",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("trace", sa.Text, primary_key=True),
)

# What spans are counted by, many to a page of the database; all that is large of them stands in `span_contents`.
spans = sa.Table(
    "spans",
    metadata,
    sa.Column("trace", Key, sa.ForeignKey("traces.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("parent", sa.Text),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),  # OpenTelemetry's: UNSET, OK, ERROR
    sa.Column("started_ns", sa.BigInteger, nullable=False),
    sa.Column("ended_ns", sa.BigInteger),
    sa.Column("model", sa.Text),
    sa.Column("provider", sa.Text),
    # US dollars, as its maker reckoned
    sa.Column("input_cost", sa.Double),
    sa.Column("output_cost", sa.Double),
    sa.Column("total_cost", sa.Double),
)

span_contents = sa.Table(
    "span_contents",
    metadata,
    sa.Column("trace", Key, sa.ForeignKey("traces.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("message", sa.LargeBinary, nullable=False),  # OpenTelemetry's own, as it came
    sa.Column("text", sa.Text, nullable=False),  # what is searched: name, attributes, events as JSON
)

assessments = sa.Table(
    "assessments",
    metadata,
    pk(),
    sa.Column("trace", Key, sa.ForeignKey("traces.pk", ondelete="CASCADE"), nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # "feedback", "expectation" or "issue"
    sa.Column("value", sa.Text),  # as searches compare it
    sa.Column("json", sa.Text),  # the same as JSON, which knows a text from a number
    sa.Column("number", sa.Double),  # the same as a number, where it is one: yes and no are 1 and 0
    sa.Column("valid", sa.Boolean, nullable=False, default=True),
    sa.Column("body", sa.Text, nullable=False),  # MLflow's message
    sa.Column("created_at", Time, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.UniqueConstraint("trace", "id"),
    # The traces that an issue was found in: few assessments are of that kind.
    sa.Index(
        "ix_assessments_issue",
        "name",
        "trace",
        sqlite_where=sa.text("kind = 'issue'"),
        postgresql_where=sa.text("kind = 'issue'"),
    ),
)
