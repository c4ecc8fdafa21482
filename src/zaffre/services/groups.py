"""Resource groups: names that workspaces are filed under. Any valid one is good; one that was made by hand has tags as well."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict
from zaffre.services.kinds.base import texts
from zaffre.services.workspace_changes import check_place, operation_scope
from zaffre.services.workspaces import TYPE, scope_of
from zaffre.store import resources
from zaffre.store.database import Database
from zaffre.store.unit import Actor, Unit

GROUP = "resourceGroups"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    location: str
    tags: dict[str, str] = {}


class ResourceGroups:
    """`location` is where a group is that nobody has put anywhere."""

    def __init__(self, database: Database, location: str) -> None:
        self._database = database
        self._location = location

    async def all(self, subscription: str) -> list[Group]:
        """Those that were made and those that have a workspace, by name."""
        return await self._database.read(lambda conn: _all(conn, subscription))

    async def get(self, subscription: str, name: str) -> Group:
        """The group; one that nobody has spoken of yet is there all the same. Raises InvalidInput for what is no name."""
        check_place(subscription, name)
        for group in await self.all(subscription):
            if group.name.lower() == name.lower():
                return group
        return Group(name=name, location=self._location)

    async def put(
        self, actor: Actor, subscription: str, name: str, location: str | None, tags: dict[str, object] | None
    ) -> tuple[Group, bool]:
        """Make the group or change its tags; whether it was made. A group stays where it is."""
        check_place(subscription, name)
        scope = operation_scope(subscription)

        def work(unit: Unit) -> tuple[Group, bool]:
            known = {group.name.lower(): group for group in _all(unit.conn, subscription)}.get(name.lower())
            if known is not None and location and location.lower() != known.location.lower():
                raise Conflict(
                    f"Resource group '{known.name}' is in '{known.location}' and stays there.",
                    code="InvalidResourceGroupLocation",
                    target="location",
                )
            wanted = Group(
                name=known.name if known else name,
                location=known.location if known else location or self._location,
                tags=texts(tags) if tags is not None else known.tags if known else {},
            )
            body = {"location": wanted.location, "tags": wanted.tags}
            if not resources.insert(unit, actor, scope, GROUP, wanted.name, body, {}):
                row = resources.get(unit.conn, scope, GROUP, name, lock=True)
                assert row is not None, "it was there a moment ago"
                resources.update(unit, actor, row.pk, body=body)
            unit.audit(actor, f"{GROUP}/write", f"{scope}/{name}")
            return wanted, known is None

        return await self._database.write(work)

    async def delete(self, actor: Actor, subscription: str, name: str) -> None:
        """Forget the group. Raises Conflict while it has workspaces: many would be gone by one word."""

        def work(unit: Unit) -> None:
            inside = [row.name for row in resources.listing(unit.conn, scope_of(subscription, name), TYPE)]
            if inside:
                raise Conflict(
                    f"Resource group '{name}' has the workspaces {', '.join(inside[:10])}. Delete them first.",
                    code="ResourceGroupNotEmpty",
                )
            row = resources.get(unit.conn, operation_scope(subscription), GROUP, name, lock=True)
            if row is not None:
                resources.delete(unit, row.pk)
                unit.audit(actor, f"{GROUP}/delete", f"{operation_scope(subscription)}/{name}")

        await self._database.write(work)


def _all(conn: sa.Connection, subscription: str) -> list[Group]:
    found: dict[str, Group] = {}
    for row in resources.listing(conn, operation_scope(subscription), GROUP):
        found[row.name.lower()] = Group(name=row.name, location=row.body["location"], tags=row.body["tags"])
    for row in resources.below(conn, subscription.lower(), TYPE):
        name = row.server["resourceGroup"]
        found.setdefault(name.lower(), Group(name=name, location=row.server["location"]))
    return sorted(found.values(), key=lambda group: group.name.lower())
