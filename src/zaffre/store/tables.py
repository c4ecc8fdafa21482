"""The tables. Times are whole milliseconds since 1970; documents are JSON text written by msgspec.

`migrations/` must say the same; tests/unit/test_store_migrations.py compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa

from zaffre.store.evaluation_tables import (
    evaluation_dataset_experiments,
    evaluation_dataset_tags,
    evaluation_datasets,
    evaluation_records,
)
from zaffre.store.gateway_tables import (
    gateway_bindings,
    gateway_endpoints,
    gateway_mappings,
    gateway_models,
    gateway_secrets,
    gateway_tags,
)
from zaffre.store.mcp_tables import (
    mcp_endpoints,
    mcp_server_aliases,
    mcp_server_tags,
    mcp_server_versions,
    mcp_servers,
    mcp_version_tags,
)
from zaffre.store.quality_tables import issues, online_scoring_configs, scorer_versions, scorers
from zaffre.store.review_tables import (
    label_schemas,
    review_queue_items,
    review_queue_schemas,
    review_queue_users,
    review_queues,
)
from zaffre.store.schema import Key, Time, metadata
from zaffre.store.schema import pk as _pk
from zaffre.store.trace_tables import assessments, span_contents, spans, trace_labels, trace_runs, traces

# What other files of tables define, so that whoever has this one has them all.
__all__ = [
    "assessments",
    "evaluation_dataset_experiments",
    "evaluation_dataset_tags",
    "evaluation_datasets",
    "evaluation_records",
    "gateway_bindings",
    "gateway_endpoints",
    "gateway_mappings",
    "gateway_models",
    "gateway_secrets",
    "gateway_tags",
    "issues",
    "label_schemas",
    "mcp_endpoints",
    "mcp_server_aliases",
    "mcp_server_tags",
    "mcp_server_versions",
    "mcp_servers",
    "mcp_version_tags",
    "metadata",
    "online_scoring_configs",
    "review_queue_items",
    "review_queue_schemas",
    "review_queue_users",
    "review_queues",
    "scorer_versions",
    "scorers",
    "span_contents",
    "spans",
    "trace_labels",
    "trace_runs",
    "traces",
]

# ---- ARM: one row a resource. `scope` is the workspace's id; for workspaces themselves `subscription/group`, in lower case.
resources = sa.Table(
    "resources",
    metadata,
    _pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("parent", sa.Text, nullable=False, default=""),  # as it is compared
    sa.Column("parent_name", sa.Text, nullable=False, server_default=""),  # as it is told
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_key", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, default="Succeeded"),
    sa.Column("archived", sa.Boolean, nullable=False, default=False),
    sa.Column("generation", sa.Integer, nullable=False, default=1),
    sa.Column("counter", sa.BigInteger, nullable=False, default=1),
    sa.Column("fingerprint", sa.Text, nullable=False, default=""),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False, default="{}"),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_by_type", sa.Text, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.Column("modified_by", sa.Text, nullable=False),
    sa.Column("modified_by_type", sa.Text, nullable=False),
    sa.UniqueConstraint("scope", "type", "parent", "name_key"),
    sa.Index("ix_resources_fingerprint", "scope", "type", "fingerprint"),
    sa.Index("ix_resources_type_state", "type", "state"),
    sa.Index("ix_resources_name", "type", "name_key"),
    sa.Index("ix_resources_made", "scope", "type", "parent", "pk"),  # lists go by it: a page reads only its own rows
)

# Who names what: lineage, and which uploads somebody still needs. A subject is a resource or a job, by type and name;
# a target is an asset's version (`data/name/1`), an upload (`upload/<hash>`) or a place (`place/container/path`).
links = sa.Table(
    "links",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("subject_type", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("direction", sa.Text, primary_key=True),  # "used" or "made"
    sa.Column("role", sa.Text, primary_key=True),  # where in the subject: "inputs.train", "codeId"
    sa.Column("target", sa.Text, primary_key=True),
    sa.Index("ix_links_target", "scope", "target"),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False, default=0),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("ended_at", Time),
    sa.Index("ix_operations_resource", "scope", "resource"),
)

# ---- tracking: one run, one record, whoever made it
experiments = sa.Table(
    "experiments",
    metadata,
    _pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("artifact_location", sa.Text),
    sa.Column("lifecycle", sa.Text, nullable=False, default="active"),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.UniqueConstraint("scope", "name"),
    sa.UniqueConstraint("scope", "id"),
)

experiment_tags = sa.Table(
    "experiment_tags",
    metadata,
    sa.Column("experiment", Key, sa.ForeignKey("experiments.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    _pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("experiment", Key, sa.ForeignKey("experiments.pk"), nullable=False),
    sa.Column("origin", sa.Text, nullable=False),  # "job" or "mlflow"
    sa.Column("status", sa.Text, nullable=False),  # Azure ML's words; MLflow's are derived
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("hidden", sa.Boolean, nullable=False, default=False),
    sa.Column("lifecycle", sa.Text, nullable=False, default="active"),
    sa.Column("parent", sa.Text),
    sa.Column("root", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("artifact_uri", sa.Text),  # only a location the user gave; our own follows from the id
    sa.Column("properties", sa.Text, nullable=False, default="{}"),
    sa.Column("error", sa.Text),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("started_at", Time),
    sa.Column("ended_at", Time),
    sa.Column("ordered_at", Time, nullable=False),  # the start a client gave, else the creation: the order of lists
    sa.Column("modified_at", Time, nullable=False),
    sa.UniqueConstraint("scope", "id"),
    sa.Index("ix_runs_experiment", "experiment", "lifecycle", "ordered_at"),
    sa.Index("ix_runs_parent", "scope", "parent"),
    sa.Index("ix_runs_status", "scope", "status"),  # what is not over in a workspace is little among all that was
)

run_tags = sa.Table(
    "run_tags",
    metadata,
    sa.Column("run", Key, sa.ForeignKey("runs.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

run_params = sa.Table(
    "run_params",
    metadata,
    sa.Column("run", Key, sa.ForeignKey("runs.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# A point is itself its key: a batch that is sent twice changes nothing. NaN has no equality, so it is a flag beside a 0.
metrics = sa.Table(
    "metrics",
    metadata,
    sa.Column("run", Key, sa.ForeignKey("runs.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True),
    sa.Column("timestamp", Time, primary_key=True),
    sa.Column("value", sa.Double, primary_key=True),
    sa.Column("is_nan", sa.Boolean, primary_key=True, default=False),
    sa.Column("model_id", sa.Text, primary_key=True, default=""),
    sa.Column("dataset", sa.Text, nullable=False, default=""),
    # PostgreSQL's has the same condition, in the migration only: named here, SQLAlchemy would load that dialect, which
    # is a tenth of the CPU of each start.
    sa.Index("ix_metrics_model_id", "model_id", sqlite_where=sa.text("model_id <> ''")),
    sqlite_with_rowid=False,
)

latest_metrics = sa.Table(
    "latest_metrics",
    metadata,
    sa.Column("run", Key, sa.ForeignKey("runs.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("timestamp", Time, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("is_nan", sa.Boolean, nullable=False, default=False),
    sa.Column("model_id", sa.Text, nullable=False, default=""),
    sa.Column("dataset", sa.Text, nullable=False, default=""),
    sa.Column(
        "experiment", Key, nullable=False
    ),  # the run's own, which never changes: an order by a metric begins there
    # the least and the greatest value there was, and a step of each; None where that is not known, and has to be looked for
    sa.Column("low", sa.Double),
    sa.Column("low_step", sa.BigInteger),
    sa.Column("high", sa.Double),
    sa.Column("high_step", sa.BigInteger),
    sa.Index("ix_latest_metrics_value", "experiment", "key", "is_nan", "value", "run"),
)

logged_models = sa.Table(
    "logged_models",
    metadata,
    _pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("experiment", Key, sa.ForeignKey("experiments.pk"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("status_message", sa.Text),
    sa.Column("model_type", sa.Text),
    sa.Column("source_run", sa.Text),
    sa.Column("lifecycle", sa.Text, nullable=False, default="active"),
    sa.Column("params", sa.Text, nullable=False, default="{}"),
    sa.Column("tags", sa.Text, nullable=False, default="{}"),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.UniqueConstraint("scope", "id"),
    sa.Index("ix_logged_models_experiment", "experiment"),
)

# What a run read and made: logged models and datasets, by direction.
run_links = sa.Table(
    "run_links",
    metadata,
    sa.Column("run", Key, sa.ForeignKey("runs.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("direction", sa.Text, primary_key=True),  # "input" or "output"
    sa.Column("kind", sa.Text, primary_key=True),  # "model" or "dataset"
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("step", sa.BigInteger, nullable=False, default=0),
    sa.Column("detail", sa.Text, nullable=False, default="{}"),
    # of a dataset, since runs are searched by them
    sa.Column("name", sa.Text),
    sa.Column("digest", sa.Text),
    sa.Column("context", sa.Text),
)

# ---- jobs: the submitted body and the plan; everything a reader of runs asks for is in `runs`
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("run", Key, sa.ForeignKey("runs.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("job_type", sa.Text, nullable=False),
    sa.Column("node", sa.Text, nullable=False, default=""),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False, default="{}"),
    sa.Column("plan", sa.Text),
    sa.Column("events_applied", sa.Integer, nullable=False, default=0),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("logs_stored", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_by_type", sa.Text, nullable=False),
    sa.UniqueConstraint("scope", "id"),
    sa.Index("ix_jobs_made", "scope", "run"),  # lists go by it: a page reads only its own rows
)

# ---- blobs: the namespace. Bytes are objects named by their sha-256.
# Blob names sort by their bytes, as Azure lists them; SQLite does so by itself, PostgreSQL when told.
ByteOrdered = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

blob_containers = sa.Table(
    "blob_containers",
    metadata,
    _pk(),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.UniqueConstraint("account", "name"),
)

blobs = sa.Table(
    "blobs",
    metadata,
    _pk(),
    sa.Column("container", Key, sa.ForeignKey("blob_containers.pk"), nullable=False),
    sa.Column("name", ByteOrdered, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("md5", sa.Text),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("headers", sa.Text, nullable=False, default="{}"),
    sa.Column("metadata", sa.Text, nullable=False, default="{}"),
    sa.Column("blocks", sa.Text),  # [[id, size], …] when made from blocks; later commits may take them again
    sa.Column("created_at", Time, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.UniqueConstraint("container", "name"),
    sa.Index("ix_blobs_sha256", "sha256"),
)

blob_blocks = sa.Table(
    "blob_blocks",
    metadata,
    sa.Column("container", Key, sa.ForeignKey("blob_containers.pk"), primary_key=True),
    sa.Column("name", ByteOrdered, primary_key=True),
    sa.Column("block", sa.Text, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Index("ix_blob_blocks_sha256", "sha256"),
)

# ---- who may, what is secret, what happened
principals = sa.Table(
    "principals",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # "User" or "Application"
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    _pk(),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("principal", sa.Text, sa.ForeignKey("principals.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("expires_at", Time),
    sa.Column("revoked", sa.Boolean, nullable=False, default=False),
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    _pk(),
    sa.Column("at", Time, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),  # "allowed" or "denied"
    sa.Column("source", sa.Text, nullable=False, default=""),
    sa.Column("request_id", sa.Text, nullable=False, default=""),
    sa.Column("detail", sa.Text, nullable=False, default="{}"),
)

events = sa.Table(
    "events",
    metadata,
    _pk(),
    sa.Column("at", Time, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False, default="{}"),
)

# ---- webhooks: who is told of changes in the registry, and what is still to be told (an outbox: a row goes when it was told)
webhooks = sa.Table(
    "webhooks",
    metadata,
    _pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("events", sa.Text, nullable=False),  # ["model_version.created", …]
    sa.Column("created_at", Time, nullable=False),
    sa.Column("modified_at", Time, nullable=False),
    sa.UniqueConstraint("scope", "id"),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    _pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("webhook", Key, sa.ForeignKey("webhooks.pk", ondelete="CASCADE"), nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("due_at", Time, nullable=False),
    sa.Index("ix_webhook_deliveries_due", "due_at"),
    sa.Index("ix_webhook_deliveries_webhook", "webhook"),
)
