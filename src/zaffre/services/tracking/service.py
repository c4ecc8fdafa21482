"""The one face of tracking: what the job service, the history plane and MLflow's protocol all call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zaffre.services.tracking.evaluation_datasets import EvaluationDatasets
from zaffre.services.tracking.experiments import ACTIVE, Experiments
from zaffre.services.tracking.issues import Issues
from zaffre.services.tracking.label_schemas import LabelSchemas
from zaffre.services.tracking.logged_models import LoggedModels
from zaffre.services.tracking.mcp_endpoints import McpEndpoints
from zaffre.services.tracking.mcp_servers import McpServers
from zaffre.services.tracking.review_queues import ReviewQueues
from zaffre.services.tracking.runs import Runs
from zaffre.services.tracking.scorers import Scorers
from zaffre.services.tracking.trace_metrics import TraceMetrics
from zaffre.services.tracking.traces import Traces
from zaffre.store.database import Database
from zaffre.store.tracking.records import Experiment, NewRun, Run, RunHead
from zaffre.store.unit import Unit

PAGE = 1000


class Tracking:
    """What it holds has everything; the methods here are what others than MLflow need.

    Those that take a unit are called inside `Database.write`, so that a job and its run are made in one transaction.
    """

    def __init__(self, database: Database) -> None:
        self.runtime = database.runtime
        self.experiments = Experiments(database)
        self.runs = Runs(database, self.experiments)
        self.models = LoggedModels(database, self.experiments)
        self.traces = Traces(database, self.experiments)
        self.trace_metrics = TraceMetrics(database)
        self.evaluation_datasets = EvaluationDatasets(database, self.experiments)
        self.label_schemas = LabelSchemas(database, self.experiments)
        self.review_queues = ReviewQueues(database, self.experiments)
        self.scorers = Scorers(database, self.experiments)
        self.issues = Issues(database, self.experiments)
        self.mcp_servers = McpServers(database)
        self.mcp_endpoints = McpEndpoints(database)

    def ensure_experiment(self, unit: Unit, scope: str, name: str) -> Experiment:
        """The active experiment of that name, made if there is none. Raises Conflict when it is deleted."""
        return self.experiments.ensure(unit, scope, name)

    def create_run(
        self,
        unit: Unit,
        scope: str,
        run_id: str,
        experiment: int,
        *,
        origin: str,
        status: str,
        display_name: str,
        user: str,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        parent: str | None = None,
        hidden: bool = False,
        started: int | None = None,
    ) -> RunHead:
        """Make a run; `experiment` is the experiment's key. Raises Conflict when the id is taken."""
        new = NewRun(
            scope=scope,
            id=run_id,
            experiment=experiment,
            origin=origin,
            status=status,
            display_name=display_name,
            user=user,
            description=description,
            hidden=hidden,
            parent=parent,
            properties=dict(properties or {}),
            started_at=started,
            tags=dict(tags or {}),
        )
        return self.runs.create(unit, new).head

    def set_status(
        self,
        unit: Unit,
        scope: str,
        run_id: str,
        expected: tuple[str, ...],
        new: str,
        *,
        error: Mapping[str, Any] | None = None,
        started: int | None = None,
        ended: int | None = None,
    ) -> bool:
        """The guarded change of a run's status, with its event; False when it was in none of `expected`."""
        return self.runs.set_status(unit, scope, run_id, expected, new, error=error, started=started, ended=ended)

    async def get_run(self, scope: str, run_id: str) -> Run:
        """The run with its tags, params, newest metrics and links. Raises NotFound."""
        return await self.runs.get(scope, run_id)

    async def search_runs(
        self,
        scope: str,
        experiment_ids: Sequence[str],
        *,
        filter_: str | None = None,
        lifecycles: tuple[str, ...] = (ACTIVE,),
        order_by: Sequence[str] = (),
        token: str | None = None,
        limit: int = PAGE,
    ) -> tuple[list[Run], str | None]:
        """A page of runs in MLflow's search language, and the token of the next page if there is one."""
        return await self.runs.search(scope, experiment_ids, filter_, lifecycles, order_by, token, limit)
