"""Webhooks of a workspace: who is told when something happens in its registry. Secrets are sealed and never given back."""

from __future__ import annotations

import asyncio
import re

import msgspec
import sqlalchemy as sa

from zaffre.errors import InvalidInput, NotFound
from zaffre.services.tracking import paging
from zaffre.services.webhook_sending import FAILURES, Sender
from zaffre.services.workspaces import Workspace
from zaffre.store import webhooks as rows
from zaffre.store.database import Database
from zaffre.store.seal import Vault
from zaffre.store.unit import Actor, Unit
from zaffre.store.webhooks import Webhook

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
ACTIONS = {
    "registered_model": ("created",),
    "model_version": ("created",),
    "model_version_tag": ("deleted", "set"),
    "model_version_alias": ("created", "deleted"),
    "prompt": ("created",),
    "prompt_version": ("created",),
    "prompt_tag": ("deleted", "set"),
    "prompt_version_tag": ("deleted", "set"),
    "prompt_alias": ("created", "deleted"),
    "budget_policy": ("exceeded",),
}
"""What MLflow knows to tell of each thing."""
_EXAMPLES = {
    "version": "1",
    "alias": "example_alias",
    "key": "example_key",
    "value": "example_value",
    "source": "models:/123",
    "run_id": "abcd1234abcd5678",
    "template": "Hello {{name}}!",
    "tags": {"example_key": "example_value"},
}
_FIELDS = {
    "registered_model.created": ("name", "tags", "description"),
    "model_version.created": ("name", "version", "source", "run_id", "tags", "description"),
    "model_version_tag.set": ("name", "version", "key", "value"),
    "model_version_tag.deleted": ("name", "version", "key"),
    "model_version_alias.created": ("name", "alias", "version"),
    "model_version_alias.deleted": ("name", "alias"),
    "prompt.created": ("name", "tags", "description"),
    "prompt_version.created": ("name", "version", "template", "tags", "description"),
    "prompt_tag.set": ("name", "key", "value"),
    "prompt_tag.deleted": ("name", "key"),
    "prompt_version_tag.set": ("name", "version", "key", "value"),
    "prompt_version_tag.deleted": ("name", "version", "key"),
    "prompt_alias.created": ("name", "alias", "version"),
    "prompt_alias.deleted": ("name", "alias"),
}


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a webhook; None leaves a field as it is. `events` are `entity.action`."""

    name: str | None = None
    url: str | None = None
    events: tuple[str, ...] | None = None
    description: str | None = None
    secret: str | None = None
    active: bool | None = None


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """How a test went: what the host answered, or why it was not reached."""

    status: int | None = None
    body: str | None = None
    error: str | None = None


class Webhooks:
    def __init__(self, database: Database, vault: Vault, sender: Sender) -> None:
        self._database = database
        self._vault = vault
        self._sender = sender

    async def create(self, actor: Actor, workspace: Workspace, wish: Wish) -> Webhook:
        """Raises InvalidInput in MLflow's words."""
        self._check(wish)
        id_ = self._database.runtime.guid()

        def work(unit: Unit) -> Webhook:
            active = wish.active is not False
            name, url, events = wish.name or "", wish.url or "", wish.events or ()
            made = rows.insert(unit, workspace.id, id_, name, url, wish.description or None, active, events)
            self._keep(unit, made, wish.secret)
            _record(unit, actor, workspace, "write", id_)
            return made

        return await self._database.write(work)

    async def get(self, workspace: Workspace, id_: str) -> Webhook:
        return await self._database.read(lambda conn: _found(conn, workspace, id_))

    async def listing(self, workspace: Workspace, token: str | None, limit: int) -> tuple[list[Webhook], str | None]:
        after = 0
        if token:
            place = paging.place(token)
            if len(place) != 1 or not isinstance(place[0], int):
                raise paging.bad_token(token)
            after = place[0]
        found = await self._database.read(lambda conn: rows.listing(conn, workspace.id, after, limit + 1))
        page = found[:limit]
        return page, paging.token([page[-1].pk]) if len(found) > limit else None

    async def update(self, actor: Actor, workspace: Workspace, id_: str, wish: Wish) -> Webhook:
        self._check(wish)
        asked = {
            "name": wish.name,
            "url": wish.url,
            "events": wish.events,
            "description": wish.description,
            "active": wish.active,
        }

        def work(unit: Unit) -> Webhook:
            held = _found(unit.conn, workspace, id_)
            rows.update(unit, held, **{field: value for field, value in asked.items() if value is not None})
            self._keep(unit, held, wish.secret)
            _record(unit, actor, workspace, "write", id_)
            return _found(unit.conn, workspace, id_)

        return await self._database.write(work)

    async def delete(self, actor: Actor, workspace: Workspace, id_: str) -> None:
        """What is still to be told to it is told to nobody."""

        def work(unit: Unit) -> None:
            held = _found(unit.conn, workspace, id_)
            rows.delete(unit, held.pk)
            self._vault.delete(unit, workspace.id, secret_name(id_))
            _record(unit, actor, workspace, "delete", id_)

        await self._database.write(work)

    async def test(self, workspace: Workspace, id_: str, event: str | None) -> Tried:
        """Send an example of `event`, or of the first one that the webhook wants, once."""
        held, secret = await self._database.read(
            lambda conn: (_found(conn, workspace, id_), self._vault.get(conn, workspace.id, secret_name(id_)))
        )
        chosen = event or held.events[0]
        if chosen not in _FIELDS:
            raise InvalidInput(
                f"'{chosen}' never happens on this server, so there is no example of it.", target="event"
            )
        runtime = self._database.runtime
        body = rows.message(chosen, _example(chosen), runtime.now())
        try:
            answer = await asyncio.to_thread(self._sender.send, held.url, secret, runtime.guid(), body)
        except FAILURES as error:
            return Tried(error=f"Failed to test webhook: {error}")
        return Tried(status=answer.status, body=answer.body)

    def _keep(self, unit: Unit, webhook: Webhook, secret: str | None) -> None:
        if secret:
            self._vault.put(unit, webhook.scope, secret_name(webhook.id), secret)

    def _check(self, wish: Wish) -> None:
        if wish.name is not None and not _NAME.fullmatch(wish.name):
            raise InvalidInput(
                f"Webhook name {wish.name[:100]!r} is invalid. It must start and end with a letter or digit, be less than 63 "
                "characters long, and contain only letters, digits, dots (.), underscores (_), and hyphens (-).",
                target="name",
            )
        if wish.url is not None:
            self._sender.check(wish.url)
        for event in wish.events or ():
            _check_event(event)


def secret_name(id_: str) -> str:
    return f"webhook/{id_}"


def _example(event: str) -> dict[str, object]:
    """What such an event could say, in the words of MLflow's own examples."""
    thing = event.partition(".")[0]
    name = "example_prompt" if thing.startswith("prompt") else "example_model"
    known = {**_EXAMPLES, "name": name, "description": f"An example {thing.replace('_', ' ')}"}
    return {field: known[field] for field in _FIELDS[event]}


def _check_event(event: str) -> None:
    entity, _, action = event.partition(".")
    if entity not in ACTIONS:
        raise InvalidInput(f"Invalid entity '{entity[:50]}'. Valid entities are: {list(ACTIONS)}", target="events")
    if action not in ACTIONS[entity]:
        raise InvalidInput(
            f"Invalid action '{action[:50]}' for entity '{entity}'. Valid actions are: {list(ACTIONS[entity])}",
            target="events",
        )


def _found(conn: sa.Connection, workspace: Workspace, id_: str) -> Webhook:
    row = rows.get(conn, workspace.id, id_)
    if row is None:
        raise NotFound(f"Webhook with ID {id_} not found.", target="webhook_id")
    return row


def _record(unit: Unit, actor: Actor, workspace: Workspace, verb: str, id_: str) -> None:
    unit.audit(actor, f"workspaces/webhooks/{verb}", f"{workspace.path}/webhooks/{id_}")
