"""Connections: how to reach what lies outside, with sealed credentials; here what the platform itself takes of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from zaffre.services.kinds.base import Document, Kind
from zaffre.services.kinds.connection_words import DATA, PYTHON_FEED
from zaffre.services.kinds.connections import CREDENTIALS, category_of, check_whole, sealed_part
from zaffre.services.resources import Guard, ListQuery, Resources, Written
from zaffre.services.workspaces import Workspace
from zaffre.store import resources
from zaffre.store.resources import Cursor, Row
from zaffre.store.unit import Actor, Unit

CONNECTION = "workspaces/connections"
TOKEN_USER = "token"
"""The user name beside a personal access token: package indexes ask for one and look at the token alone."""


class PythonFeed(NamedTuple):
    """A package index that needs a sign-in; both texts are empty where it needs none."""

    url: str
    username: str
    secret: str


class Connections(Resources):
    """The generic service, with the rules for credentials."""

    def __init__(self, generic: Resources) -> None:
        super().__init__(generic.database, generic.vault, generic.kinds)

    async def put(
        self,
        actor: Actor,
        workspace: Workspace,
        kind: Kind,
        parent: str,
        name: str,
        body: Document,
        *,
        server: Document | None = None,
        guard: Guard | None = None,
        secrets_once: Document | None = None,
    ) -> Written:
        """Make or change one. What is null or left out of the credentials stays as it is sealed, as long as the authType does."""
        kind.check_name(name)
        bare = kind.accept(kind.take_secrets(body)[1])["properties"]
        type_ = bare["authType"]
        row = await self.database.read(lambda conn: resources.get(conn, workspace.id, CONNECTION, name))
        same = row is not None and row.body["properties"]["authType"] == type_
        kept = await self._credentials(workspace, name) if same else {}
        credentials = {**kept, **sealed_part(body["properties"])}
        check_whole(type_, credentials)

        def forget(unit: Unit, _row: Row | None) -> None:
            self.vault.delete(unit, workspace.id, _key(name))

        whole = {**body, "properties": {**body["properties"], CREDENTIALS: credentials or None}}
        return await super().put(actor, workspace, kind, parent, name, whole, guard=forget)

    async def page(
        self, workspace: Workspace, kind: Kind, parent: str, query: ListQuery
    ) -> tuple[list[Row], Cursor | None]:
        """Those that stand for data are listed only when asked for."""
        fields = tuple(
            (name, category_of(value) or value) if name == "category" else (name, value) for name, value in query.fields
        )
        hidden = () if query.include_all or any(name == "category" for name, _ in fields) else DATA
        without = tuple(("category", category) for category in hidden)
        return await super().page(
            workspace, kind, parent, msgspec.structs.replace(query, fields=fields, without=without)
        )

    async def with_secrets(self, workspace: Workspace, name: str) -> tuple[Row, dict[str, Any] | None]:
        """What `listsecrets` answers: the connection, and its credentials if its authType has any."""
        row = await self.get(workspace, self.kinds[CONNECTION], "", name)
        credentials = await self._credentials(workspace, name)
        return row, credentials or None

    async def python_feeds(self, workspace: Workspace) -> list[PythonFeed]:
        """The package indexes of a workspace with what signs in to them, oldest first; for whoever builds environments."""
        query = ListQuery(fields=(("category", PYTHON_FEED),), descending=False, limit=1000)
        rows, _ = await self.page(workspace, self.kinds[CONNECTION], "", query)
        return [_feed(row, await self._credentials(workspace, row.name)) for row in rows]

    async def _credentials(self, workspace: Workspace, name: str) -> dict[str, Any]:
        sealed = await self.database.read(lambda conn: self.vault.get(conn, workspace.id, _key(name)))
        found: dict[str, Any] = msgspec.json.decode(sealed) if sealed else {}
        return found


def _feed(row: Row, credentials: dict[str, Any]) -> PythonFeed:
    url = row.body["properties"]["target"]
    if "pat" in credentials:
        return PythonFeed(url, TOKEN_USER, credentials["pat"])
    return PythonFeed(url, credentials.get("username", ""), credentials.get("password", ""))


def _key(name: str) -> str:
    return f"connections/{resources.key(name)}/{CREDENTIALS}"
