"""Where MCP servers are reached: addresses that clients are told, each of a version or of what an alias means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import NotFound, refused
from zaffre.services.tracking import filters, mcp_checks, paging
from zaffre.services.tracking.mcp_servers import meant, no_server, usable
from zaffre.store.database import Database
from zaffre.store.tracking import mcp_endpoints as store
from zaffre.store.tracking import mcp_servers as server_store
from zaffre.store.tracking.mcp_endpoints import Endpoint
from zaffre.store.tracking.mcp_servers import Server
from zaffre.store.unit import Actor, Unit

_ORDERS = ("id", "server_name", "created_at", "last_updated_at")


class NewEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`version` or `alias`, not both."""

    url: str
    transport: str
    version: str | None = None
    alias: str | None = None


class McpEndpoints:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, actor: Actor, scope: str, server_name: str, new: NewEndpoint) -> Endpoint:
        if (new.version is None) == (new.alias is None):
            raise refused("server_version", "Exactly one of server_version or server_alias must be provided")
        _check_url(new.url)
        mcp_checks.word(new.transport, "transport_type", mcp_checks.TRANSPORTS)
        id_ = f"ae-{self._database.runtime.hex_id()}"

        def work(unit: Unit) -> Endpoint:
            server = _held(unit, scope, server_name)
            target = _target(unit.conn, server, new.version, new.alias, "create MCP access endpoint to")
            store.insert(unit, scope, id_, server.pk, actor.name, url=new.url, transport=new.transport, **target)
            _record(unit, actor, "write", scope, id_)
            return _present(unit.conn, scope, server_name, id_)

        return await self._database.write(work)

    async def get(self, scope: str, server_name: str, id_: str) -> Endpoint:
        return await self._database.read(lambda conn: _present(conn, scope, server_name, id_))

    async def search(
        self,
        scope: str,
        filter_: str | None,
        order_by: Sequence[str],
        token: str | None,
        limit: int,
        *,
        server: str | None,
        version: str | None,
        alias: str | None,
    ) -> tuple[list[Endpoint], str | None]:
        """A page of those of a server, or of all, made for that version or alias where it is given."""
        conditions = filters.parse(filter_, filters.MCP_ENDPOINTS)
        orders = mcp_checks.orders(order_by, filters.MCP_ENDPOINTS, _ORDERS, {"id": False})

        def work(conn: sa.Connection) -> tuple[list[Endpoint], str | None]:
            return paging.found(
                token,
                limit,
                lambda after, most: store.search(
                    conn, scope, conditions, orders, after, most, server=server, version=version, alias=alias
                ),
            )

        return await self._database.read(work)

    async def update(
        self, actor: Actor, scope: str, server_name: str, id_: str, changes: Mapping[str, Any]
    ) -> Endpoint:
        """Change what `changes` names: `server_version` or `server_alias`, `url`, `transport_type`. Of the first two and the last,
        None says nothing.
        """
        version, alias, transport = (changes.get(one) for one in ("server_version", "server_alias", "transport_type"))
        if version is not None and alias is not None:
            raise refused("server_version", "Cannot set both server_version and server_alias in a single update")
        values: dict[str, Any] = {}
        if "url" in changes:
            if changes["url"] is None:
                raise refused("url", "MCP access endpoint url cannot be None")
            values["url"] = _check_url(changes["url"])
        if transport is not None:
            values["transport"] = mcp_checks.word(transport, "transport_type", mcp_checks.TRANSPORTS)

        def work(unit: Unit) -> Endpoint:
            server = _held(unit, scope, server_name)
            held = _present(unit.conn, scope, server_name, id_)
            target: dict[str, Any] = {}
            if version is not None or alias is not None:
                target = _target(unit.conn, server, version, alias, "update MCP access endpoint to")
            store.update(unit, held.pk, actor.name, **values, **target)
            _record(unit, actor, "write", scope, id_)
            return _present(unit.conn, scope, server_name, id_)

        return await self._database.write(work)

    async def delete(self, actor: Actor, scope: str, server_name: str, id_: str) -> None:
        def work(unit: Unit) -> None:
            store.delete(unit, _present(unit.conn, scope, server_name, id_).pk)
            _record(unit, actor, "delete", scope, id_)

        await self._database.write(work)


def _held(unit: Unit, scope: str, name: str) -> Server:
    """The server, of which no version or alias changes until the unit ends."""
    if server_store.hold(unit.conn, scope, name) is None:
        raise no_server(name)
    found = server_store.get(unit.conn, scope, name)
    assert found is not None, "it is held"
    return found


def _target(
    conn: sa.Connection, server: Server, version: str | None, alias: str | None, purpose: str
) -> dict[str, Any]:
    """What the endpoint is of, as its columns say it."""
    if alias is not None:
        meant(conn, server, alias)
        return {"version": None, "alias": alias}
    assert version is not None, "one of the two is given"
    return {"version": usable(conn, server.pk, server.name, version, purpose).pk, "alias": None}


def _present(conn: sa.Connection, scope: str, server_name: str, id_: str) -> Endpoint:
    found = store.get(conn, scope, id_)
    if found is None:
        raise NotFound(f"MCPAccessEndpoint {id_[:100]} not found", target="endpoint_id")
    if found.server_name != server_name:
        raise NotFound(f"MCPAccessEndpoint {id_} does not belong to server '{server_name[:100]}'", target="endpoint_id")
    return found


def _check_url(url: str) -> str:
    mcp_checks.length(url, "url", mcp_checks.MOST_IN_URL, empty=False)
    return url


def _record(unit: Unit, actor: Actor, verb: str, scope: str, which: str) -> None:
    unit.audit(actor, f"workspaces/mcpservers/{verb}", f"{scope}/mcpservers/endpoints/{which}")
