"""Runs as the run history sees them: one answer for jobs and for runs that MLflow made."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import InvalidInput, NotFound
from zaffre.services.kinds.job_data import DATA_TYPES
from zaffre.services.places import Places
from zaffre.services.tracking.runs import apply_tags
from zaffre.services.workspaces import Workspace
from zaffre.store import jobs
from zaffre.store.database import Database
from zaffre.store.jobs import JobRow
from zaffre.store.tracking import runs
from zaffre.store.tracking.records import Run
from zaffre.store.unit import Actor, Unit

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
        self, workspace: Workspace, run_id: str, after: int | None, limit: int
    ) -> tuple[list[tuple[Run, JobRow | None]], int | None]:
        """A page of the runs directly below one, with the jobs some of them are, and where the next page begins."""

        def work(conn: sa.Connection) -> tuple[list[tuple[Run, JobRow | None]], int | None] | None:
            if runs.find(conn, workspace.id, run_id) is None:
                return None
            found = runs.children(conn, workspace.id, run_id, after=after, limit=limit + 1)
            page = runs.with_data(conn, found[:limit])
            known = {job.run: job for job in jobs.of_runs(conn, [run.head.pk for run in page])}
            following = page[-1].head.pk if len(found) > limit else None
            return [(run, known.get(run.head.pk)) for run in page], following

        found = await self._database.read(work)
        if found is None:
            raise _missing(workspace, run_id)
        return found

    async def resolve(self, workspace: Workspace, asset: str, field: str) -> tuple[str, str] | None:
        """The datastore address and the type of an output of a job or of a version of data or of a model; None for none."""
        if match := _OUTPUT.fullmatch(asset):
            job = await self._database.read(lambda conn: jobs.get(conn, workspace.id, match["job"]))
            output = job.body["properties"]["outputs"].get(match["name"]) if job is not None else None
            if job is None or output is None:
                return None
            return job.server["resolved"]["outputs"][match["name"]]["uri"], _as_data(output["jobOutputType"])
        try:
            found = await self._places.asset(workspace, asset, field)
        except NotFound:
            return None
        properties = found.row.body["properties"]
        uri: str = properties.get("dataUri") or properties["modelUri"]
        return uri, _as_data(properties.get("dataType") or properties["modelType"])

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


def _as_data(kind: str) -> str:
    """A model is told as a folder: the SDK fails on the other words (wire.md §8.3)."""
    return kind if kind in DATA_TYPES else "uri_folder"


def _missing(workspace: Workspace, run_id: str) -> NotFound:
    return NotFound(f"There is no run '{run_id}' in workspace '{workspace.name}'.", code="RunNotFound")
