"""Asking the endpoints of MLflow's AI gateway: in MLflow's own words, OpenAI's, and Anthropic's."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response, StreamingResponse

from zaffre.errors import InvalidInput
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow.refusals import missing
from zaffre.protocols.mlflow.shape import Document
from zaffre.protocols.mlflow.table import Served
from zaffre.services.model_gateway import ModelGateway, modes
from zaffre.services.model_gateway.asking import ProviderFailed
from zaffre.services.model_gateway.modes import Mode

_READ, _INVOKE = "workspaces/gateway/read", "workspaces/gateway/invoke"
MOST_IN_BODY = 64 * 1024 * 1024  # pictures come within


class GatewayCalls:
    def __init__(self, gateway: ModelGateway) -> None:
        self._endpoints = gateway.endpoints
        self._invoking = gateway.invoking

    def operations(self) -> Served:
        return {
            "invokeGatewayEndpoint": (self.invoke, _INVOKE),
            "completeGatewayChat": (self._named(modes.UNIFIED_CHAT), _INVOKE),
            "listGatewayModels": (self.models, _READ),
            "completeGatewayOpenAiChat": (self._named(modes.OPENAI_CHAT), _INVOKE),
            "embedGatewayOpenAi": (self._named(modes.OPENAI_EMBEDDINGS), _INVOKE),
            "respondGatewayOpenAi": (self._named(modes.OPENAI_RESPONSES), _INVOKE),
            "messageGatewayAnthropic": (self._named(modes.MESSAGES), _INVOKE),
        }

    async def invoke(self, call: Call) -> Response:
        """A chat or an embedding, whichever the body is."""
        body = await call.document(MOST_IN_BODY)
        body.pop("model", None)
        if "messages" in body:
            return await self._answer(call, call.params["endpoint_name"], modes.UNIFIED_CHAT, body)
        if "input" in body:
            return await self._answer(call, call.params["endpoint_name"], modes.UNIFIED_EMBEDDINGS, body)
        raise InvalidInput("Invalid request: payload format must be either chat or embeddings")

    async def models(self, call: Call) -> Response:
        """The endpoints, as OpenAI lists models."""
        found = sorted(await self._endpoints.listing(call.workspace.id, None, None), key=lambda one: one.name)
        data = [
            {"id": one.name, "object": "model", "created": one.created_at // 1000, "owned_by": "mlflow"}
            for one in found
        ]
        return json_answer({"object": "list", "data": data})

    def _named(self, mode: Mode) -> Any:
        """A handler for bodies that name the endpoint as their model."""

        async def handler(call: Call) -> Response:
            body = await call.document(MOST_IN_BODY)
            name = body.pop("model", None)
            if not name:
                raise InvalidInput("Missing required 'model' parameter in request body", target="model")
            if not isinstance(name, str):
                raise InvalidInput("'model' must be the name of an endpoint", target="model")
            return await self._answer(call, name, mode, body)

        return handler

    async def _answer(self, call: Call, name: str, mode: Mode, body: Document) -> Response:
        _check(mode, body)
        actor, scope = call.actor, call.workspace.id
        try:
            if body.get("stream"):
                events = await self._invoking.stream(actor, scope, name, mode, body)
                # Without the header, the edge would keep the events until the last one has come.
                headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
                return StreamingResponse(events, media_type="text/event-stream", headers=headers)
            return json_answer(await self._invoking.ask(actor, scope, name, mode, body))
        except ProviderFailed as error:
            said = {"message": error.message, "type": "provider_error", "code": error.status}
            told = {"error_code": "PROVIDER_FAILED", "message": error.message, "error": said, "request_id": call.id}
            return json_answer(told, error.status)


def _check(mode: Mode, body: Document) -> None:
    """What every provider would refuse; the rest is theirs to say."""
    if mode.span == "EMBEDDING":
        if not body.get("input"):
            raise missing("input")
        if body.get("stream"):
            raise InvalidInput("Embeddings are not streamed.", target="stream")
    elif mode is modes.OPENAI_RESPONSES:
        if not body.get("input"):
            raise missing("input")
    else:
        messages = body.get("messages")
        if not messages:
            raise missing("messages")
        whole = isinstance(messages, list) and all(
            isinstance(one, dict) and isinstance(one.get("role"), str) for one in messages
        )
        if not whole:
            raise InvalidInput(
                "Invalid chat payload: 'messages' must be a list of objects with a role.", target="messages"
            )
    if not isinstance(body.get("stream", False), bool):
        raise InvalidInput("'stream' must be true or false.", target="stream")
    if not isinstance(body.get("stream_options") or {}, dict):
        raise InvalidInput("'stream_options' must be an object.", target="stream_options")
