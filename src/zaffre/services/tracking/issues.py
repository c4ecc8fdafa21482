"""Issues: what was found wrong with the traces of an experiment, by somebody or by a run that looked for it."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from zaffre.errors import NotFound, refused
from zaffre.services.tracking import filters, paging
from zaffre.services.tracking.experiments import Experiments
from zaffre.store.database import Database
from zaffre.store.tracking import issues as store
from zaffre.store.tracking import runs
from zaffre.store.tracking.issues import SEVERITIES, Issue
from zaffre.store.unit import Actor, Unit

PENDING = "pending"
STATUSES = (PENDING, "rejected", "resolved")
MOST_IN_NAME, MOST_IN_CREATOR = 250, 255


class NewIssue(msgspec.Struct, frozen=True, kw_only=True):
    experiment_id: str
    name: str
    description: str
    status: str = PENDING
    severity: str | None = None
    root_causes: list[str] = []
    categories: list[str] = []
    source_run_id: str | None = None
    created_by: str | None = None


class Issues:
    def __init__(self, database: Database, experiments: Experiments) -> None:
        self._database = database
        self._experiments = experiments

    async def create(self, actor: Actor, scope: str, new: NewIssue) -> Issue:
        """Raises NotFound when the run that is said to have found it is not there."""
        _check(new.name, new.status, new.severity)
        if new.created_by is not None and len(new.created_by) > MOST_IN_CREATOR:
            raise refused("created_by", f"'created_by' exceeds the maximum length of {MOST_IN_CREATOR} characters")
        id_ = f"iss-{self._database.runtime.hex_id()}"

        def work(unit: Unit) -> Issue:
            experiment = self._experiments.active(unit, scope, new.experiment_id)
            source = None
            if new.source_run_id is not None:
                found = runs.head(unit.conn, scope, new.source_run_id)
                if found is None:
                    raise NotFound(f"Run with id={new.source_run_id} not found", target="source_run_id")
                source = found.pk
            store.insert(
                unit,
                scope,
                id_,
                experiment=experiment.pk,
                name=new.name,
                description=new.description,
                status=new.status,
                severity=new.severity,
                root_causes=new.root_causes,
                categories=new.categories,
                source_run=source,
                created_by=new.created_by,
            )
            self._record(unit, actor, scope, id_)
            return _present(unit.conn, scope, id_)

        return await self._database.write(work)

    async def get(self, scope: str, id_: str) -> Issue:
        return await self._database.read(lambda conn: _present(conn, scope, id_))

    async def update(
        self,
        actor: Actor,
        scope: str,
        id_: str,
        *,
        name: str | None,
        description: str | None,
        status: str | None,
        severity: str | None,
    ) -> Issue:
        """Change what is not None."""
        _check(name, status, severity)
        given = {"name": name, "description": description, "status": status, "severity": severity}
        changed: dict[str, Any] = {field: value for field, value in given.items() if value is not None}

        def work(unit: Unit) -> Issue:
            if not store.update(unit, scope, id_, changed):
                raise _missing(id_)
            self._record(unit, actor, scope, id_)
            return _present(unit.conn, scope, id_)

        return await self._database.write(work)

    async def search(
        self,
        scope: str,
        experiment_id: str | None,
        filter_: str | None,
        token: str | None,
        limit: int,
        *,
        counted: bool,
    ) -> tuple[list[Issue], str | None]:
        """A page of issues, the gravest first; `counted` with the number of traces they were found in."""
        conditions = filters.parse(filter_, filters.ISSUES)

        def work(conn: sa.Connection) -> tuple[list[Issue], str | None]:
            return paging.found(
                token,
                limit,
                lambda after, most: store.search(conn, scope, experiment_id, conditions, after, most, counted=counted),
            )

        return await self._database.read(work)

    @staticmethod
    def _record(unit: Unit, actor: Actor, scope: str, which: str) -> None:
        unit.audit(actor, "workspaces/experiments/issues/write", f"{scope}/issues/{which}")


def _present(conn: sa.Connection, scope: str, id_: str) -> Issue:
    found = store.get(conn, scope, id_)
    if found is None:
        raise _missing(id_)
    return found


def _missing(id_: str) -> NotFound:
    return NotFound(f"Issue with ID '{id_}' not found", target="issue_id")


def _check(name: str | None, status: str | None, severity: str | None) -> None:
    if name is not None and len(name) > MOST_IN_NAME:
        raise refused("name", f"'name' exceeds the maximum length of {MOST_IN_NAME} characters")
    for field, value, words in (("status", status, STATUSES), ("severity", severity, SEVERITIES)):
        if value is not None and value not in words:
            raise refused(field, f"`{field}` must be one of {', '.join(words)}; got '{value[:50]}'.")
