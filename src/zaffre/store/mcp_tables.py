"""The tables of the MCP registry: servers of the Model Context Protocol, their versions, and where those are reached."""

from __future__ import annotations

import sqlalchemy as sa

from zaffre.store.schema import Key, Time, metadata, pk


def _changes() -> tuple[sa.Column[str], sa.Column[str], sa.Column[int], sa.Column[int]]:
    return (
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("modified_by", sa.Text, nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("modified_at", Time, nullable=False),
    )


mcp_servers = sa.Table(
    "mcp_servers",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("display_name", sa.Text),
    sa.Column("description", sa.Text),
    sa.Column("icons", sa.Text),
    # The version that speaks for the server. No foreign key, which would lead around in a circle: versions go with servers only.
    sa.Column("latest", Key),
    *_changes(),
    sa.UniqueConstraint("scope", "name"),
)

mcp_server_tags = sa.Table(
    "mcp_server_tags",
    metadata,
    sa.Column("server", Key, sa.ForeignKey("mcp_servers.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

mcp_server_versions = sa.Table(
    "mcp_server_versions",
    metadata,
    pk(),
    sa.Column("server", Key, sa.ForeignKey("mcp_servers.pk", ondelete="CASCADE"), nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("precedence", sa.Text, nullable=False),  # a text of digits that sorts as semantic versions do
    sa.Column("server_json", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),  # MLflow's words: draft, active, deprecated, deleted
    sa.Column("tools", sa.Text),
    sa.Column("source", sa.Text),
    sa.Column("connect_options", sa.Text),
    *_changes(),
    sa.UniqueConstraint("server", "version"),
)

mcp_version_tags = sa.Table(
    "mcp_version_tags",
    metadata,
    sa.Column("version", Key, sa.ForeignKey("mcp_server_versions.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

mcp_server_aliases = sa.Table(
    "mcp_server_aliases",
    metadata,
    sa.Column("server", Key, sa.ForeignKey("mcp_servers.pk", ondelete="CASCADE"), primary_key=True),
    sa.Column("alias", sa.Text, primary_key=True),
    sa.Column("version", Key, sa.ForeignKey("mcp_server_versions.pk", ondelete="CASCADE"), nullable=False),
    sa.Index("ix_mcp_server_aliases_version", "version"),
)

mcp_endpoints = sa.Table(
    "mcp_endpoints",
    metadata,
    pk(),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("server", Key, sa.ForeignKey("mcp_servers.pk", ondelete="CASCADE"), nullable=False),
    # One of the two: what is reached there, or the alias of what is; `latest` is none that is kept.
    sa.Column("version", Key, sa.ForeignKey("mcp_server_versions.pk", ondelete="CASCADE")),
    sa.Column("alias", sa.Text),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("transport", sa.Text, nullable=False),  # MLflow's words: streamable-http, sse
    *_changes(),
    sa.UniqueConstraint("scope", "id"),
    sa.Index("ix_mcp_endpoints_server", "server"),
    sa.Index("ix_mcp_endpoints_version", "version"),
)
