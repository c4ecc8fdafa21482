"""Zaffre's own routes for `zaffre import`: what MLflow's operations cannot say, the ids and times things had elsewhere."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import WORKSPACE, Handler, Route
from zaffre.protocols.imports import requests
from zaffre.services.imports import ImportedExperiment, ImportedRun, Imports

PREFIX = f"/zaffre/v1{WORKSPACE}/import"


def routes(imports: Imports) -> list[Route]:
    async def put_experiment(call: Call) -> Response:
        asked = await call.parse(requests.Experiment)
        given = ImportedExperiment(
            id=asked.id,
            name=asked.name,
            tags=asked.tags,
            created_at=asked.creation_time,
            modified_at=asked.last_update_time,
        )
        found, made = await imports.experiment(call.actor, call.workspace.id, given)
        return json_answer({"id": found.id, "lifecycle_stage": found.lifecycle, "made": made})

    async def put_run(call: Call) -> Response:
        asked = await call.parse(requests.Run)
        given = ImportedRun(
            id=asked.id,
            experiment_id=asked.experiment_id,
            name=asked.name,
            user=asked.user,
            status=asked.status,
            started_at=asked.start_time,
            ended_at=asked.end_time,
            tags=asked.tags,
            params=asked.params,
        )
        return json_answer({"made": await imports.run(call.actor, call.workspace.id, given)})

    return [
        _route("experiments", put_experiment, "Import_Experiment", "workspaces/experiments/write"),
        _route("runs", put_run, "Import_Run", "workspaces/experiments/runs/write"),
    ]


def _route(path: str, handler: Handler, operation: str, action: str) -> Route:
    return Route(
        protocol="manage",
        method="PUT",
        template=f"{PREFIX}/{path}",
        handler=handler,
        operation=operation,
        action=action,
    )
