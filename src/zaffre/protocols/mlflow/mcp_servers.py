"""MLflow's MCP registry: servers of the Model Context Protocol, their versions, and where they are reached."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from zaffre.errors import refused
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import mcp_requests as requests
from zaffre.protocols.mlflow.shape import Document
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.mcp_endpoints import NewEndpoint
from zaffre.services.tracking.mcp_servers import NewVersion, Whole
from zaffre.store.tracking.mcp_endpoints import Endpoint
from zaffre.store.tracking.mcp_servers import Server, Version

_READ, _WRITE, _DELETE = (f"workspaces/mcpservers/{verb}" for verb in ("read", "write", "delete"))


class McpServerHandlers:
    def __init__(self, tracking: Tracking) -> None:
        self._servers = tracking.mcp_servers
        self._endpoints = tracking.mcp_endpoints

    def operations(self) -> Served:
        return {
            "createMcpServer": (self.create, _WRITE),
            "getMcpServer": (self.get, _READ),
            "searchMcpServers": (self.search, _READ),
            "updateMcpServer": (self.update, _WRITE),
            "deleteMcpServer": (self.delete, _DELETE),
            "createMcpServerVersion": (self.create_version, _WRITE),
            "getMcpServerVersion": (self.version, _READ),
            "getMcpServerVersionByAlias": (self.version_by_alias, _READ),
            "searchMcpServerVersions": (self.search_versions, _READ),
            "updateMcpServerVersion": (self.update_version, _WRITE),
            "deleteMcpServerVersion": (self.delete_version, _DELETE),
            "createMcpAccessEndpoint": (self.create_endpoint, _WRITE),
            "getMcpAccessEndpoint": (self.endpoint, _READ),
            "searchMcpAccessEndpoints": (self.search_endpoints, _READ),
            "searchMcpServerEndpoints": (self.search_endpoints, _READ),
            "updateMcpAccessEndpoint": (self.update_endpoint, _WRITE),
            "deleteMcpAccessEndpoint": (self.delete_endpoint, _DELETE),
            "setMcpServerTag": (self.set_tag, _WRITE),
            "deleteMcpServerTag": (self.delete_tag, _WRITE),
            "setMcpServerVersionTag": (self.set_version_tag, _WRITE),
            "deleteMcpServerVersionTag": (self.delete_version_tag, _WRITE),
            "setMcpServerAlias": (self.set_alias, _WRITE),
            "deleteMcpServerAlias": (self.delete_alias, _WRITE),
        }

    # ---- servers
    async def create(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateServer)
        name = required(asked.name, "name")
        made = await self._servers.create(call.actor, call.workspace.id, name, asked.description, asked.icons)
        return json_answer(_server(made))

    async def get(self, call: Call) -> Response:
        return json_answer(_server(await self._servers.get(call.workspace.id, _name(call))))

    async def search(self, call: Call) -> Response:
        asked = await parse(call, requests.Search)
        found, token = await self._servers.search(
            call.workspace.id, asked.filter_string, asked.order_by, asked.page_token, asked.max_results
        )
        return json_answer({"mcp_servers": [_server(one) for one in found], "next_page_token": token})

    async def update(self, call: Call) -> Response:
        asked = await parse(call, requests.UpdateServer)
        changes = _said(asked)
        if "latest_version" in changes:
            raise refused("latest_version", "latest_version is read-only; it follows from the versions there are")
        return json_answer(_server(await self._servers.update(call.actor, call.workspace.id, _name(call), changes)))

    async def delete(self, call: Call) -> Response:
        await self._servers.delete(call.actor, call.workspace.id, _name(call))
        return json_answer({})

    # ---- versions
    async def create_version(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateVersion)
        new = NewVersion(
            server_json=asked.server_json,
            status=asked.status,
            source=asked.source,
            tools=msgspec.to_builtins(asked.tools),
            connect_options=msgspec.to_builtins(asked.connect_options),
        )
        return json_answer(
            _version(await self._servers.create_version(call.actor, call.workspace.id, _name(call), new))
        )

    async def version(self, call: Call) -> Response:
        found = await self._servers.version(call.workspace.id, _name(call), call.params["version"])
        return json_answer(_version(found))

    async def version_by_alias(self, call: Call) -> Response:
        found = await self._servers.version_by_alias(call.workspace.id, _name(call), call.params["alias"])
        return json_answer(_version(found))

    async def search_versions(self, call: Call) -> Response:
        asked = await parse(call, requests.Search)
        found, token = await self._servers.search_versions(
            call.workspace.id, _name(call), asked.filter_string, asked.order_by, asked.page_token, asked.max_results
        )
        return json_answer({"mcp_server_versions": [_version(one) for one in found], "next_page_token": token})

    async def update_version(self, call: Call) -> Response:
        changes = _said(await parse(call, requests.UpdateVersion))
        changed = await self._servers.update_version(
            call.actor, call.workspace.id, _name(call), call.params["version"], changes
        )
        return json_answer(_version(changed))

    async def delete_version(self, call: Call) -> Response:
        await self._servers.delete_version(call.actor, call.workspace.id, _name(call), call.params["version"])
        return json_answer({})

    # ---- endpoints
    async def create_endpoint(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateEndpoint)
        new = NewEndpoint(
            url=asked.url, transport=asked.transport_type, version=asked.server_version, alias=asked.server_alias
        )
        return json_answer(_endpoint(await self._endpoints.create(call.actor, call.workspace.id, _name(call), new)))

    async def endpoint(self, call: Call) -> Response:
        found = await self._endpoints.get(call.workspace.id, _name(call), call.params["endpoint_id"])
        return json_answer(_endpoint(found))

    async def search_endpoints(self, call: Call) -> Response:
        """Of one server or of all."""
        asked = await parse(call, requests.SearchEndpoints)
        found, token = await self._endpoints.search(
            call.workspace.id,
            asked.filter_string,
            asked.order_by,
            asked.page_token,
            asked.max_results,
            server=_name(call) or None,
            version=asked.server_version,
            alias=asked.server_alias,
        )
        return json_answer({"mcp_access_endpoints": [_endpoint(one) for one in found], "next_page_token": token})

    async def update_endpoint(self, call: Call) -> Response:
        changes = _said(await parse(call, requests.UpdateEndpoint))
        changed = await self._endpoints.update(
            call.actor, call.workspace.id, _name(call), call.params["endpoint_id"], changes
        )
        return json_answer(_endpoint(changed))

    async def delete_endpoint(self, call: Call) -> Response:
        await self._endpoints.delete(call.actor, call.workspace.id, _name(call), call.params["endpoint_id"])
        return json_answer({})

    # ---- tags and aliases
    async def set_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.SetTag)
        await self._servers.set_tag(call.actor, call.workspace.id, _name(call), asked.key, asked.value)
        return json_answer({})

    async def delete_tag(self, call: Call) -> Response:
        await self._servers.delete_tag(call.actor, call.workspace.id, _name(call), call.params["key"])
        return json_answer({})

    async def set_version_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.SetTag)
        which = call.workspace.id, _name(call), call.params["version"]
        await self._servers.set_version_tag(call.actor, *which, asked.key, asked.value)
        return json_answer({})

    async def delete_version_tag(self, call: Call) -> Response:
        which = call.workspace.id, _name(call), call.params["version"]
        await self._servers.delete_version_tag(call.actor, *which, call.params["key"])
        return json_answer({})

    async def set_alias(self, call: Call) -> Response:
        asked = await parse(call, requests.SetAlias)
        await self._servers.set_alias(call.actor, call.workspace.id, _name(call), asked.alias, asked.version)
        return json_answer({})

    async def delete_alias(self, call: Call) -> Response:
        await self._servers.delete_alias(call.actor, call.workspace.id, _name(call), call.params["alias"])
        return json_answer({})


def _name(call: Call) -> str:
    """Of the server in the address: one part, or two with the slash that every name has. Empty where it names none."""
    params = call.params
    return f"{params['namespace']}/{params['slug']}" if "namespace" in params else params.get("name", "")


def _said(asked: msgspec.Struct) -> dict[str, Any]:
    """The fields that the request holds, null or not."""
    found: dict[str, Any] = msgspec.to_builtins(asked)
    return found


def _server(whole: Whole) -> Document:
    one = whole.server
    described = one.server_json or {}
    return {
        "name": one.name,
        "display_name": one.display_name,
        "description": described.get("description") if one.description is None else one.description,
        "icons": _icons(one, described),
        "workspace": None,
        "status": one.status,
        "access_endpoints": [_summary(endpoint) for endpoint in whole.endpoints],
        "latest_version": one.latest_version,
        "aliases": [{"alias": alias, "version": version} for alias, version in one.aliases.items()],
        "tags": one.tags,
        **_changes(one),
    }


def _icons(one: Server, described: Document) -> list[Document] | None:
    """The server's own, and the version's for the themes it has none for. An empty list of its own is none at all."""
    if one.icons == []:
        return []
    own = [{**icon, "source": "server"} for icon in one.icons or []]
    themes = {icon.get("theme") for icon in own}
    others = [icon for icon in described.get("icons") or [] if icon.get("theme") not in themes]
    return [*own, *({**icon, "source": "version"} for icon in others)] or None


def _version(one: Version) -> Document:
    return {
        "name": one.name,
        "version": one.version,
        "server_json": one.server_json,
        "workspace": None,
        "status": one.status,
        "tools": [_tool(tool) for tool in one.tools or []],
        "aliases": one.aliases,
        "tags": one.tags,
        "connect_options": one.connect_options or {},
        "source": one.source,
        **_changes(one),
    }


def _tool(tool: Document) -> Document:
    return {name: tool.get(name) for name in requests.Tool.__struct_fields__}


def _endpoint(one: Endpoint) -> Document:
    tools = one.version.tools
    return {**_summary(one), "tools": None if tools is None else [_tool(tool) for tool in tools]}


def _summary(one: Endpoint) -> Document:
    return {
        "id": one.id,
        "server_name": one.server_name,
        "url": one.url,
        "transport_type": one.transport,
        "workspace": None,
        "server_version": one.server_version,
        "server_alias": one.alias,
        "resolved_version": _version(one.version),
        **_changes(one),
    }


def _changes(one: Server | Version | Endpoint) -> Document:
    return {
        "created_by": one.created_by,
        "last_updated_by": one.modified_by,
        "creation_timestamp": one.created_at,
        "last_updated_timestamp": one.modified_at,
    }
