"""The tables of evaluation datasets: examples with what is expected of them, kept to measure prompts, agents and models by."""

from __future__ import annotations

import sqlalchemy as sa

from zaffre.store.schema import Key, Time, metadata, pk

evaluation_datasets = sa.Table(
    "evaluation_datasets",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("schema", sa.Text),  # the fields of the records and their types, a document; None before the first record
    sa.Column("records", sa.BigInteger, nullable=False, default=0),  # how many it holds
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("modified_by", sa.Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.UniqueConstraint("scope", "id"),
)

evaluation_dataset_tags = sa.Table(
    "evaluation_dataset_tags",
    metadata,
    sa.Column("dataset", Key, sa.ForeignKey("evaluation_datasets.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

evaluation_dataset_experiments = sa.Table(
    "evaluation_dataset_experiments",
    metadata,
    sa.Column("dataset", Key, sa.ForeignKey("evaluation_datasets.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("experiment", Key, sa.ForeignKey("experiments.pk", ondelete="CASCADE"), primary_key=True),
    sa.Index("ix_evaluation_dataset_experiments_experiment", "experiment"),
)

evaluation_records = sa.Table(
    "evaluation_records",
    metadata,
    pk(),
    sa.Column("dataset", Key, sa.ForeignKey("evaluation_datasets.pk", ondelete="CASCADE"), nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("input_hash", sa.Text, nullable=False),  # SHA-256 of the inputs: the same inputs are one record
    sa.Column("inputs", sa.Text, nullable=False),  # documents, here and below
    sa.Column("outputs", sa.Text),
    sa.Column("expectations", sa.Text),
    sa.Column("tags", sa.Text, nullable=False),
    sa.Column("source_type", sa.Text),  # MLflow's words: TRACE, HUMAN, DOCUMENT, CODE
    sa.Column("source_data", sa.Text),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("modified_by", sa.Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.UniqueConstraint("dataset", "input_hash"),
    sa.UniqueConstraint("dataset", "id"),
    sa.Index("ix_evaluation_records_page", "dataset", "pk"),
)
