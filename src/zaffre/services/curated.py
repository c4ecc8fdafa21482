"""Environments of a workspace: the user's own, and the curated ones by their names there (`AzureML-sklearn-1.5`)."""

from __future__ import annotations

from typing import Any

from zaffre.errors import Denied
from zaffre.services.kinds.base import Document, Kind
from zaffre.services.registries import BY, PREFIX, SINCE_MS, Curated, Registries, is_curated
from zaffre.services.resources import ListQuery, Resources, Written
from zaffre.services.workspaces import Workspace
from zaffre.store.resources import Cursor, Row
from zaffre.store.unit import Actor


class Environments(Resources):
    """The generic service, beside which the curated ones are answered; those are read-only and in no list of containers."""

    def __init__(self, generic: Resources, registries: Registries) -> None:
        super().__init__(generic.database, generic.vault, generic.kinds)
        self._generic = generic
        self._registries = registries

    async def arrive(self, workspace: Workspace, kind: Kind, body: Document) -> Document:
        return await self._generic.arrive(workspace, kind, body)

    async def get(self, workspace: Workspace, kind: Kind, parent: str, name: str) -> Row:
        if not is_curated(parent or name):
            return await super().get(workspace, kind, parent, name)
        if not parent:
            return _row(workspace, kind, self._registries.get("environments", name), "")
        return _row(workspace, kind, *self._registries.version("environments", parent, name))

    async def page(
        self, workspace: Workspace, kind: Kind, parent: str, query: ListQuery
    ) -> tuple[list[Row], Cursor | None]:
        if not is_curated(parent):
            return await super().page(workspace, kind, parent, query)
        newest = _row(workspace, kind, *self._registries.version("environments", parent, "latest"))
        return [] if query.archived else [newest], None

    async def latest(self, workspace: Workspace, kind: Kind, rows: list[Row]) -> dict[int, str | None]:
        if rows and is_curated(rows[0].parent or rows[0].name):
            return {row.pk: self._registries.get("environments", row.parent or row.name).version for row in rows}
        return await super().latest(workspace, kind, rows)

    async def put(
        self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str, body: Document, **more: Any
    ) -> Written:
        _refuse(parent or name)
        return await super().put(actor, workspace, kind, parent, name, body, **more)

    async def delete(self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str) -> str | None:
        _refuse(parent or name)
        return await super().delete(actor, workspace, kind, parent, name)


def _refuse(name: str) -> None:
    if is_curated(name):
        raise Denied(
            f"'{name[:100]}': names that begin with {PREFIX} are those of curated environments, which cannot be changed. "
            "Use another name.",
            code="ReservedName",
        )


def _row(workspace: Workspace, kind: Kind, found: Curated, version: str) -> Row:
    """A curated environment as a row, which it is not: it has no key, and nobody changes it."""
    name = PREFIX + found.name
    properties = found.properties(version or found.version)
    if not version:
        properties = {key: properties[key] for key in ("description", "tags", "properties", "isArchived")}
    return Row(
        pk=0,
        scope=workspace.id,
        type=kind.type,
        parent=name if version else "",
        parent_name=name if version else "",
        name=version or name,
        state="Succeeded",
        archived=False,
        generation=1,
        counter=int(found.version) + 1,
        fingerprint="",
        body={"properties": properties},
        server={},
        created_at=SINCE_MS,
        created_by=BY,
        created_by_type="Application",
        modified_at=SINCE_MS,
        modified_by=BY,
        modified_by_type="Application",
    )
