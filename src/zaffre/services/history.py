"""Runs as the run history sees them: one answer for jobs and for runs that MLflow made."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import InvalidInput, NotFound
from zaffre.services.job_sources import target_of
from zaffre.services.model_sources import uri_of
from zaffre.services.places import Places
from zaffre.services.run_filters import Wanted
from zaffre.services.tracking.experiments import ACTIVE
from zaffre.services.tracking.runs import apply_tags
from zaffre.services.workspaces import Workspace
from zaffre.store import jobs
from zaffre.store.database import Database
from zaffre.store.jobs import JobRow
from zaffre.store.tracking import runs
from zaffre.store.tracking.records import Run
from zaffre.store.unit import Actor, Unit

_PIECE = 200  # children read at a time while a filter looks for its own
_OUTPUT = re.compile(r"azureml://jobs/(?P<job>[^/]+)/outputs/(?P<name>[^/]+)")


class Change(msgspec.Struct, rename="camel", kw_only=True):
    """What a client may change of a run. Absent and null fields stay as they are; tags and properties are merged."""

    hidden: bool | None = None
    display_name: str | None = None
    description: str | None = None
    tags: dict[str, str] | None = None
    properties: dict[str, str] | None = None


class History:
    def __init__(self, database: Database, places: Places) -> None:
        self._database = database
        self._places = places

    async def run(self, workspace: Workspace, run_id: str) -> tuple[Run, JobRow | None]:
        """The run, and its job if it has one. Raises NotFound."""

        def work(conn: sa.Connection) -> tuple[Run | None, JobRow | None]:
            return runs.get(conn, workspace.id, run_id), jobs.get(conn, workspace.id, run_id)

        run, job = await self._database.read(work)
        if run is None:
            raise _missing(workspace, run_id)
        return run, job

    async def children(
        self, workspace: Workspace, run_id: str, wanted: Wanted, after: int | None, limit: int
    ) -> tuple[list[tuple[Run, JobRow | None]], int | None]:
        """A page of the runs directly below one that are `wanted`, with the jobs some are, and the key it ended at if there are more."""

        def work(conn: sa.Connection) -> tuple[list[tuple[Run, JobRow | None]], int | None]:
            if runs.find(conn, workspace.id, run_id) is None:
                raise _missing(workspace, run_id)
            found: list[Run] = []
            last, piece = after, max(limit + 1, _PIECE)
            while len(found) <= limit:
                heads = runs.children(conn, workspace.id, run_id, after=last, limit=piece)
                active = [head for head in heads if head.lifecycle == ACTIVE]  # what MLflow deleted is in no list
                found += [run for run in runs.with_data(conn, active) if wanted(run)]
                if len(heads) < piece:
                    break
                last = heads[-1].pk
            page = found[:limit]
            known = {job.run: job for job in jobs.of_runs(conn, [run.head.pk for run in page])}
            following = page[-1].head.pk if len(found) > limit else None
            return [(run, known.get(run.head.pk)) for run in page], following

        return await self._database.read(work)

    async def resolve(
        self, workspace: Workspace, asset: str, field: str, kinds: tuple[str, ...]
    ) -> tuple[str, str] | None:
        """The datastore address and the type of an output of a job or of an asset of one of `kinds`; None for none."""
        if match := _OUTPUT.fullmatch(asset):
            job = await self._database.read(lambda conn: jobs.get(conn, workspace.id, match["job"]))
            output = job.body["properties"]["outputs"].get(match["name"]) if job is not None else None
            if job is None or output is None:
                return None
            return target_of(workspace, job, match["name"])["uri"], output["jobOutputType"]
        try:
            found = await self._places.asset(workspace, asset, field, kinds=kinds)
        except NotFound:
            return None
        properties = found.row.body["properties"]
        uri: str = properties.get("dataUri") or properties["modelUri"]
        if uri.startswith("/"):  # in our own storage, kept without the server's address
            uri = uri_of(workspace, await self._places.resolve(workspace, uri, field))
        uri = re.sub(r"\Aazureml://datastores/", f"azureml://{workspace.uri}/datastores/", uri)
        return uri, properties.get("dataType") or properties["modelType"]

    async def change(
        self, actor: Actor, workspace: Workspace, run_id: str, experiment: str | None, change: Change
    ) -> Run:
        """Change what describes a run. Raises NotFound when it is not in `experiment`, if one is named."""

        def work(unit: Unit) -> Run:
            head = runs.head(unit.conn, workspace.id, run_id)
            if head is None or (
                experiment is not None and experiment not in (head.experiment_name, head.experiment_id)
            ):
                raise _missing(workspace, run_id)
            if change.display_name is not None and not change.display_name.strip():
                raise InvalidInput(
                    "Field 'displayName': expected a name, got an empty text.",
                    code="InvalidField",
                    target="displayName",
                )
            values: dict[str, Any] = {
                name: value
                for name, value in (
                    ("hidden", change.hidden),
                    ("display_name", change.display_name),
                    ("description", change.description),
                )
                if value is not None
            }
            if change.hidden is False:  # restored, whoever it was that took it out of the lists
                values["lifecycle"] = ACTIVE
            if change.properties:
                values["properties"] = {**head.properties, **change.properties}
            runs.update(unit, head.pk, **values)
            apply_tags(unit, workspace.id, head.pk, change.tags or {})
            unit.audit(actor, "workspaces/runs/write", f"{workspace.path}/runs/{run_id}")
            unit.emit(workspace.id, "runs", run_id)
            fresh = runs.get(unit.conn, workspace.id, run_id)
            assert fresh is not None, "the run was found in this transaction"
            return fresh

        return await self._database.write(work)


def _missing(workspace: Workspace, run_id: str) -> NotFound:
    return NotFound(f"There is no run '{run_id}' in workspace '{workspace.name}'.", code="RunNotFound")
