"""The tables of reviews: what reviewers are asked about traces (label schemas), and what waits for whom (queues)."""

from __future__ import annotations

import sqlalchemy as sa

from zaffre.store.schema import Key, Time, metadata, pk

label_schemas = sa.Table(
    "label_schemas",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("experiment", Key, sa.ForeignKey("experiments.pk", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),  # MLflow's words: FEEDBACK, EXPECTATION
    sa.Column("instruction", sa.Text),
    sa.Column("enable_comment", sa.Boolean, nullable=False, default=False),
    sa.Column("input", sa.Text, nullable=False),  # how it is answered: a document with its kind in it
    sa.Column("is_default", sa.Boolean, nullable=False, default=False),  # the one every experiment has
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.UniqueConstraint("scope", "id"),
    sa.UniqueConstraint("experiment", "name"),
)

review_queues = sa.Table(
    "review_queues",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("experiment", Key, sa.ForeignKey("experiments.pk", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_key", sa.Text, nullable=False),  # in lower case: names that differ in case only are one
    sa.Column("type", sa.Text, nullable=False),  # MLflow's words: USER, CUSTOM
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.UniqueConstraint("scope", "id"),
    sa.UniqueConstraint("experiment", "name_key"),
)

review_queue_users = sa.Table(
    "review_queue_users",
    metadata,
    sa.Column("queue", Key, sa.ForeignKey("review_queues.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("user", sa.Text, primary_key=True),
)

review_queue_schemas = sa.Table(
    "review_queue_schemas",
    metadata,
    sa.Column("queue", Key, sa.ForeignKey("review_queues.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("label_schema", Key, sa.ForeignKey("label_schemas.pk", ondelete="CASCADE"), primary_key=True),
    sa.Index("ix_review_queue_schemas_label_schema", "label_schema"),
)

review_queue_items = sa.Table(
    "review_queue_items",
    metadata,
    sa.Column("queue", Key, sa.ForeignKey("review_queues.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("trace", Key, sa.ForeignKey("traces.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("status", sa.Text, nullable=False),  # MLflow's words: PENDING, COMPLETE, DECLINED
    sa.Column("completed_by", sa.Text),
    sa.Column("completed_at", Time),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.Index("ix_review_queue_items_created", "queue", "created_at"),
    sa.Index("ix_review_queue_items_trace", "trace"),
)
