"""MLflow's review queues: traces that wait for reviewers."""

from __future__ import annotations

from starlette.responses import Response

from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.protocols.mlflow import review_requests as requests
from zaffre.protocols.mlflow.shape import Document
from zaffre.protocols.mlflow.table import Served
from zaffre.protocols.mlflow.wire import parse, required
from zaffre.protocols.mlflow.words import word, word_if_said
from zaffre.services.tracking import Tracking
from zaffre.services.tracking.review_queues import STATUSES, TYPES, NewQueue
from zaffre.store.tracking.review_queues import Item, Queue

_READ, _WRITE, _DELETE = (f"workspaces/experiments/reviewqueues/{verb}" for verb in ("read", "write", "delete"))
_ITEM_TYPES = ("TRACE",)


class ReviewQueueHandlers:
    def __init__(self, tracking: Tracking) -> None:
        self._queues = tracking.review_queues

    def operations(self) -> Served:
        return {
            "createReviewQueue": (self.create, _WRITE),
            "getOrCreateUserQueue": (self.of_user, _WRITE),
            "getReviewQueue": (self.get, _READ),
            "getReviewQueueByName": (self.by_name, _READ),
            "listReviewQueues": (self.listing, _READ),
            "updateReviewQueue": (self.update, _WRITE),
            "deleteReviewQueue": (self.delete, _DELETE),
            "addItemsToReviewQueue": (self.add, _WRITE),
            "removeItemsFromReviewQueue": (self.remove, _WRITE),
            "listReviewQueueItems": (self.items, _READ),
            "setReviewQueueItemStatus": (self.set_status, _WRITE),
        }

    async def create(self, call: Call) -> Response:
        asked = await parse(call, requests.CreateReviewQueue)
        new = NewQueue(
            experiment_id=required(asked.experiment_id, "experiment_id"),
            name=required(asked.name, "name"),
            type=word(asked.queue_type, "queue_type", TYPES),
            users=asked.users,
            schema_ids=asked.schema_ids,
        )
        return _answer(await self._queues.create(call.actor, call.workspace.id, new))

    async def of_user(self, call: Call) -> Response:
        asked = await parse(call, requests.UserQueue)
        experiment, user = required(asked.experiment_id, "experiment_id"), required(asked.user, "user")
        return _answer(await self._queues.of_user(call.actor, call.workspace.id, experiment, user))

    async def get(self, call: Call) -> Response:
        asked = await parse(call, requests.QueueId)
        return _answer(await self._queues.get(call.workspace.id, required(asked.queue_id, "queue_id")))

    async def by_name(self, call: Call) -> Response:
        asked = await parse(call, requests.NameIn)
        experiment, name = required(asked.experiment_id, "experiment_id"), required(asked.name, "name")
        return _answer(await self._queues.by_name(call.workspace.id, experiment, name))

    async def listing(self, call: Call) -> Response:
        asked = await parse(call, requests.ListReviewQueues)
        found, token = await self._queues.listing(
            call.workspace.id,
            required(asked.experiment_id, "experiment_id"),
            user=asked.user,
            item=asked.item_id,
            token=asked.page_token,
            limit=asked.max_results,
        )
        answer: Document = {"review_queues": [_shape(one) for one in found]}
        return json_answer(answer | ({"next_page_token": token} if token else {}))

    async def update(self, call: Call) -> Response:
        asked = await parse(call, requests.UpdateReviewQueue)
        changed = await self._queues.update(
            call.actor,
            call.workspace.id,
            required(asked.queue_id, "queue_id"),
            name=asked.name,
            owner=asked.new_owner,
            users=asked.users if asked.update_users else None,
            schema_ids=asked.schema_ids if asked.update_schema_ids else None,
        )
        return _answer(changed)

    async def delete(self, call: Call) -> Response:
        asked = await parse(call, requests.QueueId)
        await self._queues.delete(call.actor, call.workspace.id, required(asked.queue_id, "queue_id"))
        return json_answer({})

    # ---- items
    async def add(self, call: Call) -> Response:
        asked = await parse(call, requests.AddItems)
        word_if_said(asked.item_type, "item_type", _ITEM_TYPES)
        queue = required(asked.queue_id, "queue_id")
        found = await self._queues.add(call.actor, call.workspace.id, queue, asked.item_ids)
        return json_answer({"items": [_item(queue, one) for one in found]})

    async def remove(self, call: Call) -> Response:
        asked = await parse(call, requests.RemoveItems)
        queue = required(asked.queue_id, "queue_id")
        await self._queues.remove(call.actor, call.workspace.id, queue, asked.item_ids)
        return json_answer({})

    async def items(self, call: Call) -> Response:
        asked = await parse(call, requests.ListItems)
        queue = required(asked.queue_id, "queue_id")
        status = word_if_said(asked.status, "status", STATUSES)
        found, token = await self._queues.items(call.workspace.id, queue, status, asked.page_token, asked.max_results)
        answer: Document = {"items": [_item(queue, one) for one in found]}
        return json_answer(answer | ({"next_page_token": token} if token else {}))

    async def set_status(self, call: Call) -> Response:
        asked = await parse(call, requests.SetItemStatus)
        queue, item = required(asked.queue_id, "queue_id"), required(asked.item_id, "item_id")
        status = word(asked.status, "status", STATUSES)
        found = await self._queues.set_status(call.actor, call.workspace.id, queue, item, status, asked.completed_by)
        return json_answer({"item": _item(queue, found)})


def _answer(one: Queue) -> Response:
    return json_answer({"review_queue": _shape(one)})


def _shape(one: Queue) -> Document:
    return {
        "queue_id": one.id,
        "experiment_id": one.experiment_id,
        "name": one.name,
        "queue_type": one.type,
        "created_by": one.created_by,
        "creation_time_ms": one.created_at,
        "last_update_time_ms": one.modified_at,
        "users": one.users,
        "schema_ids": one.schema_ids,
    }


def _item(queue: str, one: Item) -> Document:
    done = {"completed_by": one.completed_by, "completed_time_ms": one.completed_at}
    return {
        "queue_id": queue,
        "item_type": _ITEM_TYPES[0],
        "item_id": one.id,
        "status": one.status,
        **{field: value for field, value in done.items() if value is not None},
        "creation_time_ms": one.created_at,
        "last_update_time_ms": one.modified_at,
    }
