"""Every ARM resource that is no job: read, write, list and delete, the same for all kinds."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput, NotFound
from zaffre.services import assets, lineage
from zaffre.services.kinds.base import Document, Kind
from zaffre.services.lineage import Related
from zaffre.services.workspaces import Workspace, ensure_open
from zaffre.store import operations, resources
from zaffre.store.database import Database
from zaffre.store.filters import Pair
from zaffre.store.resources import Cursor, Row, Selection
from zaffre.store.seal import Vault
from zaffre.store.tracking import runs
from zaffre.store.unit import Actor, Unit

PAGE = 100
DELETED_AT_ONCE = 50  # versions of an asset that one transaction deletes: others want to write, too
LABELS = ("latest", "default")
Guard = Callable[[Unit, Row | None], None]


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows a list answers, and in which order. `after` is where the page before ended.

    `tags` and `properties` are pairs that must all be there; `fields` are texts among the resource's properties,
    `without` such as must not be there; `include_all` asks for what a list else passes over;
    `search` is part of a name, `description` part of a description. What only jobs have: `job_type`, `scheduled`,
    `schedule` (the id of the schedule that made them) and `asset` (the name of an asset they make).
    """

    archived: bool | None = False
    fingerprint: str | None = None
    names: tuple[str, ...] = ()
    search: str | None = None
    description: str | None = None
    created_by: str | None = None
    default_only: bool = False
    tags: tuple[Pair, ...] = ()
    properties: tuple[Pair, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    without: tuple[tuple[str, str], ...] = ()
    include_all: bool = False
    order: str = "created"
    descending: bool = True
    after: Cursor | None = None
    offset: int = 0
    limit: int = PAGE
    job_type: str | None = None
    scheduled: bool | None = None
    schedule: str | None = None
    asset: str | None = None


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A row after a write; `operation` is set when a controller has yet to bring it to life."""

    row: Row
    created: bool
    operation: str | None = None


class Resources:
    """The generic service. `parent` is the asset's or endpoint's name for what lies below one, else empty."""

    def __init__(self, database: Database, vault: Vault, kinds: dict[str, Kind]) -> None:
        self.database = database
        self.vault = vault
        self.kinds = kinds

    async def get(self, workspace: Workspace, kind: Kind, parent: str, name: str) -> Row:
        row = await self.database.read(lambda conn: resources.get(conn, workspace.id, kind.type, name, parent))
        if row is None:
            raise missing(workspace, kind, parent, name)
        return row

    async def labelled(self, workspace: Workspace, kind: Kind, parent: str, label: str) -> Row:
        """The version of an asset under a label: `latest` and `default` are the newest that is not archived."""
        container = self.kinds[kind.type.rpartition("/")[0]]
        if label.lower() not in LABELS:
            raise NotFound(
                f"There is no label '{label[:100]}' of {container.segment} '{parent}'; every asset has {' and '.join(LABELS)}."
            )
        row = await self.database.read(
            lambda conn: assets.latest_version(conn, workspace.id, container.type, parent, archived=False)
        )
        if row is None:
            raise NotFound(
                f"There is no version of {container.segment} '{parent}' in workspace '{workspace.name}' that is not archived."
            )
        return row

    async def lineage(self, workspace: Workspace, kind: Kind, parent: str, name: str) -> dict[str, list[Related]]:
        """Who made a version, who uses it, and what it uses."""
        row = await self.get(workspace, kind, parent, name)
        return await self.database.read(
            lambda conn: lineage.about_version(conn, workspace.id, kind.type, row.parent, row.name)
        )

    async def job_lineage(self, workspace: Workspace, job: str) -> dict[str, list[Related]]:
        """The assets a job uses and those made of its outputs. Raises NotFound."""

        def work(conn: sa.Connection) -> dict[str, list[Related]] | None:
            known = runs.find(conn, workspace.id, job) is not None
            return lineage.about_job(conn, workspace.id, job) if known else None

        found = await self.database.read(work)
        if found is None:
            raise missing(workspace, self.kinds[lineage.JOBS], "", job)
        return found

    async def latest(self, workspace: Workspace, kind: Kind, rows: list[Row]) -> dict[int, str | None]:
        """For containers: the name of the newest version that is not archived, by the container's key."""

        if not kind.versioned or not rows:
            return {}
        names = {row.pk: row.name for row in rows}
        newest = await self.database.read(
            lambda conn: resources.newest(conn, workspace.id, f"{kind.type}/versions", list(names.values()))
        )
        return {pk: newest.get(resources.key(name)) for pk, name in names.items()}

    async def arrive(self, workspace: Workspace, kind: Kind, body: Document) -> Document:
        """The body, which its kind has accepted, with what only a look at the store can fill in or refuse."""
        return body

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
        """Make or change the resource.

        `server` is merged into what we fill. `guard` may refuse, in the same transaction, with the row as it stands.
        `secrets_once` are put only when the resource is new and the body brings none of that name.
        """
        await self._check_name(workspace, kind, parent, name)
        secrets, body = kind.take_secrets(body)
        body = kind.accept(body)
        body["properties"] = kind.addressed(body["properties"], parent, name)
        seen = lineage.Seen()
        if kind.type.endswith("/versions"):
            await self._check_name(workspace, self.kinds[kind.type.rpartition("/")[0]], "", parent)
            known = await self.database.read(lambda conn: resources.get(conn, workspace.id, kind.type, name, parent))
            if known is None or known.fingerprint != kind.fingerprint(body):
                seen = await self.database.read(lambda conn: lineage.seen(conn, workspace.id, body["properties"]))
                body = await self.arrive(workspace, kind, body)
        operation = self.database.runtime.guid() if kind.active else None

        def work(unit: Unit) -> Written:
            ensure_open(unit, workspace)
            if kind.type.endswith("/versions"):
                row, created = assets.put_version(
                    unit, actor, workspace.id, kind.type.rpartition("/")[0], parent, name, body, {}, kind.fingerprint(body),
                    container_body=_container_body(body), mutable=kind.mutable,
                )  # fmt: skip
                if created:
                    lineage.refuse_if_lost(unit, workspace.id, seen)
                return Written(row=row, created=created)
            if guard is not None:
                guard(unit, resources.get(unit.conn, workspace.id, kind.type, name, parent, lock=True))
            filled = {**(server or {}), **({"operation": operation} if operation else {})}
            row, created = self._upsert(unit, actor, workspace, kind, parent, name, body, filled, operation)
            for key, value in (secrets_once or {}).items():
                if created and key not in secrets:
                    self.vault.put(unit, workspace.id, f"{kind.segment}/{resources.key(name)}/{key}", value)
            for key, value in secrets.items():
                self.vault.put(unit, workspace.id, f"{kind.segment}/{resources.key(name)}/{key}", value)
            return Written(row=row, created=created, operation=operation)

        return await self.database.write(work)

    async def _check_name(self, workspace: Workspace, kind: Kind, parent: str, name: str) -> None:
        """Raise InvalidInput unless `name` may name one, or names one that MLflow made by its own, wider rule."""
        try:
            kind.check_name(name)
        except InvalidInput:
            if not await self.database.read(lambda conn: resources.get(conn, workspace.id, kind.type, name, parent)):
                raise

    async def delete(self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str) -> str | None:
        """Delete it. The id of the operation when a controller has to end something first, else None."""
        operation = self.database.runtime.guid() if kind.active else None
        if kind.versioned:
            await self._delete_versions(actor, workspace, kind, name)

        def work(unit: Unit) -> str | None:
            row = resources.get(unit.conn, workspace.id, kind.type, name, parent, lock=True)
            if row is None:
                return None
            self.may_delete(unit, workspace, row)
            if kind.type.endswith("/versions"):
                assets.delete_version(unit, actor, workspace.id, row)
                return None
            unit.audit(actor, f"{kind.type}/delete", _target(workspace, kind, parent, name))
            unit.emit(workspace.id, kind.type, row.name)
            if operation is not None:
                self.begin_delete(unit, workspace, row, operation)
                return operation
            for version in (
                resources.listing(unit.conn, workspace.id, f"{kind.type}/versions", parent=name)
                if kind.versioned
                else ()
            ):
                assets.delete_version(unit, actor, workspace.id, version, all_go=True)  # made since
            lineage.forget(unit, workspace.id, kind.type, resources.subject_of(parent, row.name))
            resources.delete(unit, row.pk)
            self.vault.forget(unit, workspace.id, f"{kind.segment}/{resources.key(name)}/")
            return None

        return await self.database.write(work)

    def may_delete(self, unit: Unit, workspace: Workspace, row: Row) -> None:
        """Raise Conflict for what must stay; a kind's service may say more."""
        if row.server.get("builtin"):
            raise Conflict(f"'{row.name}' belongs to the workspace itself and is deleted only with it.")

    async def _delete_versions(self, actor: Actor, workspace: Workspace, kind: Kind, name: str) -> None:
        """Delete the versions of an asset, some at a time. Nothing is deleted while something needs one of them."""
        type_ = f"{kind.type}/versions"

        def check(conn: sa.Connection) -> None:
            names = [row.name for row in resources.listing(conn, workspace.id, type_, parent=name)]
            lineage.refuse_if_needed(conn, workspace.id, type_, name, names, all_go=True)

        def some(unit: Unit) -> bool:
            found = resources.listing(unit.conn, workspace.id, type_, parent=name, limit=DELETED_AT_ONCE)
            for row in found:
                assets.delete_version(unit, actor, workspace.id, row, all_go=True)
            return len(found) == DELETED_AT_ONCE

        await self.database.read(check)
        while await self.database.write(some):
            pass

    def begin_delete(self, unit: Unit, workspace: Workspace, row: Row, operation: str) -> None:
        """Mark an active resource; its controller ends what it runs and removes the row."""
        operations.begin(unit, operation, workspace.id, f"{row.type}/{row.parent}/{row.name}")
        resources.update(unit, None, row.pk, state="Deleting", server={**row.server, "operation": operation})

    async def page(
        self, workspace: Workspace, kind: Kind, parent: str, query: ListQuery
    ) -> tuple[list[Row], Cursor | None]:
        """A page, and where it ended if there is more."""
        wanted = Selection(
            # Azure looks for a code's twin across all code assets, whatever name the address has (wire.md §12.21).
            parent=None if query.fingerprint is not None else parent,
            archived=query.archived,
            fingerprint=query.fingerprint,
            names=query.names,
            search=query.search,
            description=query.description,
            created_by=query.created_by,
            default_only=query.default_only,
            tags=query.tags,
            tags_at=("tags",) if kind.tracked else ("properties", "tags"),
            properties=query.properties,
            fields=query.fields,
            without=query.without,
            unlisted=() if query.archived is None else kind.unlisted,
            order=query.order,
            descending=query.descending,
            after=query.after,
            offset=query.offset,
            limit=query.limit + 1,
        )
        rows = await self.database.read(lambda conn: resources.select(conn, workspace.id, kind.type, wanted))
        more = len(rows) > query.limit
        rows = rows[: query.limit]
        return rows, wanted.cursor(rows[-1]) if more else None

    def _upsert(
        self,
        unit: Unit,
        actor: Actor,
        workspace: Workspace,
        kind: Kind,
        parent: str,
        name: str,
        body: Document,
        server: Document,
        operation: str | None,
    ) -> tuple[Row, bool]:
        archived = bool(body["properties"].get("isArchived"))
        state = "Creating" if kind.active else "Succeeded"
        created = resources.insert(
            unit, actor, workspace.id, kind.type, name, body, server, parent=parent, state=state, archived=archived
        )
        row = resources.get(unit.conn, workspace.id, kind.type, name, parent, lock=True)
        assert row is not None, "the row was inserted or found in this transaction"
        if created:
            assets.note_container(unit, workspace.id, row)
        else:
            if row.state == "Deleting":
                raise Conflict(f"'{row.name}' is being deleted. Repeat the request when that is done.")
            if row.server.get("builtin"):
                body = {**row.body, **body}
            lasting = {
                name: row.body["properties"][name] for name in kind.kept if row.body["properties"].get(name) is not None
            }
            body = {**body, "properties": {**lasting, **body["properties"]}}
            resources.update(
                unit, actor, row.pk, body=body, server={**row.server, **server}, archived=archived,
                state=("Updating" if row.server.get("ready") else "Creating") if kind.active else row.state,
            )  # fmt: skip
        lineage.note(unit, workspace.id, kind.type, resources.subject_of(parent, name), body["properties"])
        if operation is not None:
            operations.begin(unit, operation, workspace.id, f"{kind.type}/{parent}/{name}")
        unit.audit(actor, f"{kind.type}/write", _target(workspace, kind, parent, name), detail={"created": created})
        unit.emit(workspace.id, kind.type, name)
        fresh = resources.by_pk(unit.conn, row.pk)
        assert fresh is not None, "the row was written in this transaction"
        return fresh, created


def missing(workspace: Workspace, kind: Kind, parent: str, name: str) -> NotFound:
    what = kind.type.split("/")
    if what[-1] == "versions":
        one = _singular(what[-2])
        return NotFound(f"There is no version '{name}' of {one} '{parent}' in workspace '{workspace.name}'.")
    of = f" of {_singular(what[-2])} '{parent}'" if parent else ""
    return NotFound(f"There is no {_singular(what[-1])} '{name}'{of} in workspace '{workspace.name}'.")


def _singular(segment: str) -> str:
    """`onlineEndpoints` as a sentence calls one of them: `online endpoint`."""
    return re.sub("([A-Z])", lambda match: f" {match[1].lower()}", segment.removesuffix("s"))


def _container_body(body: Document) -> Document:
    made = assets.empty_container()
    if "dataType" in body["properties"]:
        made["properties"]["dataType"] = body["properties"]["dataType"]
    return made


def _target(workspace: Workspace, kind: Kind, parent: str, name: str) -> str:
    return f"{workspace.path}/{kind.segment}/{parent + '/' if parent else ''}{name}"
