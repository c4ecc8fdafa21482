"""MLflow's issues: what was found wrong with the traces of an experiment."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import quality_requests as requests
from zaffre.protocols.mlflow.shape import Document
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.issues import PENDING, NewIssue
from zaffre.store.tracking.issues import Issue

_READ, _WRITE = (f"workspaces/experiments/issues/{verb}" for verb in ("read", "write"))


class IssueHandlers:
    def __init__(self, tracking: Tracking) -> None:
        self._issues = tracking.issues

    def operations(self) -> Served:
        return {
            "createIssue": (self.create, _WRITE),
            "getIssue": (self.get, _READ),
            "updateIssue": (self.update, _WRITE),
            "searchIssues": (self.search, _READ),
        }

    async def create(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateIssue)
        new = NewIssue(
            experiment_id=required(asked.experiment_id, "experiment_id"),
            name=required(asked.name, "name"),
            description=required(asked.description, "description"),
            status=PENDING if asked.status is None else asked.status,
            severity=asked.severity,
            root_causes=asked.root_causes,
            categories=asked.categories,
            source_run_id=asked.source_run_id or None,
            created_by=asked.created_by or None,
        )
        return _answer(await self._issues.create(call.actor, call.workspace.id, new))

    async def get(self, call: Call) -> Response:
        return _answer(await self._issues.get(call.workspace.id, call.params["issue_id"]))

    async def update(self, call: Call) -> Response:
        asked = await parse(call, requests.UpdateIssue)
        changed = await self._issues.update(
            call.actor,
            call.workspace.id,
            call.params["issue_id"],
            name=asked.name or None,
            description=asked.description or None,
            status=asked.status,
            severity=asked.severity,
        )
        return _answer(changed)

    async def search(self, call: Call) -> Response:
        asked = await parse(call, requests.SearchIssues)
        found, token = await self._issues.search(
            call.workspace.id,
            asked.experiment_id or None,
            asked.filter_string,
            asked.page_token,
            asked.max_results,
            counted=asked.include_trace_count,
        )
        return json_answer({"issues": [_shape(one) for one in found], "next_page_token": token or ""})


def _answer(one: Issue) -> Response:
    return json_answer({"issue": _shape(one)})


def _shape(one: Issue) -> Document:
    optional = {
        "severity": one.severity,
        "root_causes": one.root_causes or None,
        "categories": one.categories or None,
        "source_run_id": one.source_run_id,
        "created_by": one.created_by,
        "trace_count": one.traces,
    }
    return {
        "issue_id": one.id,
        "experiment_id": one.experiment_id,
        "name": one.name,
        "description": one.description,
        "status": one.status,
        "created_timestamp": one.created_at,
        "last_updated_timestamp": one.modified_at,
        **{field: value for field, value in optional.items() if value is not None},
    }
