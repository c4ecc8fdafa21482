"""MLflow's experiments."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import requests, shape
from zaffre.protocols.mlflow.addresses import AddressBook
from zaffre.protocols.mlflow.refusals import invalid
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.experiments import ACTIVE, DELETED

_VIEWS = {"ACTIVE_ONLY": (ACTIVE,), "DELETED_ONLY": (DELETED,), "ALL": (ACTIVE, DELETED)}
_NUMBERS = {"1": "ACTIVE_ONLY", "2": "DELETED_ONLY", "3": "ALL"}  # as protobuf's JSON may have it, too
_READ, _WRITE, _DELETE = (f"workspaces/experiments/{verb}" for verb in ("read", "write", "delete"))


class Experiments:
    def __init__(self, tracking: Tracking, addresses: AddressBook) -> None:
        self._at = addresses
        self._experiments = tracking.experiments

    def operations(self) -> Served:
        return {
            "getExperimentByName": (self.by_name, _READ),
            "createExperiment": (self.create, _WRITE),
            "searchExperiments": (self.search, _READ),
            "getExperiment": (self.get, _READ),
            "deleteExperiment": (self.delete, _DELETE),
            "restoreExperiment": (self.restore, _WRITE),
            "updateExperiment": (self.update, _WRITE),
            "setExperimentTag": (self.set_tag, _WRITE),
            "deleteExperimentTag": (self.delete_tag, _WRITE),
        }

    async def by_name(self, call: Call) -> Response:
        asked = await parse(call, requests.ExperimentName)
        found = await self._experiments.by_name(call.workspace.id, required(asked.experiment_name, "experiment_name"))
        return json_answer({"experiment": shape.experiment(found, self._at(call))})

    async def create(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateExperiment)
        name = required(asked.name, "name")
        tags = {tag.key: tag.value for tag in asked.tags}
        location = asked.artifact_location or None
        made = await self._experiments.create(call.actor, call.workspace.id, name, location, tags)
        return json_answer({"experiment_id": made.id})

    async def get(self, call: Call) -> Response:
        asked = await parse(call, requests.ExperimentId)
        found = await self._experiments.get(call.workspace.id, required(asked.experiment_id, "experiment_id"))
        return json_answer({"experiment": shape.experiment(found, self._at(call))})

    async def search(self, call: Call) -> Response:
        asked = await parse(call, requests.SearchExperiments)
        found, token = await self._experiments.search(
            call.workspace.id,
            lifecycles(asked.view_type),
            asked.filter,
            asked.order_by,
            asked.page_token,
            asked.max_results,
        )
        answer: shape.Document = {"experiments": [shape.experiment(one, self._at(call)) for one in found]}
        return json_answer(answer | ({"next_page_token": token} if token else {}))

    async def update(self, call: Call) -> Response:
        asked = await parse(call, requests.UpdateExperiment)
        id_ = required(asked.experiment_id, "experiment_id")
        if asked.new_name:
            await self._experiments.rename(call.actor, call.workspace.id, id_, asked.new_name)
        return json_answer({})

    async def delete(self, call: Call) -> Response:
        return await self._set_lifecycle(call, DELETED)

    async def restore(self, call: Call) -> Response:
        return await self._set_lifecycle(call, ACTIVE)

    async def set_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.SetExperimentTag)
        id_ = required(asked.experiment_id, "experiment_id")
        await self._experiments.set_tag(call.workspace.id, id_, asked.key, asked.value)
        return json_answer({})

    async def delete_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.DeleteExperimentTag)
        id_ = required(asked.experiment_id, "experiment_id")
        await self._experiments.delete_tag(call.workspace.id, id_, asked.key)
        return json_answer({})

    async def _set_lifecycle(self, call: Call, lifecycle: str) -> Response:
        asked = await parse(call, requests.ExperimentId)
        id_ = required(asked.experiment_id, "experiment_id")
        await self._experiments.set_lifecycle(call.actor, call.workspace.id, id_, lifecycle)
        return json_answer({})


def lifecycles(view: str | int, field: str = "view_type") -> tuple[str, ...]:
    """The states a view type shows. Raises InvalidInput for one MLflow does not have."""
    name = _NUMBERS.get(str(view), str(view))
    if name not in _VIEWS:
        raise invalid(field, view, f"It must be one of {', '.join(_VIEWS)}")
    return _VIEWS[name]
