"""MLflow's model registry."""

from __future__ import annotations

import re

from starlette.responses import Response

from zaffre.errors import InvalidInput
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import requests, shape
from zaffre.protocols.mlflow.addresses import AddressBook
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.registered_models import STAGES, Model, RegisteredModels, stage_of
from zaffre.services.registry_events import PROMPT_TEXT
from zaffre.store.resources import Row

_READ, _WRITE, _DELETE = (f"workspaces/models/{verb}" for verb in ("read", "write", "delete"))
_V_READ, _V_WRITE, _V_DELETE = (f"workspaces/models/versions/{verb}" for verb in ("read", "write", "delete"))
_VERSION_ALIAS = re.compile(r"[vV]\d+")


class Registry:
    def __init__(self, models: RegisteredModels, addresses: AddressBook) -> None:
        self._at = addresses
        self._models = models

    def operations(self) -> Served:
        return {
            "createRegisteredModel": (self.create, _WRITE),
            "getRegisteredModel": (self.get, _READ),
            "renameRegisteredModel": (self.rename, _WRITE),
            "updateRegisteredModel": (self.update, _WRITE),
            "deleteRegisteredModel": (self.delete, _DELETE),
            "searchRegisteredModels": (self.search, _READ),
            "getLatestVersions": (self.latest, _READ),
            "setRegisteredModelTag": (self.set_tag, _WRITE),
            "deleteRegisteredModelTag": (self.delete_tag, _WRITE),
            "setRegisteredModelAlias": (self.set_alias, _WRITE),
            "deleteRegisteredModelAlias": (self.delete_alias, _WRITE),
            "getModelVersionByAlias": (self.by_alias, _READ),
            "createModelVersion": (self.create_version, _V_WRITE),
            "getModelVersion": (self.get_version, _V_READ),
            "updateModelVersion": (self.update_version, _V_WRITE),
            "transitionModelVersionStage": (self.transition, _V_WRITE),
            "deleteModelVersion": (self.delete_version, _V_DELETE),
            "searchModelVersions": (self.search_versions, _V_READ),
            "getModelVersionDownloadUri": (self.download_uri, _V_READ),
            "setModelVersionTag": (self.set_version_tag, _V_WRITE),
            "deleteModelVersionTag": (self.delete_version_tag, _V_WRITE),
        }

    # ---- registered models
    async def create(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateRegisteredModel)
        tags = {tag.key: tag.value for tag in asked.tags}
        made = await self._models.create(
            call.actor, call.workspace, required(asked.name, "name"), asked.description, tags
        )
        return self._model(call, made)

    async def get(self, call: Call) -> Response:
        asked = await parse(call, requests.ModelName)
        return self._model(call, await self._models.get(call.workspace, required(asked.name, "name")))

    async def rename(self, call: Call) -> Response:
        asked = await parse(call, requests.RenameRegisteredModel)
        name, new_name = required(asked.name, "name"), required(asked.new_name, "new_name")
        return self._model(call, await self._models.rename(call.actor, call.workspace, name, new_name))

    async def update(self, call: Call) -> Response:
        asked = await parse(call, requests.UpdateRegisteredModel)
        name = required(asked.name, "name")
        return self._model(call, await self._models.describe(call.actor, call.workspace, name, asked.description))

    async def delete(self, call: Call) -> Response:
        asked = await parse(call, requests.ModelName)
        await self._models.delete(call.actor, call.workspace, required(asked.name, "name"))
        return json_answer({})

    async def search(self, call: Call) -> Response:
        asked = await parse(call, requests.SearchRegistry)
        found, token = await self._models.search(
            call.workspace, asked.filter, asked.order_by, asked.page_token, asked.max_results
        )
        answer: shape.Document = {"registered_models": [shape.registered_model(one, self._at(call)) for one in found]}
        return json_answer(answer | ({"next_page_token": token} if token else {}))

    async def latest(self, call: Call) -> Response:
        """The newest version in each of the stages asked for, or in every stage."""
        asked = await parse(call, requests.LatestVersions)
        wanted = {stage.lower() for stage in asked.stages or STAGES}
        unknown = wanted - {stage.lower() for stage in STAGES}
        if unknown:
            raise InvalidInput(
                f"Field 'stages': {', '.join(sorted(unknown))} is not one of {', '.join(STAGES)}.", target="stages"
            )
        model = await self._models.get(call.workspace, required(asked.name, "name"))
        newest = {stage_of(version): version for version in model.versions if stage_of(version).lower() in wanted}
        return json_answer(
            {"model_versions": [shape.model_version(model.row, one, self._at(call)) for one in newest.values()]}
        )

    async def set_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.SetModelTag)
        name = required(asked.name, "name")
        await self._models.set_tag(call.actor, call.workspace, name, None, asked.key, asked.value)
        return json_answer({})

    async def delete_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.DeleteModelTag)
        await self._models.delete_tag(call.actor, call.workspace, required(asked.name, "name"), None, asked.key)
        return json_answer({})

    # ---- aliases
    async def set_alias(self, call: Call) -> Response:
        asked = await parse(call, requests.ModelAlias)
        if asked.alias.lower() == "latest" or _VERSION_ALIAS.fullmatch(asked.alias):
            raise InvalidInput(
                f"Field 'alias': '{asked.alias}' is reserved; it could be taken for a version.", target="alias"
            )
        name, version = required(asked.name, "name"), required(str(asked.version), "version")
        await self._models.set_alias(call.actor, call.workspace, name, asked.alias, version)
        return json_answer({})

    async def delete_alias(self, call: Call) -> Response:
        asked = await parse(call, requests.ModelAlias)
        await self._models.delete_alias(call.actor, call.workspace, required(asked.name, "name"), asked.alias)
        return json_answer({})

    async def by_alias(self, call: Call) -> Response:
        asked = await parse(call, requests.ModelAlias)
        return self._version(
            call, *await self._models.by_alias(call.workspace, required(asked.name, "name"), asked.alias)
        )

    # ---- versions
    async def create_version(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateModelVersion)
        for index, tag in enumerate(asked.tags):
            if len(tag.value) > requests.MOST_IN_REGISTRY_TAG:
                field = f"tags[{index}].value"
                told = (
                    "Prompt text exceeds max length of"
                    if tag.key == PROMPT_TEXT
                    else f"'{field}' exceeds the maximum length of"
                )
                raise InvalidInput(f"{told} {requests.MOST_IN_REGISTRY_TAG} characters", target=field)
        made = await self._models.create_version(
            call.actor,
            call.workspace,
            required(asked.name, "name"),
            required(asked.source, "source"),
            run_id=asked.run_id or None,
            run_link=asked.run_link or None,
            model_id=asked.model_id or None,
            description=asked.description,
            tags={tag.key: tag.value for tag in asked.tags},
        )
        return self._version(call, *made)

    async def get_version(self, call: Call) -> Response:
        name, version = _which(await parse(call, requests.ModelVersion))
        return self._version(call, *await self._models.get_version(call.workspace, name, version))

    async def update_version(self, call: Call) -> Response:
        asked = await parse(call, requests.UpdateModelVersion)
        found = await self._models.describe_version(call.actor, call.workspace, *_which(asked), asked.description)
        return self._version(call, *found)

    async def transition(self, call: Call) -> Response:
        asked = await parse(call, requests.TransitionStage)
        found = await self._models.set_stage(
            call.actor,
            call.workspace,
            *_which(asked),
            required(asked.stage, "stage"),
            archive_others=asked.archive_existing_versions,
        )
        return self._version(call, *found)

    async def delete_version(self, call: Call) -> Response:
        name, version = _which(await parse(call, requests.ModelVersion))
        await self._models.delete_version(call.actor, call.workspace, name, version)
        return json_answer({})

    async def search_versions(self, call: Call) -> Response:
        asked = await parse(call, requests.SearchRegistry)
        found, token = await self._models.search_versions(
            call.workspace, asked.filter, asked.order_by, asked.page_token, asked.max_results
        )
        answer: shape.Document = {"model_versions": [shape.model_version(*one, self._at(call)) for one in found]}
        return json_answer(answer | ({"next_page_token": token} if token else {}))

    async def download_uri(self, call: Call) -> Response:
        name, version = _which(await parse(call, requests.ModelVersion))
        _, row = await self._models.get_version(call.workspace, name, version)
        found = await self._models.in_run(call.workspace, row)
        if found is None:
            found = shape.place(*await self._models.place(call.workspace, row), self._at(call))
        return json_answer({"artifact_uri": found})

    async def set_version_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.SetModelTag)
        name, version = required(asked.name, "name"), required(str(asked.version or ""), "version")
        await self._models.set_tag(call.actor, call.workspace, name, version, asked.key, asked.value)
        return json_answer({})

    async def delete_version_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.DeleteModelTag)
        name, version = required(asked.name, "name"), required(str(asked.version or ""), "version")
        await self._models.delete_tag(call.actor, call.workspace, name, version, asked.key)
        return json_answer({})

    def _model(self, call: Call, model: Model) -> Response:
        return json_answer({"registered_model": shape.registered_model(model, self._at(call))})

    def _version(self, call: Call, container: Row, row: Row) -> Response:
        return json_answer({"model_version": shape.model_version(container, row, self._at(call))})


def _which(asked: requests.ModelVersion) -> tuple[str, str]:
    return required(asked.name, "name"), required(str(asked.version), "version")
