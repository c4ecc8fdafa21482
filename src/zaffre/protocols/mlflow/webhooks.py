"""MLflow's webhooks."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.errors import InvalidInput
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import requests
from zaffre.protocols.mlflow.refusals import missing
from zaffre.protocols.mlflow.shape import Document
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.services.webhooks import Tried, Webhooks, Wish
from zaffre.store.webhooks import Webhook

_READ, _WRITE, _DELETE = (f"workspaces/webhooks/{verb}" for verb in ("read", "write", "delete"))
_STATUSES = {"ACTIVE": True, "DISABLED": False}


class WebhookHandlers:
    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    def operations(self) -> Served:
        return {
            "createWebhook": (self.create, _WRITE),
            "listWebhooks": (self.listing, _READ),
            "getWebhook": (self.get, _READ),
            "updateWebhook": (self.update, _WRITE),
            "deleteWebhook": (self.delete, _DELETE),
            "testWebhook": (self.test, _WRITE),
        }

    async def create(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateWebhook)
        required(asked.name, "name")
        required(asked.url, "url")
        if not asked.events:
            raise missing("events")
        return _answer(await self._webhooks.create(call.actor, call.workspace, _wish(asked)))

    async def listing(self, call: Call) -> Response:
        asked = await parse(call, requests.ListWebhooks)
        found, token = await self._webhooks.listing(call.workspace, asked.page_token, asked.max_results)
        answer: Document = {"webhooks": [_shape(one) for one in found]}
        return json_answer(answer | ({"next_page_token": token} if token else {}))

    async def get(self, call: Call) -> Response:
        return _answer(await self._webhooks.get(call.workspace, call.params["webhook_id"]))

    async def update(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateWebhook)
        wish = _wish(asked)
        return _answer(await self._webhooks.update(call.actor, call.workspace, call.params["webhook_id"], wish))

    async def delete(self, call: Call) -> Response:
        await self._webhooks.delete(call.actor, call.workspace, call.params["webhook_id"])
        return json_answer({})

    async def test(self, call: Call) -> Response:
        asked = await parse(call, requests.TestWebhook)
        event = _event(asked.event) if asked.event else None
        return json_answer(
            {"result": _result(await self._webhooks.test(call.workspace, call.params["webhook_id"], event))}
        )


def _wish(asked: requests.CreateWebhook) -> Wish:
    """Protobuf knows no difference between an empty field and one that is not there."""
    if asked.status and asked.status not in _STATUSES:
        raise InvalidInput(
            f"Field 'status': '{asked.status[:50]}' is not one of {', '.join(_STATUSES)}.", target="status"
        )
    return Wish(
        name=asked.name or None,
        url=asked.url or None,
        events=tuple(dict.fromkeys(_event(one) for one in asked.events)) or None,
        description=asked.description or None,
        secret=asked.secret or None,
        active=_STATUSES[asked.status] if asked.status else None,
    )


def _event(asked: requests.WebhookEvent) -> str:
    return f"{required(asked.entity, 'entity').lower()}.{required(asked.action, 'action').lower()}"


def _answer(webhook: Webhook) -> Response:
    return json_answer({"webhook": _shape(webhook)})


def _shape(webhook: Webhook) -> Document:
    events = [one.partition(".") for one in webhook.events]
    return {
        "webhook_id": webhook.id,
        "name": webhook.name,
        "url": webhook.url,
        "events": [{"entity": entity.upper(), "action": action.upper()} for entity, _, action in events],
        **({"description": webhook.description} if webhook.description else {}),
        "status": "ACTIVE" if webhook.active else "DISABLED",
        "creation_timestamp": webhook.created_at,
        "last_updated_timestamp": webhook.modified_at,
    }


def _result(tried: Tried) -> Document:
    told = {"response_status": tried.status, "response_body": tried.body, "error_message": tried.error}
    succeeded = tried.status is not None and 200 <= tried.status < 300
    return {"success": succeeded, **{field: value for field, value in told.items() if value is not None}}
