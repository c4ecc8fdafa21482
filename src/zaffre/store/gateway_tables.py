"""The tables of MLflow's AI gateway: endpoints, the models behind them, and whose credentials those are asked with.

What a credential holds lies sealed in `secrets`; here is only what may be shown of it.
"""

from __future__ import annotations

import sqlalchemy as sa

from zaffre.store.schema import Key, Time, metadata, pk


def _written() -> tuple[sa.Column[object], ...]:
    """By whom and when a row was made and changed last."""
    return (
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("modified_by", sa.Text, nullable=False),
        sa.Column("modified_at", Time, nullable=False),
    )


gateway_secrets = sa.Table(
    "gateway_secrets",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("provider", sa.Text),
    sa.Column("masked", sa.Text, nullable=False),  # {field: what may be shown of its value}
    sa.Column("auth", sa.Text, nullable=False),  # {field: value}: how the provider is asked; nothing secret
    *_written(),
    sa.UniqueConstraint("scope", "id"),
    sa.UniqueConstraint("scope", "name"),
)

gateway_models = sa.Table(
    "gateway_models",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("secret", Key, sa.ForeignKey("gateway_secrets.pk", ondelete="SET NULL")),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),  # as the provider calls it
    *_written(),
    sa.UniqueConstraint("scope", "id"),
    sa.UniqueConstraint("scope", "name"),
    sa.Index("ix_gateway_models_secret", "secret"),
)

gateway_endpoints = sa.Table(
    "gateway_endpoints",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("routing", sa.Text),  # MLflow's word: REQUEST_BASED_TRAFFIC_SPLIT, or the first primary model
    sa.Column("fallback", sa.Text),  # {"strategy", "max_attempts"}, where models are fallen back to
    sa.Column("experiment", Key, sa.ForeignKey("experiments.pk", ondelete="SET NULL")),  # where traces go
    sa.Column("usage_tracking", sa.Boolean, nullable=False),
    *_written(),
    sa.UniqueConstraint("scope", "id"),
    sa.UniqueConstraint("scope", "name"),
    sa.Index("ix_gateway_endpoints_experiment", "experiment"),
)

gateway_mappings = sa.Table(
    "gateway_mappings",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),  # a workspace that is deleted loses these before its models
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("endpoint", Key, sa.ForeignKey("gateway_endpoints.pk", ondelete="CASCADE"), nullable=False),
    sa.Column("model", Key, sa.ForeignKey("gateway_models.pk"), nullable=False),
    sa.Column("linkage", sa.Text, nullable=False),  # MLflow's words: PRIMARY, FALLBACK
    sa.Column("weight", sa.Double, nullable=False),
    sa.Column("position", sa.Integer),  # among those that are fallen back to
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.UniqueConstraint("endpoint", "model", "linkage"),
    sa.Index("ix_gateway_mappings_model", "model"),
)

gateway_tags = sa.Table(
    "gateway_tags",
    metadata,
    sa.Column("endpoint", Key, sa.ForeignKey("gateway_endpoints.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

gateway_bindings = sa.Table(
    "gateway_bindings",
    metadata,
    sa.Column("endpoint", Key, sa.ForeignKey("gateway_endpoints.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("resource_type", sa.Text, primary_key=True),
    sa.Column("resource_id", sa.Text, primary_key=True),
    *_written(),
    sa.Index("ix_gateway_bindings_resource_id", "resource_id"),
)
