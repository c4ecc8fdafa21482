"""The MCP registry: servers of the Model Context Protocol by name, in semantic versions, with tags and aliases.

It keeps what is said of them; nothing here speaks to one. A version that is deleted keeps its number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput, NotFound, refused
from zaffre.services.tracking import filters, mcp_checks, paging
from zaffre.services.tracking.mcp_checks import DRAFT
from zaffre.services.tracking.semantic_versions import precedence
from zaffre.store.database import Database
from zaffre.store.tracking import mcp_endpoints as endpoint_store
from zaffre.store.tracking import mcp_servers as store
from zaffre.store.tracking.conditions import Condition
from zaffre.store.tracking.mcp_endpoints import LATEST, Endpoint
from zaffre.store.tracking.mcp_servers import ACTIVE, DELETED, Server, Version
from zaffre.store.unit import Actor, Unit

_SERVER_ORDERS, _VERSION_ORDERS = (
    ("name", "created_at", "last_updated_at"),
    ("version", "created_at", "last_updated_at"),
)


class NewVersion(msgspec.Struct, frozen=True, kw_only=True):
    server_json: Mapping[str, Any]
    status: str = DRAFT
    source: str | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    connect_options: dict[str, dict[str, Any]] | None = None


class Whole(msgspec.Struct, frozen=True):
    """A server, and where it is reached."""

    server: Server
    endpoints: list[Endpoint]


class McpServers:
    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- servers
    async def create(
        self, actor: Actor, scope: str, name: str, description: str | None, icons: Sequence[Any] | None
    ) -> Whole:
        """Raises Conflict when there is one of that name."""
        mcp_checks.name(name)
        kept = mcp_checks.icons(icons)

        def work(unit: Unit) -> Whole:
            if not store.insert(unit, scope, name, actor.name, description=description, icons=kept):
                raise Conflict(
                    f"MCP server with name '{name}' already exists", code="RESOURCE_ALREADY_EXISTS", target="name"
                )
            _record(unit, actor, "write", scope, name)
            return _whole(unit.conn, scope, name)

        return await self._database.write(work)

    async def get(self, scope: str, name: str) -> Whole:
        return await self._database.read(lambda conn: _whole(conn, scope, name))

    async def search(
        self, scope: str, filter_: str | None, order_by: Sequence[str], token: str | None, limit: int
    ) -> tuple[list[Whole], str | None]:
        conditions = filters.parse(filter_, filters.MCP_SERVERS)
        for one in conditions:
            if one.key == "has_access_endpoints" and (one.op != "=" or str(one.value).lower() not in ("true", "false")):
                raise refused("filter_string", "has_access_endpoints only supports '= true' or '= false'")
        orders = mcp_checks.orders(order_by, filters.MCP_SERVERS, _SERVER_ORDERS, {"name": False})
        reached = endpoint_store.reached()

        def work(conn: sa.Connection) -> tuple[list[Whole], str | None]:
            found, following = paging.found(
                token, limit, lambda after, most: store.search(conn, scope, conditions, orders, reached, after, most)
            )
            endpoints = endpoint_store.of_servers(conn, [one.pk for one in found])
            return [Whole(one, endpoints[one.pk]) for one in found], following

        return await self._database.read(work)

    async def update(self, actor: Actor, scope: str, name: str, changes: Mapping[str, Any]) -> Whole:
        """Change what `changes` names: `description`, `display_name`, `icons`; None is one of their values."""
        values = dict(changes)
        mcp_checks.length(values.get("display_name"), "display_name", mcp_checks.MOST_IN_NAME)
        if "icons" in values:
            values["icons"] = mcp_checks.icons(values["icons"])

        def work(unit: Unit) -> Whole:
            store.update(unit, _held(unit, scope, name), actor.name, **values)
            _record(unit, actor, "write", scope, name)
            return _whole(unit.conn, scope, name)

        return await self._database.write(work)

    async def delete(self, actor: Actor, scope: str, name: str) -> None:
        """With its versions, none of which may be active."""

        def work(unit: Unit) -> None:
            server = _held(unit, scope, name)
            version = store.active(unit.conn, server)
            if version is not None:
                raise refused(
                    "name",
                    f"Cannot delete MCP server '{name}' while it still has an active version ('{version}'). "
                    "Delete or deactivate the active version first.",
                )
            store.delete(unit, server)
            _record(unit, actor, "delete", scope, name)

        await self._database.write(work)

    # ---- versions
    async def create_version(self, actor: Actor, scope: str, name: str, new: NewVersion) -> Version:
        """A version of the server, which is made where there is none. Raises Conflict when the number was taken ever."""
        document = mcp_checks.server_json(new.server_json)
        mcp_checks.name(name)
        if document["name"] != name:
            raise refused(
                "server_json.name",
                f"server_json.name '{document['name'][:100]}' does not match path parameter '{name}'",
            )
        rank = precedence(document["version"], "server_json.version")
        if mcp_checks.word(new.status, "status", mcp_checks.STATUSES) not in (DRAFT, ACTIVE):
            raise refused("status", "Initial MCP server registration status must be 'draft' or 'active'.")
        mcp_checks.length(new.source, "source", mcp_checks.MOST_IN_SOURCE)
        tools = mcp_checks.tools(new.tools)

        def work(unit: Unit) -> Version:
            number = document["version"]
            store.insert(unit, scope, name, actor.name)
            server = _held(unit, scope, name)
            made = store.insert_version(
                unit,
                server,
                number,
                rank,
                actor.name,
                server_json=document,
                status=new.status,
                tools=tools,
                source=new.source,
                connect_options=new.connect_options,
            )
            if not made:
                raise Conflict(
                    f"MCP server version '{name}' version '{number}' already exists",
                    code="RESOURCE_ALREADY_EXISTS",
                    target="server_json.version",
                )
            store.settle(unit, server)
            _record(unit, actor, "write", scope, f"{name}/versions/{number}")
            return _live(unit.conn, server, name, number)

        return await self._database.write(work)

    async def version(self, scope: str, name: str, number: str) -> Version:
        return await self._database.read(lambda conn: _live(conn, _server(conn, scope, name).pk, name, number))

    async def version_by_alias(self, scope: str, name: str, alias: str) -> Version:
        return await self._database.read(lambda conn: meant(conn, _server(conn, scope, name), alias))

    async def search_versions(
        self, scope: str, name: str, filter_: str | None, order_by: Sequence[str], token: str | None, limit: int
    ) -> tuple[list[Version], str | None]:
        """Of a server that is not there, none."""
        conditions = [_by_precedence(one) for one in filters.parse(filter_, filters.MCP_VERSIONS)]
        # Among those of one precedence, and where nobody said otherwise: as they were made.
        behind = {"created_at": False, "version": False}
        orders = mcp_checks.orders(order_by, filters.MCP_VERSIONS, _VERSION_ORDERS, behind)
        asked = [("precedence" if key == "version" else key, down) for key, down in orders]
        sorts = asked if asked[-1][0] == "version" else [*asked, ("version", False)]

        def work(conn: sa.Connection) -> tuple[list[Version], str | None]:
            server = store.get(conn, scope, name)
            if server is None:
                return [], None
            return paging.found(
                token, limit, lambda after, most: store.search_versions(conn, server.pk, conditions, sorts, after, most)
            )

        return await self._database.read(work)

    async def update_version(
        self, actor: Actor, scope: str, name: str, number: str, changes: Mapping[str, Any]
    ) -> Version:
        """Change what `changes` names: `status`, `tools`, `connect_options`; None is a value of the last two."""
        values = dict(changes)
        if "status" in values:
            if values["status"] is None:
                raise refused("status", "status cannot be null; omit the field to leave it unchanged")
            mcp_checks.word(values["status"], "status", mcp_checks.STATUSES)
        if "tools" in values:
            values["tools"] = mcp_checks.tools(values["tools"])

        def work(unit: Unit) -> Version:
            server = _held(unit, scope, name)
            held = _live(unit.conn, server, name, number)
            if "status" in values:
                mcp_checks.may_follow(held.status, values["status"])
            store.update_version(unit, held.pk, actor.name, **values)
            self._settle(unit, server, held, values.get("status"))
            _record(unit, actor, "write", scope, f"{name}/versions/{number}")
            found = store.version_by_key(unit.conn, held.pk)
            assert found is not None, "it was found in this transaction"
            return found

        return await self._database.write(work)

    async def delete_version(self, actor: Actor, scope: str, name: str, number: str) -> None:
        """Its aliases go, and the endpoints that were made for it or for them. Its number is never given again."""

        def work(unit: Unit) -> None:
            server = _held(unit, scope, name)
            held = store.version(unit.conn, server, number)
            if held is None:
                raise _no_version(name, number)
            mcp_checks.may_follow(held.status, DELETED)
            store.update_version(unit, held.pk, actor.name, status=DELETED)
            self._settle(unit, server, held, DELETED)
            _record(unit, actor, "delete", scope, f"{name}/versions/{number}")

        await self._database.write(work)

    # ---- tags and aliases
    async def set_tag(self, actor: Actor, scope: str, name: str, key: str, value: str) -> None:
        _check_tag(key, value)
        await self._of_server(actor, scope, name, lambda unit, server: store.set_tag(unit, server, key, value))

    async def delete_tag(self, actor: Actor, scope: str, name: str, key: str) -> None:
        def work(unit: Unit, server: int) -> None:
            if not store.delete_tag(unit, server, key):
                raise NotFound(f"Tag '{key}' not found on MCP server '{name}'", target="key")

        await self._of_server(actor, scope, name, work)

    async def set_version_tag(self, actor: Actor, scope: str, name: str, number: str, key: str, value: str) -> None:
        _check_tag(key, value)

        def work(unit: Unit, server: int) -> None:
            store.set_version_tag(unit, _live(unit.conn, server, name, number).pk, key, value)

        await self._of_server(actor, scope, name, work)

    async def delete_version_tag(self, actor: Actor, scope: str, name: str, number: str, key: str) -> None:
        def work(unit: Unit, server: int) -> None:
            if not store.delete_version_tag(unit, _live(unit.conn, server, name, number).pk, key):
                raise NotFound(f"Tag '{key}' not found on MCP server version '{name}' version '{number}'", target="key")

        await self._of_server(actor, scope, name, work)

    async def set_alias(self, actor: Actor, scope: str, name: str, alias: str, number: str) -> None:
        if alias == LATEST:
            raise refused("alias", f"The alias name '{LATEST}' is reserved for automatic resolution")
        mcp_checks.length(alias, "alias", mcp_checks.MOST_IN_NAME, empty=False)

        def work(unit: Unit, server: int) -> None:
            store.set_alias(unit, server, alias, usable(unit.conn, server, name, number, f"set alias '{alias}' to").pk)

        await self._of_server(actor, scope, name, work)

    async def delete_alias(self, actor: Actor, scope: str, name: str, alias: str) -> None:
        """The endpoints that were made for it go with it."""

        def work(unit: Unit, server: int) -> None:
            if not store.delete_alias(unit, server, alias):
                raise NotFound(f"Alias '{alias}' not found on MCP server '{name}'", target="alias")
            endpoint_store.delete_of(unit, server, aliases=[alias])

        await self._of_server(actor, scope, name, work)

    # ---- helpers
    async def _of_server(self, actor: Actor, scope: str, name: str, change: Callable[[Unit, int], None]) -> None:
        def work(unit: Unit) -> None:
            change(unit, _held(unit, scope, name))
            _record(unit, actor, "write", scope, name)

        await self._database.write(work)

    @staticmethod
    def _settle(unit: Unit, server: int, held: Version, status: str | None) -> None:
        """What follows from a version's new status."""
        if status == DELETED:
            aliases = store.delete_aliases_of(unit, held.pk)
            endpoint_store.delete_of(unit, server, version=held.pk, aliases=aliases)
        if status is not None and store.settle(unit, server) is None:
            endpoint_store.delete_of(unit, server, aliases=[LATEST])


def meant(conn: sa.Connection, server: Server, alias: str) -> Version:
    """What an alias of a server means. Raises NotFound."""
    if alias == LATEST:
        found = None if server.latest is None else store.version_by_key(conn, server.latest)
        if found is None:
            raise NotFound(f"No resolved latest version found for MCP server '{server.name}'", target="alias")
        return found
    found = store.version_by_alias(conn, server.pk, alias)
    if found is None or found.status == DELETED:
        raise NotFound(f"Alias '{alias}' not found for MCP server '{server.name}'", target="alias")
    return found


def usable(conn: sa.Connection, server: int, name: str, number: str, purpose: str) -> Version:
    """A version that may be referred to. Raises NotFound, and InvalidInput for a deleted one."""
    found = store.version(conn, server, number)
    if found is None:
        raise _no_version(name, number)
    if found.status == DELETED:
        raise InvalidInput(f"Cannot {purpose} deleted MCP server version '{name}' version '{number}'", target="version")
    return found


def no_server(name: str) -> NotFound:
    return NotFound(f"MCP server '{name}' not found", target="name")


def _server(conn: sa.Connection, scope: str, name: str) -> Server:
    found = store.get(conn, scope, name)
    if found is None:
        raise no_server(name)
    return found


def _whole(conn: sa.Connection, scope: str, name: str) -> Whole:
    server = _server(conn, scope, name)
    return Whole(server, endpoint_store.of_servers(conn, [server.pk])[server.pk])


def _held(unit: Unit, scope: str, name: str) -> int:
    """The key of the server, which nobody else changes until the unit ends."""
    found = store.hold(unit.conn, scope, name)
    if found is None:
        raise no_server(name)
    return found


def _live(conn: sa.Connection, server: int, name: str, number: str) -> Version:
    found = store.version(conn, server, number)
    if found is None or found.status == DELETED:
        raise _no_version(name, number)
    return found


def _no_version(name: str, number: str) -> NotFound:
    return NotFound(f"MCP server version '{name}' version '{number[:100]}' not found", target="version")


def _by_precedence(one: Condition) -> Condition:
    """More and less of a version are meant as semantic versions have it; equal is what has the same letters."""
    if one.key != "version" or one.op in ("=", "!="):
        return one
    return Condition(one.entity, "precedence", one.op, precedence(str(one.value), "filter_string version"))


def _check_tag(key: str, value: str) -> None:
    mcp_checks.length(key, "key", mcp_checks.MOST_IN_KEY, empty=False)
    mcp_checks.length(value, "value", mcp_checks.MOST_IN_VALUE)


def _record(unit: Unit, actor: Actor, verb: str, scope: str, which: str) -> None:
    unit.audit(actor, f"workspaces/mcpservers/{verb}", f"{scope}/mcpservers/{which}")
