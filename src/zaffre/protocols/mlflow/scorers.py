"""MLflow's scorers: what judges traces, registered in versions."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import quality_requests as requests
from zaffre.protocols.mlflow.refusals import missing
from zaffre.protocols.mlflow.shape import Document
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.scorers import number
from zaffre.store.tracking.scorers import OnlineConfig, ScorerVersion

_READ, _WRITE, _DELETE = (f"workspaces/experiments/scorers/{verb}" for verb in ("read", "write", "delete"))


class ScorerHandlers:
    def __init__(self, tracking: Tracking) -> None:
        self._scorers = tracking.scorers

    def operations(self) -> Served:
        return {
            "registerScorer": (self.register, _WRITE),
            "listScorers": (self.listing, _READ),
            "listScorerVersions": (self.versions, _READ),
            "getScorer": (self.get, _READ),
            "deleteScorer": (self.delete, _DELETE),
            "setOnlineScoringConfig": (self.set_online, _WRITE),
            "getOnlineScoringConfigs": (self.online, _READ),
        }

    async def register(self, call: Call) -> Response:
        asked = await parse(call, requests.RegisterScorer)
        experiment, name = await self._named(call, asked)
        serialized = required(asked.serialized_scorer, "serialized_scorer")
        made = await self._scorers.register(call.actor, call.workspace.id, experiment, name, serialized)
        return json_answer(
            {
                "version": made.version,
                "scorer_id": made.id,
                "experiment_id": made.experiment_id,
                "name": made.name,
                "serialized_scorer": made.serialized,
                "creation_time": made.created_at,
            }
        )

    async def listing(self, call: Call) -> Response:
        asked = await parse(call, requests.OfExperiment)
        found = await self._scorers.newest(call.workspace.id, await self._experiment(call, asked.experiment_id))
        return json_answer({"scorers": [_shape(one) for one in found]})

    async def versions(self, call: Call) -> Response:
        experiment, name = await self._named(call, await parse(call, requests.OfScorer))
        found = await self._scorers.versions(call.workspace.id, experiment, name)
        return json_answer({"scorers": [_shape(one) for one in found]})

    async def get(self, call: Call) -> Response:
        asked = await parse(call, requests.OfScorer)
        experiment, name = await self._named(call, asked)
        found = await self._scorers.get(call.workspace.id, experiment, name, asked.version)
        return json_answer({"scorer": _shape(found)})

    async def delete(self, call: Call) -> Response:
        asked = await parse(call, requests.OfScorer)
        experiment, name = await self._named(call, asked)
        await self._scorers.delete(call.actor, call.workspace.id, experiment, name, asked.version)
        return json_answer({})

    async def set_online(self, call: Call) -> Response:
        asked = await parse(call, requests.OnlineConfig)
        experiment, name = await self._named(call, asked)
        if asked.sample_rate is None:
            raise missing("sample_rate")
        made = await self._scorers.set_online(
            call.actor, call.workspace.id, experiment, name, asked.sample_rate, asked.filter_string
        )
        return json_answer({"config": _config(made)})

    async def online(self, call: Call) -> Response:
        asked = await parse(call, requests.OnlineConfigs)
        if not asked.scorer_ids:
            raise missing("scorer_ids")
        found = await self._scorers.online(call.workspace.id, asked.scorer_ids)
        return json_answer({"configs": [_config(one) for one in found]})

    async def _named(
        self, call: Call, asked: requests.RegisterScorer | requests.OfScorer | requests.OnlineConfig
    ) -> tuple[str, str]:
        return await self._experiment(call, asked.experiment_id), required(asked.name, "name")

    async def _experiment(self, call: Call, given: str) -> str:
        return await self._scorers.experiment_id(call.workspace.id, required(given, "experiment_id"))


def _shape(one: ScorerVersion) -> Document:
    return {
        "experiment_id": number(one),
        "scorer_name": one.name,
        "scorer_version": one.version,
        "serialized_scorer": one.serialized,
        "creation_time": one.created_at,
        "scorer_id": one.id,
    }


def _config(one: OnlineConfig) -> Document:
    return {
        "online_scoring_config_id": one.id,
        "scorer_id": one.scorer_id,
        "sample_rate": one.sample_rate,
        "experiment_id": one.experiment_id,
        **({} if one.filter is None else {"filter_string": one.filter}),
    }
