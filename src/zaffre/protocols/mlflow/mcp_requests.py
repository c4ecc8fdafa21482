"""What MLflow's clients ask of the MCP registry, as structs. A field that may be null and one that is not there are two things here."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

Page = Annotated[int, Meta(ge=1, le=1000)]


class Tool(Struct, frozen=True):
    name: str
    title: str | None = None
    description: str | None = None
    inputSchema: dict[str, Any] | None = None
    outputSchema: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None
    icons: list[dict[str, Any]] | None = None
    execution: dict[str, Any] | None = None


class ConnectOption(Struct, frozen=True):
    hidden: bool = False


class CreateServer(Struct, frozen=True):
    name: str = ""
    description: str | None = None
    icons: list[dict[str, Any]] | None = None


class UpdateServer(Struct, frozen=True):
    """`latest_version` is nobody's to say."""

    display_name: str | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    icons: list[dict[str, Any]] | UnsetType | None = UNSET
    latest_version: Any = UNSET


class CreateVersion(Struct, frozen=True):
    server_json: dict[str, Any]
    status: str = "draft"
    source: str | None = None
    tools: list[Tool] | None = None
    connect_options: dict[str, ConnectOption] | None = None


class UpdateVersion(Struct, frozen=True):
    status: str | UnsetType | None = UNSET
    tools: list[Tool] | UnsetType | None = UNSET
    connect_options: dict[str, ConnectOption] | UnsetType | None = UNSET


class CreateEndpoint(Struct, frozen=True):
    url: str
    transport_type: str = "streamable-http"
    server_version: str | None = None
    server_alias: str | None = None


class UpdateEndpoint(Struct, frozen=True):
    url: str | UnsetType | None = UNSET
    transport_type: str | UnsetType | None = UNSET
    server_version: str | UnsetType | None = UNSET
    server_alias: str | UnsetType | None = UNSET


class SetAlias(Struct, frozen=True):
    alias: str
    version: str


class SetTag(Struct, frozen=True):
    key: str
    value: str


class Search(Struct, frozen=True):
    filter_string: str | None = None
    max_results: Page = 100
    order_by: list[str] = []
    page_token: str | None = None


class SearchEndpoints(Search, frozen=True):
    server_version: str | None = None
    server_alias: str | None = None
