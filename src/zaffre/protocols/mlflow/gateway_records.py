"""MLflow's AI gateway: its secrets, model definitions, endpoints and bindings."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import gateway_requests as requests
from zaffre.protocols.mlflow.refusals import missing
from zaffre.protocols.mlflow.shape import Document, number, pairs
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.protocols.mlflow.words import word, word_if_said
from zaffre.services.model_gateway import ModelGateway
from zaffre.services.model_gateway.endpoints import EndpointWish, ModelLink
from zaffre.services.model_gateway.words import FALLBACKS, LINKAGES, ROUTINGS
from zaffre.store.model_gateway.records import Binding, Endpoint, Fallback, Mapping, Model, Secret

_READ, _WRITE, _DELETE = (f"workspaces/gateway/{verb}" for verb in ("read", "write", "delete"))


class GatewayRecords:
    def __init__(self, gateway: ModelGateway) -> None:
        self._secrets = gateway.secrets
        self._models = gateway.models
        self._endpoints = gateway.endpoints

    def operations(self) -> Served:
        return {
            "createGatewaySecret": (self.create_secret, _WRITE),
            "getGatewaySecretInfo": (self.get_secret, _READ),
            "listGatewaySecretInfos": (self.secrets, _READ),
            "updateGatewaySecret": (self.update_secret, _WRITE),
            "deleteGatewaySecret": (self.delete_secret, _DELETE),
            "createGatewayModelDefinition": (self.create_model, _WRITE),
            "getGatewayModelDefinition": (self.get_model, _READ),
            "listGatewayModelDefinitions": (self.models, _READ),
            "updateGatewayModelDefinition": (self.update_model, _WRITE),
            "deleteGatewayModelDefinition": (self.delete_model, _DELETE),
            "createGatewayEndpoint": (self.create_endpoint, _WRITE),
            "getGatewayEndpoint": (self.get_endpoint, _READ),
            "listGatewayEndpoints": (self.endpoints, _READ),
            "updateGatewayEndpoint": (self.update_endpoint, _WRITE),
            "deleteGatewayEndpoint": (self.delete_endpoint, _DELETE),
            "attachModelToEndpoint": (self.attach, _WRITE),
            "detachModelFromEndpoint": (self.detach, _WRITE),
            "setGatewayEndpointTag": (self.set_tag, _WRITE),
            "deleteGatewayEndpointTag": (self.delete_tag, _DELETE),
            "createEndpointBinding": (self.bind, _WRITE),
            "deleteEndpointBinding": (self.unbind, _DELETE),
            "listEndpointBindings": (self.bindings, _READ),
        }

    # ---- secrets
    async def create_secret(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateSecret)
        name = required(asked.secret_name, "secret_name")
        if not asked.secret_value:
            raise missing("secret_value")
        made = await self._secrets.create(
            call.actor, call.workspace.id, name, asked.secret_value, asked.provider or None, asked.auth_config
        )
        return json_answer({"secret": _secret(made)})

    async def get_secret(self, call: Call) -> Response:
        asked = await parse(call, requests.SecretId)
        found = await self._secrets.get(call.workspace.id, required(asked.secret_id, "secret_id"))
        return json_answer({"secret": _secret(found)})

    async def secrets(self, call: Call) -> Response:
        asked = await parse(call, requests.OfProvider)
        found = await self._secrets.listing(call.workspace.id, asked.provider or None)
        return json_answer({"secrets": [_secret(one) for one in found]})

    async def update_secret(self, call: Call) -> Response:
        asked = await parse(call, requests.UpdateSecret)
        id_ = required(asked.secret_id, "secret_id")
        changed = await self._secrets.update(
            call.actor, call.workspace.id, id_, asked.secret_value or None, asked.auth_config or None
        )
        return json_answer({"secret": _secret(changed)})

    async def delete_secret(self, call: Call) -> Response:
        asked = await parse(call, requests.SecretId)
        await self._secrets.delete(call.actor, call.workspace.id, required(asked.secret_id, "secret_id"))
        return json_answer({})

    # ---- models
    async def create_model(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateModel)
        made = await self._models.create(
            call.actor,
            call.workspace.id,
            required(asked.name, "name"),
            required(asked.secret_id, "secret_id"),
            required(asked.provider, "provider"),
            required(asked.model_name, "model_name"),
        )
        return json_answer({"model_definition": _model(made)})

    async def get_model(self, call: Call) -> Response:
        asked = await parse(call, requests.ModelId)
        id_ = required(asked.model_definition_id, "model_definition_id")
        return json_answer({"model_definition": _model(await self._models.get(call.workspace.id, id_))})

    async def models(self, call: Call) -> Response:
        asked = await parse(call, requests.OfProvider)
        found = await self._models.listing(call.workspace.id, asked.provider or None, asked.secret_id or None)
        return json_answer({"model_definitions": [_model(one) for one in found]})

    async def update_model(self, call: Call) -> Response:
        asked = await parse(call, requests.UpdateModel)
        changed = await self._models.update(
            call.actor,
            call.workspace.id,
            required(asked.model_definition_id, "model_definition_id"),
            name=asked.name or None,
            secret_id=asked.secret_id or None,
            provider=asked.provider or None,
            model=asked.model_name or None,
        )
        return json_answer({"model_definition": _model(changed)})

    async def delete_model(self, call: Call) -> Response:
        asked = await parse(call, requests.ModelId)
        id_ = required(asked.model_definition_id, "model_definition_id")
        await self._models.delete(call.actor, call.workspace.id, id_)
        return json_answer({})

    # ---- endpoints
    async def create_endpoint(self, call: Call) -> Response:
        asked = await parse(call, requests.EndpointFields)
        required(asked.name, "name")
        if not asked.model_configs:
            raise missing("model_configs")
        return _answer(await self._endpoints.create(call.actor, call.workspace.id, _wish(asked)))

    async def get_endpoint(self, call: Call) -> Response:
        asked = await parse(call, requests.EndpointName)
        found = await self._endpoints.get(call.workspace.id, id_=asked.endpoint_id or None, name=asked.name or None)
        return _answer(found)

    async def endpoints(self, call: Call) -> Response:
        asked = await parse(call, requests.OfProvider)
        found = await self._endpoints.listing(call.workspace.id, asked.provider or None, asked.secret_id or None)
        return json_answer({"endpoints": [_endpoint(one) for one in found]})

    async def update_endpoint(self, call: Call) -> Response:
        asked = await parse(call, requests.EndpointFields)
        id_ = required(asked.endpoint_id, "endpoint_id")
        return _answer(await self._endpoints.update(call.actor, call.workspace.id, id_, _wish(asked)))

    async def delete_endpoint(self, call: Call) -> Response:
        asked = await parse(call, requests.EndpointName)
        await self._endpoints.delete(call.actor, call.workspace.id, required(asked.endpoint_id, "endpoint_id"))
        return json_answer({})

    async def attach(self, call: Call) -> Response:
        asked = await parse(call, requests.Attach)
        id_ = required(asked.endpoint_id, "endpoint_id")
        if asked.model_config is None:
            raise missing("model_config")
        link = _link(asked.model_config, "model_config")
        return json_answer(
            {"mapping": _mapping(await self._endpoints.attach(call.actor, call.workspace.id, id_, link))}
        )

    async def detach(self, call: Call) -> Response:
        asked = await parse(call, requests.Detach)
        id_ = required(asked.endpoint_id, "endpoint_id")
        model = required(asked.model_definition_id, "model_definition_id")
        await self._endpoints.detach(call.actor, call.workspace.id, id_, model)
        return json_answer({})

    async def set_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.Tag)
        id_, key = required(asked.endpoint_id, "endpoint_id"), required(asked.key, "key")
        await self._endpoints.set_tag(call.actor, call.workspace.id, id_, key, asked.value)
        return json_answer({})

    async def delete_tag(self, call: Call) -> Response:
        asked = await parse(call, requests.Tag)
        id_, key = required(asked.endpoint_id, "endpoint_id"), required(asked.key, "key")
        await self._endpoints.delete_tag(call.actor, call.workspace.id, id_, key)
        return json_answer({})

    # ---- bindings
    async def bind(self, call: Call) -> Response:
        which = _bound(await parse(call, requests.Binding))
        return json_answer({"binding": _binding(await self._endpoints.bind(call.actor, call.workspace.id, *which))})

    async def unbind(self, call: Call) -> Response:
        which = _bound(await parse(call, requests.Binding))
        await self._endpoints.unbind(call.actor, call.workspace.id, *which)
        return json_answer({})

    async def bindings(self, call: Call) -> Response:
        asked = await parse(call, requests.Binding)
        found = await self._endpoints.bindings(
            call.workspace.id, asked.endpoint_id or None, asked.resource_type or None, asked.resource_id or None
        )
        return json_answer({"bindings": [_binding(one) for one in found]})


def _wish(asked: requests.EndpointFields) -> EndpointWish:
    return EndpointWish(
        name=asked.name or None,
        links=[_link(one, "model_configs") for one in asked.model_configs] or None,
        routing=word_if_said(asked.routing_strategy, "routing_strategy", ROUTINGS),
        fallback=_wished_fallback(asked.fallback_config),
        experiment_id=asked.experiment_id or None,
        usage_tracking=asked.usage_tracking,
    )


def _wished_fallback(asked: requests.FallbackConfig | None) -> Fallback | None:
    if asked is None:
        return None
    strategy = word_if_said(asked.strategy, "fallback_config.strategy", FALLBACKS)
    return Fallback(strategy=strategy, max_attempts=asked.max_attempts)


def _link(asked: requests.ModelConfig, field: str) -> ModelLink:
    return ModelLink(
        model_id=required(asked.model_definition_id, f"{field}.model_definition_id"),
        linkage=word(asked.linkage_type, f"{field}.linkage_type", LINKAGES),
        weight=asked.weight,
        position=asked.fallback_order,
    )


def _bound(asked: requests.Binding) -> tuple[str, str, str]:
    return (
        required(asked.endpoint_id, "endpoint_id"),
        required(asked.resource_type, "resource_type"),
        required(asked.resource_id, "resource_id"),
    )


def _answer(one: Endpoint) -> Response:
    return json_answer({"endpoint": _endpoint(one)})


def _written(one: Secret | Model | Endpoint | Binding) -> Document:
    return {
        "created_at": one.created_at,
        "last_updated_at": one.modified_at,
        "created_by": one.created_by,
        "last_updated_by": one.modified_by,
    }


def _secret(one: Secret) -> Document:
    said = {"provider": one.provider, "auth_config": one.auth}
    return {
        "secret_id": one.id,
        "secret_name": one.name,
        "masked_values": one.masked,
        **_written(one),
        **{field: value for field, value in said.items() if value},
    }


def _model(one: Model) -> Document:
    secret = {} if one.secret_id is None else {"secret_id": one.secret_id, "secret_name": one.secret_name}
    return {
        "model_definition_id": one.id,
        "name": one.name,
        **secret,
        "provider": one.provider,
        "model_name": one.model,
        **_written(one),
    }


def _mapping(one: Mapping) -> Document:
    return {
        "mapping_id": one.id,
        "endpoint_id": one.endpoint_id,
        "model_definition_id": one.model.id,
        "model_definition": _model(one.model),
        "weight": number(one.weight),
        "linkage_type": one.linkage,
        **({} if one.position is None else {"fallback_order": one.position}),
        "created_at": one.created_at,
        "created_by": one.created_by,
    }


def _endpoint(one: Endpoint) -> Document:
    said: dict[str, Any] = {"routing_strategy": one.routing, "experiment_id": one.experiment_id}
    fallback: Document = {}
    if one.fallback is not None:
        told = {"strategy": one.fallback.strategy, "max_attempts": one.fallback.max_attempts}
        fallback = {"fallback_config": {field: value for field, value in told.items() if value is not None}}
    return {
        "endpoint_id": one.id,
        "name": one.name,
        **_written(one),
        "model_mappings": [_mapping(mapping) for mapping in one.mappings],
        "tags": pairs(one.tags),
        **{field: value for field, value in said.items() if value is not None},
        **fallback,
        "usage_tracking": one.usage_tracking,
    }


def _binding(one: Binding) -> Document:
    return {
        "endpoint_id": one.endpoint_id,
        "resource_type": one.resource_type,
        "resource_id": one.resource_id,
        **({} if one.display_name is None else {"display_name": one.display_name}),
        **_written(one),
    }
