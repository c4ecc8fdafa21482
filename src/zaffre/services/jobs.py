"""Jobs as the control plane knows them: submitted, read, listed, cancelled. What runs them is the job controller."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from zaffre.errors import Conflict, InvalidInput
from zaffre.services import lineage
from zaffre.services.job_removal import refuse_if_kept, remove
from zaffre.services.job_sources import Checks, JobSources
from zaffre.services.kinds.base import Document, Kind
from zaffre.services.places import Places
from zaffre.services.registries import curated_reference
from zaffre.services.resources import ListQuery, Resources, Written, missing
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.experiments import ACTIVE
from zaffre.services.workspaces import Workspace, ensure_open
from zaffre.store import jobs, operations
from zaffre.store.database import Database
from zaffre.store.jobs import JobRow, JobSelection
from zaffre.store.resources import Cursor, Row
from zaffre.store.tracking import runs
from zaffre.store.tracking.records import RunHead
from zaffre.store.unit import Actor, Unit

MUTABLE = ("displayName", "description", "tags", "isArchived", "properties", "services")
WHOLE = ("inputs", "outputs", "environmentVariables")
FILLED = ("status", "parameters")
DELETE = "delete"  # in what we fill: the job goes as soon as it is over


class Jobs:
    """`put`, `get`, `list` and `delete` as the generic provider asks them, and `cancel`."""

    def __init__(
        self, database: Database, resources: Resources, places: Places, tracking: Tracking, checks: Checks, node: str
    ) -> None:
        """`node` names the home whose controller brings the jobs that come here to their end."""
        self._database = database
        self._resources = resources
        self._places = places
        self._tracking = tracking
        self._checks = checks
        self._sources = JobSources(resources, places, checks)
        self.kinds = resources.kinds
        self.node = node

    async def find(self, workspace: Workspace, name: str) -> JobRow:
        found = await self._database.read(lambda conn: jobs.get(conn, workspace.id, name))
        if found is None:
            raise missing(workspace, self.kinds["workspaces/jobs"], "", name)
        return found

    async def get(self, workspace: Workspace, kind: Kind, parent: str, name: str) -> Row:
        """The job; a run that is no job is one without properties: the SDK then asks the run history for it."""

        def work(conn: sa.Connection) -> Row | None:
            found = jobs.get(conn, workspace.id, name)
            if found is not None:
                return _read(conn, found)
            head = runs.head(conn, workspace.id, name)
            return None if head is None else _bare(head)

        row = await self._database.read(work)
        if row is None:
            raise missing(workspace, self.kinds["workspaces/jobs"], "", name)
        return row

    async def put(
        self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str, body: Document
    ) -> Written:
        kind.check_name(name)
        sent = body.get("properties")
        body = kind.accept(body)
        properties = body["properties"]
        existing = await self._database.read(lambda conn: jobs.get(conn, workspace.id, name))
        if existing is not None:
            named = {part for part, value in (sent or {}).items() if value is not None}
            return await self._change(actor, workspace, existing, properties, named)
        resolved = await self._resolve(workspace, name, properties)

        parent_run = properties.get("parentJobName") or None

        def work(unit: Unit) -> Written:
            ensure_open(unit, workspace)
            if jobs.get(unit.conn, workspace.id, name) is not None:
                raise Conflict(f"Job '{name}' was submitted by another request at the same moment.")
            refuse_if_kept(unit.conn, workspace, name, resolved["outputs"].values())
            if parent_run and runs.find(unit.conn, workspace.id, parent_run) is None:
                raise InvalidInput(
                    f"Field 'properties.parentJobName': there is no job '{parent_run[:200]}' in workspace '{workspace.name}'.",
                    code="InvalidField",
                    target="properties.parentJobName",
                )
            experiment = self._tracking.ensure_experiment(unit, workspace.id, properties["experimentName"])
            run = self._tracking.create_run(
                unit,
                workspace.id,
                name,
                experiment.pk,
                origin="job",
                status=jobs.NOT_STARTED,
                display_name=properties.get("displayName") or name,
                description=properties.get("description"),
                user=actor.name,
                properties=properties["properties"],
                tags=properties["tags"],
                parent=parent_run,
                hidden=properties["isArchived"],
            ).pk
            jobs.insert(unit, actor, run, workspace.id, name, self.node, body, {"resolved": resolved})
            unit.audit(actor, "workspaces/jobs/write", f"{workspace.path}/jobs/{name}", detail={"created": True})
            lineage.note(unit, workspace.id, lineage.JOBS, name, properties)
            lineage.note_outputs(unit, workspace.id, name, resolved["outputs"])
            unit.emit(workspace.id, "jobs", f"{workspace.id}/{name}", {"status": jobs.NOT_STARTED})
            job = jobs.get(unit.conn, workspace.id, name)
            assert job is not None, "the job was inserted in this transaction"
            return Written(row=_read(unit.conn, job), created=True)

        return await self._database.write(work)

    async def delete(self, actor: Actor, workspace: Workspace, kind: Kind, parent: str, name: str) -> str | None:
        """Delete a job that is over at once; one that is not is cancelled first, and its controller then deletes it."""
        operation = self._database.runtime.guid()

        def work(unit: Unit) -> str | None:
            found = jobs.get(unit.conn, workspace.id, name, lock=True)
            if found is None:
                return None
            unit.audit(actor, "workspaces/jobs/delete", f"{workspace.path}/jobs/{name}")
            if found.status in jobs.TERMINAL:
                remove(unit, workspace, found)
                return None
            operations.begin(unit, operation, workspace.id, f"jobs/{name}")
            jobs.update(unit, found.run, cancel_requested=True, server={**found.server, DELETE: True})
            jobs.move(unit, found, jobs.CANCELABLE, jobs.CANCEL_REQUESTED)
            return operation

        return await self._database.write(work)

    async def page(
        self, workspace: Workspace, kind: Kind, parent: str, query: ListQuery
    ) -> tuple[list[Row], Cursor | None]:
        if query.order != "created":
            raise InvalidInput(
                "Query '$orderBy': jobs are listed in the order they were made.", code="InvalidField", target="$orderBy"
            )
        wanted = JobSelection(
            hidden=query.archived,
            job_type=query.job_type,
            created_by=query.created_by,
            tags=query.tags,
            properties=query.properties,
            scheduled=query.scheduled,
            schedule=query.schedule,
            asset=query.asset,
            descending=query.descending,
            after=query.after.pk if query.after else None,
            offset=query.offset,
            limit=query.limit + 1,
        )

        def work(conn: sa.Connection) -> tuple[list[Row], Cursor | None]:
            found = jobs.listing(conn, workspace.id, wanted)
            more = len(found) > query.limit
            found = found[: query.limit]
            tags = runs.tags_of(conn, [job.run for job in found])
            return [self._row(job, tags[job.run]) for job in found], Cursor(pk=found[-1].run) if more else None

        return await self._database.read(work)

    async def latest(self, workspace: Workspace, kind: Kind, rows: list[Row]) -> dict[int, str | None]:
        return {}

    async def cancel(self, actor: Actor, workspace: Workspace, name: str) -> str | None:
        """Ask for the end of a job. The operation that ends with it, or None when it has ended already."""
        operation = self._database.runtime.guid()

        def work(unit: Unit) -> str | None:
            found = jobs.get(unit.conn, workspace.id, name, lock=True)
            if found is None:
                raise missing(workspace, self.kinds["workspaces/jobs"], "", name)
            if found.status in jobs.TERMINAL:
                return None
            if jobs.move(unit, found, jobs.CANCELABLE, jobs.CANCEL_REQUESTED):
                jobs.update(unit, found.run, cancel_requested=True)
                unit.audit(actor, "workspaces/jobs/cancel", f"{workspace.path}/jobs/{name}")
            operations.begin(unit, operation, workspace.id, f"jobs/{name}")
            return operation

        return await self._database.write(work)

    async def _change(
        self, actor: Actor, workspace: Workspace, existing: JobRow, given: Document, named: set[str]
    ) -> Written:
        """A PUT of a job that exists may change what describes it, nothing that ran.

        Fields that were not `named` stay: older SDKs send back a job they fetched without some of them.
        """
        kept = existing.body["properties"]
        for name in sorted(named - {*MUTABLE, *FILLED}):
            if not _says_the_same(given.get(name), kept.get(name), whole=name in WHOLE):
                raise Conflict(
                    f"Job '{existing.id}' exists with another '{name}'; what a job runs cannot be changed. Submit it under a new name.",
                    target=f"properties.{name}",
                )

        def work(unit: Unit) -> Written:
            found = jobs.get(unit.conn, workspace.id, existing.id)
            if found is None:
                raise missing(workspace, self.kinds["workspaces/jobs"], "", existing.id)
            if found.server.get(DELETE):
                raise Conflict(f"Job '{found.id}' is being deleted. Repeat the request when that is done.")
            about: dict[str, Any] = {}
            for part, column in (("description", "description"), ("isArchived", "hidden")):
                if part in named:
                    about[column] = given[part]
            if given.get("displayName"):
                about["display_name"] = given["displayName"]
            if about.get("hidden") is False:  # restored, whoever it was that took it out of the lists
                about["lifecycle"] = ACTIVE
            runs.update(unit, found.run, **about, properties={**found.properties, **given["properties"]})
            runs.set_tags(unit, found.run, given["tags"])
            unit.audit(actor, "workspaces/jobs/write", f"{workspace.path}/jobs/{found.id}", detail={"created": False})
            fresh = jobs.get(unit.conn, workspace.id, found.id)
            assert fresh is not None, "the job was found in this transaction"
            return Written(row=_read(unit.conn, fresh), created=False)

        return await self._database.write(work)

    async def _resolve(self, workspace: Workspace, name: str, properties: Document) -> Document:
        """Everything a job refers to, found and pinned at the door: labels may move while it waits."""
        found = await environment(self._places, workspace, properties["environmentId"], "properties.environmentId")
        self._checks.environment(*(found.get(part) for part in ("image", "conda", "curated")))
        return {"environment": found, **await self._sources.resolve(workspace, name, properties)}

    @staticmethod
    def _row(job: JobRow, tags: dict[str, str]) -> Row:
        """A job in the form the generic provider shapes: what the run owns laid over what was submitted."""
        properties = {
            **job.body["properties"],
            "displayName": job.display_name,
            "description": job.description,
            "isArchived": job.hidden,
            "properties": job.properties,
            "tags": tags,
        }
        return Row(
            pk=job.run,
            scope=job.scope,
            type="workspaces/jobs",
            parent="",
            name=job.id,
            state=job.status,
            archived=job.hidden,
            generation=1,
            counter=1,
            fingerprint="",
            body={**job.body, "properties": properties},
            server=job.server,
            created_at=job.created_at,
            created_by=job.created_by,
            created_by_type=job.created_by_type,
            modified_at=job.modified_at,
            modified_by=job.created_by,
            modified_by_type=job.created_by_type,
        )


def _bare(head: RunHead) -> Row:
    """A run that MLflow's clients made, in the form of a job that has nothing to be submitted again."""
    return Row(
        pk=head.pk,
        scope=head.scope,
        type="workspaces/jobs",
        parent="",
        name=head.id,
        state=head.status,
        archived=head.archived,
        generation=1,
        counter=1,
        fingerprint="",
        body={"properties": None},
        server={},
        created_at=head.created_at,
        created_by=head.user,
        created_by_type="User",
        modified_at=head.modified_at,
        modified_by=head.user,
        modified_by_type="User",
    )


def _says_the_same(given: Any, kept: Any, *, whole: bool) -> bool:
    """Whether `given` names nothing but what is kept; if `whole`, all of that too. A null names nothing."""
    if not isinstance(given, dict) or not isinstance(kept, dict):
        return bool(given == kept)
    named = {name: value for name, value in given.items() if value is not None}
    if whole and named.keys() != {name for name, value in kept.items() if value is not None}:
        return False
    return all(_says_the_same(value, kept.get(name), whole=False) for name, value in named.items())


def _read(conn: sa.Connection, job: JobRow) -> Row:
    return Jobs._row(job, runs.tags(conn, job.run))


async def environment(places: Places, workspace: Workspace, text: str, field: str) -> Document:
    """The definition of an environment as `{image, conda}`, `{curated}` or `{context}`. Raises an error that names `field`."""
    curated = curated_reference(text, field)
    if curated is not None:
        return {"curated": curated}
    found = await places.asset(workspace, text, field, kinds=("environments",))
    properties: dict[str, Any] = found.row.body["properties"]
    build = properties.get("build")
    if build:
        place = await places.resolve(workspace, build["contextUri"], f"{field}.build.contextUri")
        files = {"account": place.account, "container": place.container, "path": place.path}
        return {"context": {**files, "dockerfile": build.get("dockerfilePath") or "Dockerfile"}}
    return {"image": properties.get("image"), "conda": properties.get("condaFile")}
