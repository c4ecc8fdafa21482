"""The tables of quality: what traces are judged by (scorers), and what was found wrong with them (issues)."""

from __future__ import annotations

import sqlalchemy as sa

from zaffre.store.schema import Key, Time, metadata, pk

scorers = sa.Table(
    "scorers",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("experiment", Key, sa.ForeignKey("experiments.pk", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.UniqueConstraint("scope", "id"),
    sa.UniqueConstraint("experiment", "name"),
)

scorer_versions = sa.Table(
    "scorer_versions",
    metadata,
    sa.Column("scorer", Key, sa.ForeignKey("scorers.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("serialized", sa.Text, nullable=False),  # MLflow's document, as it came
    sa.Column("created_at", Time, nullable=False),
)

online_scoring_configs = sa.Table(
    "online_scoring_configs",
    metadata,
    sa.Column("scorer", Key, sa.ForeignKey("scorers.pk", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    sa.Column("id", sa.Text, nullable=False),  # a new one whenever it is set
    sa.Column("sample_rate", sa.Double, nullable=False),  # of the traces, between 0 and 1
    sa.Column("filter", sa.Text),  # which traces, in the language of searches
)

issues = sa.Table(
    "issues",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("experiment", Key, sa.ForeignKey("experiments.pk", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),  # MLflow's words: pending, rejected, resolved
    sa.Column("severity", sa.Text),  # MLflow's words: not_an_issue, low, medium, high
    sa.Column("root_causes", sa.Text, nullable=False),  # a list of texts
    sa.Column("categories", sa.Text, nullable=False),  # a list of texts
    sa.Column("source_run", Key, sa.ForeignKey("runs.pk", ondelete="SET NULL")),  # that found it
    sa.Column("created_by", sa.Text),  # as whoever made it says
    sa.Column("created_at", Time, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.UniqueConstraint("scope", "id"),
    sa.Index("ix_issues_experiment", "experiment"),
    sa.Index("ix_issues_source_run", "source_run"),
)
