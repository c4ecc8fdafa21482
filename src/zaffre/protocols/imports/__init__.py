"""Zaffre's own routes for `zaffre import`: what MLflow's operations cannot say, the ids and times things had elsewhere."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import WORKSPACE, Handler, Route
from zaffre.protocols.imports import requests
from zaffre.services.imports import (
    ImportedExperiment,
    ImportedLoggedModel,
    ImportedModel,
    ImportedRun,
    ImportedVersion,
    Imports,
)

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

    async def put_logged_model(call: Call) -> Response:
        asked = await call.parse(requests.LoggedModel)
        given = ImportedLoggedModel(
            id=asked.model_id,
            experiment_id=asked.experiment_id,
            name=asked.name,
            status=asked.status,
            status_message=asked.status_message,
            model_type=asked.model_type,
            source_run=asked.source_run_id,
            created_at=asked.creation_timestamp_ms,
            modified_at=asked.last_updated_timestamp_ms,
            tags=asked.tags,
            params=asked.params,
        )
        lifecycle, made = await imports.logged_model(call.actor, call.workspace.id, given)
        return json_answer({"lifecycle_stage": lifecycle, "made": made})

    async def put_registered_model(call: Call) -> Response:
        asked = await call.parse(requests.RegisteredModel)
        given = ImportedModel(
            name=asked.name,
            description=asked.description,
            created_at=asked.creation_timestamp,
            modified_at=asked.last_updated_timestamp,
            tags=asked.tags,
            aliases=asked.aliases,
        )
        return json_answer({"made": await imports.registered_model(call.actor, call.workspace, given)})

    async def put_model_version(call: Call) -> Response:
        asked = await call.parse(requests.ModelVersion)
        given = ImportedVersion(
            name=asked.name,
            version=asked.version,
            source=asked.source,
            run_id=asked.run_id,
            run_link=asked.run_link,
            model_id=asked.model_id,
            description=asked.description,
            stage=asked.current_stage,
            user=asked.user_id,
            created_at=asked.creation_timestamp,
            modified_at=asked.last_updated_timestamp,
            tags=asked.tags,
        )
        await imports.model_version(call.actor, call.workspace, given)
        return json_answer({})

    return [
        _route("logged-models", put_logged_model, "Import_LoggedModel", "workspaces/experiments/models/write"),
        _route("registered-models", put_registered_model, "Import_RegisteredModel", "workspaces/models/write"),
        _route("model-versions", put_model_version, "Import_ModelVersion", "workspaces/models/versions/write"),
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
