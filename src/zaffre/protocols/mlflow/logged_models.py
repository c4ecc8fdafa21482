"""MLflow 3's logged models."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import requests, shape
from zaffre.protocols.mlflow.addresses import AddressBook
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.logged_models import Logged

_READ, _WRITE, _DELETE = (f"workspaces/experiments/models/{verb}" for verb in ("read", "write", "delete"))


class LoggedModels:
    def __init__(self, tracking: Tracking, addresses: AddressBook) -> None:
        self._at = addresses
        self._models = tracking.models

    def operations(self) -> Served:
        return {
            "createLoggedModel": (self.create, _WRITE),
            "finalizeLoggedModel": (self.finalize, _WRITE),
            "getLoggedModel": (self.get, _READ),
            "deleteLoggedModel": (self.delete, _DELETE),
            "searchLoggedModels": (self.search, _READ),
            "setLoggedModelTags": (self.set_tags, _WRITE),
            "deleteLoggedModelTag": (self.delete_tag, _WRITE),
            "LogLoggedModelParams": (self.log_params, _WRITE),
        }

    async def create(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateLoggedModel)
        made = await self._models.create(
            call.actor,
            call.workspace.id,
            required(asked.experiment_id, "experiment_id"),
            name=asked.name,
            model_type=asked.model_type,
            source_run=asked.source_run_id or None,
            params={param.key: param.value for param in asked.params},
            tags={tag.key: tag.value for tag in asked.tags},
        )
        return self._model(call, made)

    async def get(self, call: Call) -> Response:
        return self._model(call, await self._models.get(call.workspace.id, call.params["model_id"]))

    async def finalize(self, call: Call) -> Response:
        asked = await parse(call, requests.FinalizeLoggedModel)
        return self._model(
            call, await self._models.finalize(call.actor, call.workspace.id, call.params["model_id"], asked.status)
        )

    async def set_tags(self, call: Call) -> Response:
        asked = await parse(call, requests.LoggedModelTags)
        tags = {tag.key: tag.value for tag in asked.tags}
        return self._model(
            call, await self._models.set_tags(call.actor, call.workspace.id, call.params["model_id"], tags)
        )

    async def delete_tag(self, call: Call) -> Response:
        await self._models.delete_tag(call.actor, call.workspace.id, call.params["model_id"], call.params["tag_key"])
        return json_answer({})

    async def log_params(self, call: Call) -> Response:
        asked = await parse(call, requests.LoggedModelParams)
        params = {param.key: param.value for param in asked.params}
        await self._models.log_params(call.actor, call.workspace.id, call.params["model_id"], params)
        return json_answer({})

    async def delete(self, call: Call) -> Response:
        await self._models.delete(call.actor, call.workspace.id, call.params["model_id"])
        return json_answer({})

    async def search(self, call: Call) -> Response:
        asked = await parse(call, requests.SearchLoggedModels)
        found, token = await self._models.search(
            call.workspace.id,
            asked.experiment_ids,
            asked.filter,
            [
                (
                    f"{one.field_name} {'ASC' if one.ascending else 'DESC'}",
                    (one.dataset_name, one.dataset_digest) if one.dataset_name else None,
                )
                for one in asked.order_by
            ],
            asked.page_token,
            asked.max_results,
            [(one.dataset_name, one.dataset_digest) for one in asked.datasets],
        )
        answer: shape.Document = {"models": [shape.logged_model(one, self._at(call)) for one in found]}
        return json_answer(answer | ({"next_page_token": token} if token else {}))

    def _model(self, call: Call, found: Logged) -> Response:
        return json_answer({"model": shape.logged_model(found, self._at(call))})
